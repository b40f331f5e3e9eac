"""Filters of `tc` at the ingress or egress of a device, as far as they meet ARP: read, and run. Pure.

Understood: classifiers matchall, flower (arp_tip, arp_sip, arp_op), u32, and bpf with classic bytecode;
actions drop and pass. After Linux net/sched/cls_*.c; a program sees the frame from its Ethernet header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from strictarp.arp.nft_rules import parse_range
from strictarp.arp.packets import HEADER, Packet, frame_of
from strictarp.arp.unsupported import Unsupported

_DROPPED = 2
"""TC_ACT_SHOT."""
_PASSES = ("ok", "pass", "continue", "pipe")
_PROTOCOLS = ("arp", "all", "0x806", "0x0806", "802_3")
_FLOWER = {"arp_op": (20, 2), "arp_sip": (28, 4), "arp_tip": (38, 4)}
_WIDTHS = {"u8": 1, "u16": 2, "u32": 4}
_SKIPPED = ("prio", "pref", "handle", "chain", "parent")

Field = tuple[int, int, int, int]
"""Offset in the frame, width in bytes, mask, value."""
Instruction = tuple[int, int, int, int]
"""Operation, jumps if true and if false, operand: struct sock_filter."""


class Filter(msgspec.Struct, frozen=True):
    """A filter. fields: all must fit; program: classic BPF instead. direct: its result is the action."""

    device: str
    ingress: bool
    drops: bool
    fields: tuple[Field, ...] = ()
    program: tuple[Instruction, ...] = ()
    direct: bool = False


def passes(filters: Iterable[Filter], device: str, packet: Packet, *, ingress: bool) -> bool:
    """No filter of the device drops the packet; the first that fits decides."""
    frame = b""
    for each in filters:
        if (each.device, each.ingress) != (device, ingress):
            continue
        frame = frame or frame_of(packet)
        if each.program:
            result = _executed(each.program, frame)
            if each.direct:
                return result != _DROPPED
            fits = bool(result)
        else:
            fits = all(_load(frame, at, width) & mask == value for at, width, mask, value in each.fields)
        if fits:
            return not each.drops
    return True


def _load(frame: bytes, at: int, width: int) -> int:
    """Bytes beyond the end fit nothing: -1 has all bits."""
    return int.from_bytes(frame[at : at + width], "big") if at + width <= len(frame) else -1


def _executed(program: tuple[Instruction, ...], frame: bytes) -> int:
    """What a classic BPF program of loads, jumps and returns gives; 0 for a load beyond the end."""
    value, at = 0, 0
    while at < len(program):
        code, true, false, operand = program[at]
        at += 1
        if code == 0x06:
            return operand
        if code in (0x20, 0x28, 0x30):
            value = _load(frame, operand, {0x20: 4, 0x28: 2, 0x30: 1}[code])
            if value < 0:
                return 0
        elif code == 0x54:
            value &= operand
        elif code == 0x05:
            at += operand
        else:
            holds = {0x15: value == operand, 0x25: value > operand, 0x35: value >= operand}
            at += true if (holds[code] if code in holds else bool(value & operand)) else false
    return 0


_KNOWN_CODES = frozenset((0x05, 0x06, 0x15, 0x20, 0x25, 0x28, 0x30, 0x35, 0x45, 0x54))


def parse_tc(words: list[str]) -> Filter | None:
    """The filter of a command line without `tc`; None for a queueing discipline. Raises Unsupported."""
    if words[:1] == ["qdisc"] and {"clsact", "ingress"} & set(words):
        return None
    if words[:2] != ["filter", "add"]:
        raise Unsupported(f"tc {' '.join(words[:2])}")
    rest = list(words[2:])
    device, ingress = "", True
    while rest:
        word = rest.pop(0)
        if word == "dev":
            device = rest.pop(0)
        elif word in ("ingress", "egress"):
            ingress = word == "ingress"
        elif word in ("protocol", "proto"):
            if rest.pop(0) not in _PROTOCOLS:
                return None
        elif word in _SKIPPED:
            rest.pop(0)
        elif word in _CLASSIFIERS:
            return _CLASSIFIERS[word](Filter(device, ingress, _drops(rest)), rest)
        else:
            raise Unsupported(f"tc filter: {word!r}")
    raise Unsupported("tc filter without a classifier")


def _drops(words: list[str]) -> bool:
    """`action drop`; a filter with no action only classifies."""
    if "action" not in words:
        return False
    action = words[words.index("action") + 1 :]
    action = action[1:] if action[:1] == ["gact"] else action
    if action[:1] in (["drop"], ["shot"]):
        return True
    if action[:1] and action[0] in _PASSES:
        return False
    raise Unsupported(f"tc action {' '.join(action[:1])!r}")


def _before_action(words: list[str]) -> list[str]:
    return words[: words.index("action")] if "action" in words else words


def _flower(made: Filter, words: list[str]) -> Filter:
    fields: list[Field] = []
    rest = [word for word in _before_action(words) if word not in ("skip_hw", "skip_sw")]
    for name, value in zip(rest[::2], rest[1::2], strict=False):
        if name not in _FLOWER:
            raise Unsupported(f"tc flower: {name!r}")
        at, width = _FLOWER[name]
        low, high = parse_range(value)
        fields.append((at, width, ~(low ^ high) & (1 << 8 * width) - 1, low))
    return msgspec.structs.replace(made, fields=tuple(fields))


def _u32(made: Filter, words: list[str]) -> Filter:
    rest = [word for word in _before_action(words) if word not in ("match", "flowid", "classid", ":1", "1:1")]
    if len(rest) % 5:
        raise Unsupported(f"tc u32 {' '.join(rest)!r}")
    fields: list[Field] = []
    for start in range(0, len(rest), 5):
        width, value, mask, word, at = rest[start : start + 5]
        if width not in _WIDTHS or word != "at":
            raise Unsupported(f"tc u32: {width!r}")
        fields.append((HEADER + int(at, 0), _WIDTHS[width], int(mask, 16), int(value, 16) & int(mask, 16)))
    return msgspec.structs.replace(made, fields=tuple(fields))


def _bpf(made: Filter, words: list[str]) -> Filter:
    if "bytecode" not in words:
        raise Unsupported("tc bpf without bytecode")
    text = words[words.index("bytecode") + 1].rstrip(",")
    program = tuple(_instruction(line) for line in text.split(",")[1:])
    direct = "da" in words or "direct-action" in words
    return msgspec.structs.replace(made, program=program, direct=direct)


def _instruction(line: str) -> Instruction:
    numbers = [int(number, 0) for number in line.split()]
    if len(numbers) != 4 or numbers[0] not in _KNOWN_CODES:
        raise Unsupported(f"tc bpf: instruction {line.strip()!r}")
    return numbers[0], numbers[1], numbers[2], numbers[3]


_CLASSIFIERS: Mapping[str, Callable[[Filter, list[str]], Filter]] = {
    "matchall": lambda made, _: made,
    "flower": _flower,
    "u32": _u32,
    "bpf": _bpf,
}

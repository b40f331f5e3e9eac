"""Classic BPF programs that let a packet socket hear only what it is for. Pure.

A program sees the frame from its Ethernet header on and returns how many bytes of it to keep, 0 for none.
A load beyond the end of a frame drops it, so truncated frames never pass. The exact decision stays with the
reader: a filter may let too much through, never too little. Encoding after Linux uapi/linux/filter.h.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence

import msgspec

from strictarp.arp.frames import ETHERTYPE_ARP, SNAP_LENGTH
from strictarp.arp.ndp_frames import ADVERTISEMENT, ETHERTYPE_IPV6, SOLICITATION

MAX_INSTRUCTIONS = 4096 - 6
"""BPF_MAXINSNS, less those of `on_link` and `marked`."""
WHOLE_FRAME = 0x40000
MAX_RANGES = 64
"""Each range costs a frame of no interest two instructions for its target and two for its sender."""

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _AND = 0x20, 0x28, 0x30, 0x54
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL = 0x15, 0x25, 0x35
_RETURN = 0x06
_PACKET_TYPE = 0xFFFFF000 + 4
"""SKF_AD_OFF + SKF_AD_PKTTYPE."""
_INTERFACE = 0xFFFFF000 + 8
"""SKF_AD_OFF + SKF_AD_IFINDEX."""
_MARK = 0xFFFFF000 + 20
"""SKF_AD_OFF + SKF_AD_MARK."""
_PACKET_MULTICAST = 2
"""PACKET_HOST 0, PACKET_BROADCAST 1, PACKET_MULTICAST 2 are for us; OTHERHOST, OUTGOING and more are not."""
_ETHERTYPE, _SENDER, _TARGET = 12, 28, 38
_NEXT_HEADER, _ICMP_TYPE, _SENDER6, _TARGET6 = 20, 54, 22, 62
_ICMPV6 = 58
_INSTRUCTION = struct.Struct("=HBBI")


class Instruction(msgspec.Struct, frozen=True, gc=False):
    """struct sock_filter: operation, jump offsets if true and if false, operand."""

    code: int
    if_true: int
    if_false: int
    operand: int


class Range(msgspec.Struct, frozen=True, gc=False, order=True):
    """IPv4 addresses `first` to `last`, both included, as numbers."""

    first: int
    last: int


class Prefix(msgspec.Struct, frozen=True, gc=False, order=True):
    """IPv6 addresses whose first `length` bits are those of `network`, a number of 128 bits."""

    network: int
    length: int


Program = tuple[Instruction, ...]


def _drop_unless_equal(offset: int, value: int) -> list[Instruction]:
    return [
        Instruction(_LOAD_HALF, 0, 0, offset),
        Instruction(_JUMP_EQUAL, 1, 0, value),
        Instruction(_RETURN, 0, 0, 0),
    ]


_DROP_UNLESS_FOR_US = [
    Instruction(_LOAD_HALF, 0, 0, _PACKET_TYPE),
    Instruction(_JUMP_GREATER, 0, 1, _PACKET_MULTICAST),
    Instruction(_RETURN, 0, 0, 0),
]


def ethertype(value: int, *, keep: int = WHOLE_FRAME, everybodys: bool = False) -> Program:
    """Frames of one EtherType.

    Without `everybodys` only those that the kernel takes for this host: no frame that this host sent, none to
    the MAC of another, none with a VLAN id that has no device here (all PACKET_OTHERHOST or PACKET_OUTGOING).
    """
    start = [] if everybodys else _DROP_UNLESS_FOR_US
    return (*start, *_drop_unless_equal(_ETHERTYPE, value), Instruction(_RETURN, 0, 0, keep))


def arp(*, everybodys: bool = False) -> Program:
    """All ARP frames."""
    return ethertype(ETHERTYPE_ARP, keep=SNAP_LENGTH, everybodys=everybodys)


def arp_about(ranges: Sequence[Range]) -> Program:
    """ARP frames for this host whose target or sender lies in one of the ranges.

    Raises ValueError for more ranges than fit; see `aggregate`.
    """
    tests = [step for each in ranges for step in _keep_if_within(each)]
    program = (
        *_DROP_UNLESS_FOR_US,
        *_drop_unless_equal(_ETHERTYPE, ETHERTYPE_ARP),
        Instruction(_LOAD_WORD, 0, 0, _TARGET),
        *tests,
        Instruction(_LOAD_WORD, 0, 0, _SENDER),
        *tests,
        Instruction(_RETURN, 0, 0, 0),
    )
    if len(program) > MAX_INSTRUCTIONS:
        raise ValueError(f"{len(ranges)} ranges make {len(program)} instructions, {MAX_INSTRUCTIONS} fit")
    return program


def _keep_if_within(each: Range) -> list[Instruction]:
    return [
        Instruction(_JUMP_GREATER_EQUAL, 0, 2, each.first),
        Instruction(_JUMP_GREATER, 1, 0, each.last),
        Instruction(_RETURN, 0, 0, SNAP_LENGTH),
    ]


def ndp_about(prefixes: Sequence[Prefix]) -> Program:
    """Solicitations and advertisements for this host whose target or sender has one of the prefixes.

    Raises ValueError for more prefixes than fit; see `aggregate6`. Each costs a frame of no interest two
    instructions for its target and two for its sender: the last word is compared first.
    """
    tests = [step for each in prefixes for offset in (_TARGET6, _SENDER6) for step in _keep_if(each, offset)]
    program = (
        *_DROP_UNLESS_FOR_US,
        *_drop_unless_equal(_ETHERTYPE, ETHERTYPE_IPV6),
        Instruction(_LOAD_BYTE, 0, 0, _NEXT_HEADER),
        Instruction(_JUMP_EQUAL, 1, 0, _ICMPV6),
        Instruction(_RETURN, 0, 0, 0),
        Instruction(_LOAD_BYTE, 0, 0, _ICMP_TYPE),
        Instruction(_JUMP_EQUAL, 2, 0, SOLICITATION),
        Instruction(_JUMP_EQUAL, 1, 0, ADVERTISEMENT),
        Instruction(_RETURN, 0, 0, 0),
        *tests,
        Instruction(_RETURN, 0, 0, 0),
    )
    if len(program) > MAX_INSTRUCTIONS:
        raise ValueError(f"{len(prefixes)} prefixes make {len(program)} instructions, {MAX_INSTRUCTIONS} fit")
    return program


def _keep_if(each: Prefix, offset: int) -> list[Instruction]:
    """Return the whole frame if the address at `offset` has the prefix, else go on behind this test."""
    mask = (1 << 128) - (1 << (128 - each.length))
    steps = [Instruction(_RETURN, 0, 0, WHOLE_FRAME)]
    for word in range(4):  # from the back, so that the jumps are known; the last word comes to stand first
        part = mask >> (96 - 32 * word) & 0xFFFFFFFF
        if not part:
            continue
        value = each.network >> (96 - 32 * word) & part
        steps.insert(0, Instruction(_JUMP_EQUAL, 0, len(steps), value))
        if part != 0xFFFFFFFF:
            steps.insert(0, Instruction(_AND, 0, 0, part))
        steps.insert(0, Instruction(_LOAD_WORD, 0, 0, offset + 4 * word))
    return steps


def on_link(index: int, program: Program) -> Program:
    """The same, and only what belongs to this link, to which the socket is bound.

    The kernel also gives it what belongs to a VLAN on top of the link, the tag taken off, and to a port what
    belongs to its bond (net/core/dev.c __netif_receive_skb_core: the original device's ptype_specific).
    """
    return (
        Instruction(_LOAD_WORD, 0, 0, _INTERFACE),
        Instruction(_JUMP_EQUAL, 1, 0, index),
        Instruction(_RETURN, 0, 0, 0),
        *program,
    )


def marked(mark: int, program: Program, *, others: bool = False) -> Program:
    """The same, and only frames with this mark (skb->mark). others: only those without it."""
    keep, drop = (0, 1) if others else (1, 0)
    return (
        Instruction(_LOAD_WORD, 0, 0, _MARK),
        Instruction(_JUMP_EQUAL, keep, drop, mark),
        Instruction(_RETURN, 0, 0, 0),
        *program,
    )


def nothing() -> Program:
    """No frame at all: for a socket that must stay silent until it is read from."""
    return (Instruction(_RETURN, 0, 0, 0),)


def aggregate(addresses: Iterable[bytes], limit: int = MAX_RANGES) -> tuple[Range, ...]:
    """At most `limit` ranges that hold all these packed IPv4 addresses; small gaps are bridged first."""
    numbers = sorted({int.from_bytes(address, "big") for address in addresses})
    ranges = [Range(number, number) for number in numbers]
    if not ranges:
        return ()
    gaps = [after.first - before.last for before, after in itertools.pairwise(ranges)]
    widest = sorted(range(len(gaps)), key=lambda index: (gaps[index] > 1, gaps[index]), reverse=True)
    cuts = sorted(index for index in widest[: limit - 1] if gaps[index] > 1)
    merged, start = [], 0
    for cut in [*cuts, len(ranges) - 1]:
        merged.append(Range(ranges[start].first, ranges[cut].last))
        start = cut + 1
    return tuple(merged)


def aggregate6(addresses: Iterable[bytes], limit: int = MAX_RANGES) -> tuple[Prefix, ...]:
    """At most `limit` prefixes that hold all these packed IPv6 addresses; the closest are joined first."""
    numbers = sorted({int.from_bytes(address, "big") for address in addresses})
    if not numbers:
        return ()
    apart = [(after ^ before).bit_length() for before, after in itertools.pairwise(numbers)]
    widest = sorted(range(len(apart)), key=lambda index: apart[index], reverse=True)
    found, start = [], 0
    for cut in [*sorted(widest[: limit - 1]), len(numbers) - 1]:
        varying = (numbers[start] ^ numbers[cut]).bit_length()
        found.append(Prefix(numbers[start] >> varying << varying, 128 - varying))
        start = cut + 1
    return tuple(found)


def assemble(program: Program) -> bytes:
    """The program as an array of struct sock_filter."""
    return b"".join(
        _INSTRUCTION.pack(step.code, step.if_true, step.if_false, step.operand) for step in program
    )

"""Rules of nftables as the kernel tells them by netlink, as the model's values. Pure.

The kernel's rules are small programs on registers: load a field, mask it, compare it. What is not known here
makes its whole table unread, by name: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from strictarp.arp.nft import (
    ACCEPT,
    CONTINUE,
    DROP,
    GOTO,
    JUMP,
    MANGLED,
    RETURN,
    WORDS,
    Always,
    Chain,
    Concat,
    Lookup,
    Mangle,
    Match,
    Step,
    Table,
    Value,
    Verdict,
    in_order,
)
from strictarp.arp.nft_rules import RAW_NAMES
from strictarp.arp.unsupported import Unsupported
from strictarp.netlink import nft_dump
from strictarp.netlink.nft_dump import ElementTold, Expression

HOOKS = {
    "arp": ("input", "output", "forward"),
    "netdev": ("ingress", "egress"),
    "bridge": ("prerouting", "input", "forward", "output", "postrouting"),
}
_BASES = {0: "ll", 1: "nh"}
_META = {1: "protocol", 3: "mark", 4: "iif", 5: "oif", 6: "iifname", 7: "oifname", 8: "iiftype", 9: "oiftype"}
_META |= {17: "ibrname", 19: "pkttype"}
_HOST_ORDER = frozenset(("mark", "iif", "oif", "iiftype", "oiftype"))
_PACKET_TYPES = ("host", "broadcast", "multicast", "otherhost")
_ACTIONS = {
    nft_dump.VERDICT_DROP: DROP,
    nft_dump.VERDICT_ACCEPT: ACCEPT,
    nft_dump.VERDICT_CONTINUE: CONTINUE,
    nft_dump.VERDICT_JUMP: JUMP,
    nft_dump.VERDICT_GOTO: GOTO,
    nft_dump.VERDICT_RETURN: RETURN,
}
_NFTRACE = 12
_INVERTED = 1


_Entry = tuple[tuple[Value, ...], Verdict | None]
"""Of a set or map: values of its fields, none for the catch-all, and the verdict that a map gives."""


class TableTold(msgspec.Struct, frozen=True):
    """Everything of one table. elements: by the name of the set."""

    family: str
    name: str
    chains: Sequence[nft_dump.ChainTold]
    rules: Sequence[nft_dump.RuleTold]
    sets: Mapping[str, nft_dump.SetTold]
    elements: Mapping[str, Sequence[ElementTold]]


class _Loaded(msgspec.Struct, frozen=True):
    """What a register holds: a field of the packet with a mask (0: all bits), or a constant."""

    field: str = ""
    width: int = 0
    mask: int = 0
    constant: bytes = b""


class _Program(msgspec.Struct):
    """A rule while it is read. registers: by their place in bytes."""

    told: TableTold
    names: Mapping[int, str]
    registers: dict[int, _Loaded] = {}
    steps: list[Step] = []


def read_table(told: TableTold, names: Mapping[int, str]) -> Table:
    """The table. names: of devices by index. Raises Unsupported, which names what is not known."""
    rules: dict[str, list[tuple[Step, ...]]] = {chain.name: [] for chain in told.chains}
    for rule in told.rules:
        program = _Program(told, names)
        for expression in rule.expressions:
            _EXPRESSIONS.get(expression.name, _unknown)(program, expression)
        rules.setdefault(rule.chain, []).append(tuple(program.steps))
    hooks = HOOKS[told.family]
    chains = (
        Chain(
            chain.name,
            tuple(rules[chain.name]),
            hook=hooks[chain.hook] if 0 <= chain.hook < len(hooks) else "",
            priority=chain.priority,
            policy=DROP if chain.policy == nft_dump.POLICY_DROP else ACCEPT,
            devices=chain.devices,
        )
        for chain in told.chains
    )
    return Table(told.family, told.name, tuple(chains))


def _unknown(program: _Program, expression: Expression) -> None:
    raise Unsupported(f"expression {expression.name!r}")


def _place(register: int) -> int:
    """Registers 1 to 4 have 16 bytes each; those from 8 on are the same bytes in words of 4."""
    return 4 * (register - 8) if register >= 8 else 16 * (register - 1)


def _held(program: _Program, expression: Expression, kind: int) -> _Loaded:
    place = _place(expression.number(kind))
    if place not in program.registers:
        raise Unsupported(f"{expression.name} of a register that nothing was loaded into")
    return program.registers[place]


def _payload(program: _Program, expression: Expression) -> None:
    """DREG 1, BASE 2, OFFSET 3, LEN 4, or SREG 5 for a field that is written."""
    base = expression.number(2)
    if base not in _BASES:
        raise Unsupported(f"payload of base {base}")
    offset, width = expression.number(3), expression.number(4)
    raw = f"@{_BASES[base]},{8 * offset},{8 * width}"
    field = RAW_NAMES.get(raw, raw)
    if 5 in expression.found:
        constant = _held(program, expression, 5).constant
        if field not in MANGLED or len(constant) < width:
            raise Unsupported(f"{field} is written")
        program.steps.append(Mangle(field, int.from_bytes(constant[:width], "big")))
        return
    program.registers[_place(expression.number(1))] = _Loaded(field, width)


def _meta(program: _Program, expression: Expression) -> None:
    """DREG 1, KEY 2, SREG 3."""
    key = expression.number(2)
    if 3 in expression.found:
        if key != _NFTRACE:
            raise Unsupported(f"meta {_META.get(key, key)} is written")
        return
    if key not in _META:
        raise Unsupported(f"meta key {key}")
    program.registers[_place(expression.number(1))] = _Loaded(_META[key])


def _bitwise(program: _Program, expression: Expression) -> None:
    """SREG 1, DREG 2, LEN 3, MASK 4, XOR 5, OP 6 (0: mask and xor)."""
    held = _held(program, expression, 1)
    xor = nft_dump.data_value(expression.found[5]) if 5 in expression.found else b""
    if expression.number(6) or any(xor) or 4 not in expression.found or not held.field or held.field in WORDS:
        raise Unsupported("bitwise other than a mask")
    mask = nft_dump.data_value(expression.found[4])
    program.registers[_place(expression.number(2))] = msgspec.structs.replace(
        held, mask=_number(held.field, mask)
    )


def _number(field: str, packed: bytes) -> int:
    return int.from_bytes(packed, "little" if field in _HOST_ORDER else "big")


def _value(program: _Program, field: str, packed: bytes) -> tuple[str, Value]:
    """The field and the value in the model's words: an index becomes a name."""
    if field in ("iif", "oif"):
        return f"{field}name", program.names.get(_number(field, packed), "?")
    if field == "pkttype":
        kind = packed[0] if packed else 0
        return field, _PACKET_TYPES[kind] if kind < len(_PACKET_TYPES) else "?"
    if field in WORDS:
        text = packed.split(b"\0", 1)[0].decode(errors="replace")
        return field, text if b"\0" in packed or len(packed) == 16 else f"{text}*"
    value = _number(field, packed)
    return field, (value, value)


def _cmp(program: _Program, expression: Expression) -> None:
    """SREG 1, OP 2 (eq, neq, lt, lte, gt, gte), DATA 3."""
    held = _held(program, expression, 1)
    operator = expression.number(2)
    data = nft_dump.data_value(expression.found[3]) if 3 in expression.found else b""
    field, value = _value(program, held.field, data)
    if isinstance(value, str):
        if operator > 1:
            raise Unsupported(f"{field} compared by size")
        program.steps.append(Match(field, words=(value,), negated=operator == 1))
        return
    least, most = 0, (1 << 8 * max(held.width, len(data), 1)) - 1
    exact = value[0]
    bounds = {2: (least, exact - 1), 3: (least, exact), 4: (exact + 1, most), 5: (exact, most)}
    program.steps.append(
        Match(field, ranges=(bounds.get(operator, value),), negated=operator == 1, mask=held.mask)
    )


def _range(program: _Program, expression: Expression) -> None:
    """SREG 1, OP 2 (eq, neq), FROM 3, TO 4."""
    held = _held(program, expression, 1)
    if 3 not in expression.found or 4 not in expression.found or held.field in WORDS:
        raise Unsupported("range without its ends")
    low, high = (_number(held.field, nft_dump.data_value(expression.found[kind])) for kind in (3, 4))
    negated = expression.number(2) == 1
    program.steps.append(Match(held.field, ranges=((low, high),), negated=negated, mask=held.mask))


def _immediate(program: _Program, expression: Expression) -> None:
    """DREG 1, DATA 2."""
    if 2 not in expression.found:
        raise Unsupported("immediate without data")
    told = nft_dump.data_verdict(expression.found[2])
    if told is not None:
        program.steps.append(_verdict(told))
        return
    constant = nft_dump.data_value(expression.found[2])
    program.registers[_place(expression.number(1))] = _Loaded(constant=constant)


def _verdict(told: nft_dump.VerdictTold) -> Verdict:
    if told.code not in _ACTIONS:
        raise Unsupported(f"verdict {told.code}")
    return Verdict(_ACTIONS[told.code], told.chain)


def _lookup(program: _Program, expression: Expression) -> None:
    """SET 1, SREG 2, DREG 3, FLAGS 5."""
    name = expression.word(1)
    told = program.told.sets.get(name)
    if told is None:
        raise Unsupported(f"set {name!r}, which was not told")
    place = _place(expression.number(2))
    fields: list[_Loaded] = []
    while place < _place(expression.number(2)) + told.key_length:
        held = program.registers.get(place)
        if held is None or not held.field or held.mask:
            raise Unsupported(f"set {name!r} looked up by something other than fields")
        fields.append(held)
        place += _aligned(held.width or _WIDTHS.get(held.field, 4))
    if not fields:
        raise Unsupported(f"set {name!r} without a key")
    entries = list(_entries(program, fields, told, program.told.elements.get(name, ())))
    if 3 in expression.found:
        if any(verdict is None for _, verdict in entries):
            raise Unsupported(f"map {name!r} of something other than verdicts")
        _look_up_verdicts(program, fields, entries)
    elif all(values for values, _ in entries):
        _look_up(program, fields, entries, negated=bool(expression.number(5) & _INVERTED))
    else:
        raise Unsupported(f"set {name!r} that holds everything")


_WIDTHS = {"iifname": 16, "oifname": 16, "ibrname": 16}


def _aligned(width: int) -> int:
    return (width + 3) & ~3


def _look_up(
    program: _Program,
    fields: list[_Loaded],
    entries: list[_Entry],
    *,
    negated: bool,
) -> None:
    names = [_value_name(field.field) for field in fields]
    if len(fields) > 1:
        program.steps.append(Concat(tuple(names), tuple(values for values, _ in entries), negated))
        return
    values = [values[0] for values, _ in entries]
    words = tuple(value for value in values if isinstance(value, str))
    ranges = in_order(value for value in values if not isinstance(value, str))
    program.steps.append(Match(names[0], ranges=ranges, words=words, negated=negated))


def _look_up_verdicts(program: _Program, fields: list[_Loaded], entries: list[_Entry]) -> None:
    listed = [(values, verdict) for values, verdict in entries if verdict is not None and values]
    default = [verdict for values, verdict in entries if verdict is not None and not values]
    names = tuple(_value_name(field.field) for field in fields)
    program.steps.append(Lookup(names, tuple(listed), default[0] if default else Verdict(CONTINUE)))


def _value_name(field: str) -> str:
    return f"{field}name" if field in ("iif", "oif") else field


def _entries(
    program: _Program, fields: list[_Loaded], told: nft_dump.SetTold, elements: Iterable[ElementTold]
) -> Iterable[_Entry]:
    """Keys and verdicts; no values for the catch-all."""
    if len(fields) == 1 and told.flags & nft_dump.SET_INTERVAL and fields[0].field not in WORDS:
        yield from _intervals(fields[0].field, told, elements)
        return
    for each in elements:
        verdict = _verdict(each.verdict) if each.verdict else None
        if each.flags & nft_dump.ELEMENT_CATCHALL:
            yield (), verdict
        elif not each.flags & nft_dump.ELEMENT_END:
            yield tuple(_split(program, fields, each)), verdict


def _split(program: _Program, fields: list[_Loaded], each: ElementTold) -> Iterable[Value]:
    at = 0
    for held in fields:
        width = held.width or _WIDTHS.get(held.field, len(each.key))
        _, low = _value(program, held.field, each.key[at : at + width])
        _, high = _value(program, held.field, (each.end or each.key)[at : at + width])
        yield low if isinstance(low, str) or isinstance(high, str) else (low[0], high[1])
        at += _aligned(width)


def _intervals(field: str, told: nft_dump.SetTold, elements: Iterable[ElementTold]) -> Iterable[_Entry]:
    """Each range is told as its first value and, marked as an end, the first one behind it."""
    start: ElementTold | None = None
    ordered = sorted(elements, key=lambda each: (each.key, not each.flags & nft_dump.ELEMENT_END))
    for each in ordered:
        if each.flags & nft_dump.ELEMENT_CATCHALL:
            yield (), _verdict(each.verdict) if each.verdict else None
            continue
        value = _number(field, each.key)
        if start is not None:
            ends = value - 1
            yield ((_number(field, start.key), ends),), _verdict(start.verdict) if start.verdict else None
            start = None
        if not each.flags & nft_dump.ELEMENT_END:
            if each.end:
                ends = _number(field, each.end)
                yield ((value, ends),), _verdict(each.verdict) if each.verdict else None
            else:
                start = each
    if start is not None:
        most = (1 << 8 * told.key_length) - 1
        yield ((_number(field, start.key), most),), _verdict(start.verdict) if start.verdict else None


def _limit(program: _Program, expression: Expression) -> None:
    """FLAGS 5: over. A first packet is within a limit."""
    if expression.number(5) & _INVERTED:
        program.steps.append(Always(False))


def _quota(program: _Program, expression: Expression) -> None:
    """BYTES 1, FLAGS 2: over, and used up; CONSUMED 4."""
    over = bool(expression.number(2) & _INVERTED)
    used_up = expression.number(4) >= expression.number(1)
    if over != used_up:
        program.steps.append(Always(False))


def _nothing(program: _Program, expression: Expression) -> None:
    """Expressions that decide nothing."""


_EXPRESSIONS: Mapping[str, Callable[[_Program, Expression], None]] = {
    "payload": _payload,
    "meta": _meta,
    "bitwise": _bitwise,
    "cmp": _cmp,
    "range": _range,
    "immediate": _immediate,
    "lookup": _lookup,
    "limit": _limit,
    "quota": _quota,
    "counter": _nothing,
    "log": _nothing,
    "last": _nothing,
}

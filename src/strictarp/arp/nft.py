"""What nftables makes of an ARP packet: rules as values, and their evaluation. Pure.

Families `arp` (hooks input and output), `netdev` (ingress before all else, egress after all) and `bridge`
(what a bridge hands up to its host). The text is read by `nft_parse`. Counters of limits and quotas are taken
as fresh: the first packet after the rules were loaded is judged.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping

import msgspec

from strictarp.arp.packets import HEADER, Packet, frame_of

ACCEPT, DROP, RETURN, JUMP, GOTO, CONTINUE = "accept", "drop", "return", "jump", "goto", "continue"
_DEPTH = 16
"""NFT_JUMP_STACK_SIZE."""


class Verdict(msgspec.Struct, frozen=True):
    """accept, drop, return, continue, or jump and goto with a chain."""

    action: str
    chain: str = ""


Value = tuple[int, int] | str
"""What a field may be: a range of numbers, or a word, which may end in `*`."""


class Match(msgspec.Struct, frozen=True):
    """A field that is (or, negated, is not) in one of the ranges of numbers, or named by one of the words.

    ranges: in order and apart from each other, as `in_order` makes them. mask: bits of the field that are
    compared; 0 for all.
    """

    field: str
    ranges: tuple[tuple[int, int], ...] = ()
    words: tuple[str, ...] = ()
    negated: bool = False
    mask: int = 0


class Concat(msgspec.Struct, frozen=True):
    """Several fields that are, together, one of the entries (or, negated, none)."""

    fields: tuple[str, ...]
    entries: tuple[tuple[Value, ...], ...]
    negated: bool = False


class Always(msgspec.Struct, frozen=True):
    """A condition that a first packet meets, or not: `limit`, `quota`."""

    met: bool


class Mangle(msgspec.Struct, frozen=True):
    """A field of the packet is set."""

    field: str
    value: int


class Lookup(msgspec.Struct, frozen=True):
    """A verdict map: fields, together, decide which verdict is taken."""

    fields: tuple[str, ...]
    entries: tuple[tuple[tuple[Value, ...], Verdict], ...]
    otherwise: Verdict = Verdict(CONTINUE)


Step = Match | Concat | Always | Mangle | Lookup | Verdict


class Chain(msgspec.Struct, frozen=True):
    """hook: empty for a chain that is only jumped to. devices: of a netdev chain."""

    name: str
    rules: tuple[tuple[Step, ...], ...] = ()
    hook: str = ""
    priority: int = 0
    policy: str = ACCEPT
    devices: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True):
    """A table of a family."""

    family: str
    name: str
    chains: tuple[Chain, ...] = ()

    def chain(self, name: str) -> Chain:
        """A chain by name; an empty one where there is none, as nft would not have loaded."""
        return next((each for each in self.chains if each.name == name), Chain(name))


class Ruleset(msgspec.Struct, frozen=True):
    """All tables that can meet an ARP packet."""

    tables: tuple[Table, ...] = ()


NO_RULES = Ruleset()


class Seen(msgspec.Struct, frozen=True, gc=False):
    """Where a hook sees a packet: the device in or out (the other is empty), the kernel's packet type.

    headless: the Ethernet header is not there yet, as in the hook output of the family arp, where the kernel
    has not said where it begins (nft_payload_eval, skb_mac_header_was_set).
    """

    iif: str = ""
    oif: str = ""
    kind: str = "host"
    bridge: str = ""
    headless: bool = False


def run(rules: Ruleset, family: str, hook: str, packet: Packet, seen: Seen) -> Packet | None:
    """All base chains of a hook in the order of their priorities; None: dropped."""
    if not rules.tables:
        return packet
    seen = msgspec.structs.replace(seen, headless=(family, hook) == ("arp", "output"))
    bases = [
        (table, chain)
        for table in rules.tables
        if table.family == family
        for chain in table.chains
        if chain.hook == hook and (family != "netdev" or (seen.iif or seen.oif) in chain.devices)
    ]
    for table, chain in sorted(bases, key=lambda pair: pair[1].priority):
        verdict, packet = _walk(table, chain, packet, seen, depth=0)
        if verdict == DROP or (verdict == CONTINUE and chain.policy == DROP):
            return None
    return packet


def _walk(table: Table, chain: Chain, packet: Packet, seen: Seen, *, depth: int) -> tuple[str, Packet]:
    """The verdict of one chain, "continue" when it ends or returns."""
    if depth > _DEPTH:
        return CONTINUE, packet
    for rule in chain.rules:
        verdict, packet = _apply(rule, packet, seen)
        if verdict.action in (ACCEPT, DROP):
            return verdict.action, packet
        if verdict.action == RETURN:
            return CONTINUE, packet
        if verdict.action in (JUMP, GOTO):
            result, packet = _walk(table, table.chain(verdict.chain), packet, seen, depth=depth + 1)
            if result != CONTINUE or verdict.action == GOTO:
                return result, packet
    return CONTINUE, packet


def _apply(rule: tuple[Step, ...], packet: Packet, seen: Seen) -> tuple[Verdict, Packet]:
    for step in rule:
        if isinstance(step, Match | Concat):
            if not _hits(step, packet, seen):
                break
        elif isinstance(step, Always):
            if not step.met:
                break
        elif isinstance(step, Mangle):
            if seen.headless and _is_linked(step.field):
                break
            packet = _mangled(packet, step)
        else:
            verdict = step if isinstance(step, Verdict) else _looked_up(step, packet, seen)
            if verdict.action != CONTINUE:
                return verdict, packet
    return Verdict(CONTINUE), packet


def _looked_up(step: Lookup, packet: Packet, seen: Seen) -> Verdict:
    for values, verdict in step.entries:
        if all(_is(field, value, packet, seen) for field, value in zip(step.fields, values, strict=True)):
            return verdict
    return step.otherwise


def _mac(mac: bytes) -> int:
    return int.from_bytes(mac, "big")


NUMBERS: Mapping[str, Callable[[Packet], int]] = {
    "arp operation": lambda packet: packet.operation,
    "arp saddr ip": lambda packet: packet.sender_ip,
    "arp daddr ip": lambda packet: packet.target_ip,
    "arp saddr ether": lambda packet: _mac(packet.sender_mac),
    "arp daddr ether": lambda packet: _mac(packet.target_mac),
    "arp htype": lambda packet: packet.hardware_type,
    "arp ptype": lambda packet: packet.protocol_type,
    "arp hlen": lambda packet: packet.hardware_length,
    "arp plen": lambda packet: packet.protocol_length,
    "ether saddr": lambda packet: _mac(packet.source),
    "ether daddr": lambda packet: _mac(packet.destination),
    "ether type": lambda _: 0x0806,
    "protocol": lambda _: 0x0806,
    "mark": lambda _: 0,
    "iiftype": lambda _: 1,
    "oiftype": lambda _: 1,
}
"""Fields that hold a number."""

WORDS: Mapping[str, Callable[[Seen], str]] = {
    "iifname": lambda seen: seen.iif,
    "oifname": lambda seen: seen.oif,
    "pkttype": lambda seen: seen.kind,
    "ibrname": lambda seen: seen.bridge,
}
"""Fields that hold a word; the device that a hook does not have is empty (nft_meta_store_ifname)."""

_FIELDS = {
    "arp saddr ip": ("sender_ip", 0),
    "arp daddr ip": ("target_ip", 0),
    "arp saddr ether": ("sender_mac", 6),
    "arp daddr ether": ("target_mac", 6),
    "ether saddr": ("source", 6),
    "ether daddr": ("destination", 6),
    "arp operation": ("operation", 0),
}
MANGLED = frozenset(_FIELDS)
"""Fields that a rule may set."""


def _mangled(packet: Packet, step: Mangle) -> Packet:
    field, width = _FIELDS[step.field]
    value = step.value.to_bytes(width, "big") if width else step.value
    return msgspec.structs.replace(packet, **{field: value})


def _hits(step: Match | Concat, packet: Packet, seen: Seen) -> bool:
    if isinstance(step, Concat):
        hit = any(
            all(_is(field, value, packet, seen) for field, value in zip(step.fields, values, strict=True))
            for values in step.entries
        )
    elif step.field in WORDS:
        hit = any(_is(step.field, word, packet, seen) for word in step.words)
    else:
        number = number_of(step.field, packet, seen)
        if number is None:
            return False
        if step.mask:
            number &= step.mask
        hit = _within(number, step.ranges)
    return hit != step.negated


def _within(number: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    at = bisect_right(ranges, number, key=lambda each: each[0]) - 1
    return at >= 0 and number <= ranges[at][1]


def in_order(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges by their beginnings; those that overlap are one."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return tuple(found)


def _is(field: str, value: Value, packet: Packet, seen: Seen) -> bool:
    if isinstance(value, str):
        word = WORDS[field](seen)
        return word.startswith(value[:-1]) if value.endswith("*") else value == word
    number = number_of(field, packet, seen)
    return number is not None and value[0] <= number <= value[1]


def _is_linked(field: str) -> bool:
    return field.startswith(("ether ", "@ll"))


def number_of(field: str, packet: Packet, seen: Seen) -> int | None:
    """The number in a field; None where the packet ends before it, or its header is not there yet.

    `@nh,192,32` is 32 bits at bit 192 of the ARP packet, `@ll,0,48` the same of the Ethernet header.
    """
    if seen.headless and _is_linked(field):
        return None
    if field in NUMBERS:
        return NUMBERS[field](packet)
    base, offset, length = field.removeprefix("@").split(",")
    start = int(offset) + (8 * HEADER if base == "nh" else 0)
    frame = frame_of(packet)
    end = 8 * len(frame)
    if start + int(length) > end:
        return None
    return int.from_bytes(frame, "big") >> (end - start - int(length)) & (1 << int(length)) - 1


def is_number(field: str) -> bool:
    """A field that `number_of` can read."""
    return field in NUMBERS or bool(_RAW.fullmatch(field))


_RAW = re.compile(r"@(ll|nh),\d{1,4},\d{1,3}")

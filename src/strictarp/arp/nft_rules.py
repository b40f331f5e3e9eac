"""Reads one nftables rule and the elements of sets: tokens to steps. Pure; used by `nft_parse`."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address

from strictarp.arp.nft import (
    ACCEPT,
    CONTINUE,
    DROP,
    GOTO,
    JUMP,
    MANGLED,
    NUMBERS,
    RETURN,
    WORDS,
    Always,
    Concat,
    Lookup,
    Mangle,
    Match,
    Step,
    Value,
    Verdict,
    in_order,
    is_number,
)
from strictarp.arp.unsupported import Unsupported

_SYMBOLS = {
    "request": 1,
    "reply": 2,
    "rrequest": 3,
    "rreply": 4,
    "inrequest": 8,
    "inreply": 9,
    "nak": 10,
    "ip": 0x0800,
    "arp": 0x0806,
    "vlan": 0x8100,
    "ip6": 0x86DD,
    "ether": 1,
}
_ALIASES = {"unicast": "host", "other": "otherhost"}
RAW_NAMES = {
    "@nh,0,16": "arp htype",
    "@nh,16,16": "arp ptype",
    "@nh,32,8": "arp hlen",
    "@nh,40,8": "arp plen",
    "@nh,48,16": "arp operation",
    "@nh,64,48": "arp saddr ether",
    "@nh,112,32": "arp saddr ip",
    "@nh,144,48": "arp daddr ether",
    "@nh,192,32": "arp daddr ip",
    "@ll,0,48": "ether daddr",
    "@ll,48,48": "ether saddr",
    "@ll,96,16": "ether type",
}
"""Names of the fields at places in the packet and in the Ethernet header."""
_LONGEST_FIELD = 3
_LARGEST = (1 << 64) - 1
_MAC = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}")
_UNITS = re.compile(r"\d+/(second|minute|hour|day|week)")

Range = tuple[int, int]
Element = tuple[str, Verdict | None]


class Sets:
    """Named sets and maps of a table."""

    def __init__(self) -> None:
        self._elements: dict[str, list[Element]] = {}

    def add(self, name: str, elements: list[Element]) -> None:
        """Define a set, or add to it."""
        self._elements.setdefault(name, []).extend(elements)

    def remove(self, name: str, elements: list[Element]) -> None:
        """Take elements out. Raises Unsupported without such a set."""
        gone = {key for key, _ in elements}
        self._elements[name] = [each for each in self.get(name) if each[0] not in gone]

    def get(self, name: str) -> list[Element]:
        """The elements. Raises Unsupported without such a set."""
        if name not in self._elements:
            raise Unsupported(f"nft: there is no set {name!r}")
        return self._elements[name]


def parse_set_elements(words: list[str]) -> list[Element]:
    """`{ 192.0.2.1, 192.0.2.8-192.0.2.9 : drop }` to elements."""
    found: list[Element] = []
    entry: list[str] = []
    for word in [*words, ","]:
        if word in ("{", "}"):
            continue
        if word != ",":
            entry.append(word)
            continue
        if entry:
            found.append(_element(entry))
        entry = []
    return found


def _element(words: list[str]) -> Element:
    """A key, of which the parts of a concatenation are joined by " . ", and the verdict behind a colon."""
    at = words.index(":", 1) if ":" in words[1:-1] else len(words)
    key = words[:1]
    while words[len(key) : len(key) + 1] == ["."]:
        key = words[: len(key) + 2]
    # Timeouts, counters and comments of an element come behind its key.
    return " ".join(key), _verdict(words[at + 1 :]) if at < len(words) else None


def _verdict(words: list[str]) -> Verdict:
    action, target = words[0], "".join(words[1:2])
    if action not in (ACCEPT, DROP, RETURN, JUMP, GOTO, CONTINUE):
        raise Unsupported(f"nft verdict {action!r}")
    return Verdict(action, target)


def parse_rule(words: list[str], sets: Sets) -> tuple[Step, ...]:
    """The steps of one rule. Raises Unsupported."""
    rest = [word for word in words if word != "meta"]
    steps: list[Step] = []
    while rest:
        try:
            step, used = _step(rest, sets)
        except IndexError:
            raise Unsupported(f"nft: the rule {' '.join(words)!r} ends too early") from None
        if step is not None:
            steps.append(step)
        rest = rest[used:]
    return tuple(steps)


def _step(words: list[str], sets: Sets) -> tuple[Step | None, int]:
    """The next step and how many words it took; None for what changes nothing."""
    first = words[0]
    if first in (ACCEPT, DROP, RETURN, CONTINUE):
        return Verdict(first), 1
    if first in (JUMP, GOTO):
        return _verdict(words[:2]), 2
    if first in ("counter", "comment", "log"):
        return None, _silent_length(words)
    if first in ("limit", "quota"):
        return _metered(words)
    return _field_step(words, sets)


def _silent_length(words: list[str]) -> int:
    """Words of a statement that decides nothing."""
    if words[0] == "comment":
        return 2
    if words[0] == "counter":
        return 5 if words[1:2] == ["packets"] else 1
    used = 1
    while words[used : used + 1] and words[used] in (
        "prefix",
        "level",
        "group",
        "snaplen",
        "queue-threshold",
        "flags",
    ):
        used += 2
    return used


def _metered(words: list[str]) -> tuple[Step, int]:
    """A first packet is within a limit and within a quota."""
    over = "over" in words[:3]
    used = 1 + (words[1] == "rate") + over
    if words[0] == "limit" and not _UNITS.fullmatch(words[used]):
        raise Unsupported(f"nft: limit {' '.join(words[1 : used + 1])!r}")
    used += 1
    if words[0] == "quota":
        used += 1
    if words[used : used + 1] in (["burst"], ["used"]):
        used += 3
    return Always(not over), used


def _field_step(words: list[str], sets: Sets) -> tuple[Step, int]:
    words = [_ALIASES.get(word, word) for word in words]
    field, at = _field(words)
    fields = [field]
    while words[at : at + 1] == ["."]:
        field, used = _field(words[at + 1 :])
        fields.append(field)
        at += 1 + used
    if words[at : at + 1] == ["vmap"]:
        elements, used = _right_side(words, at + 1, sets)
        return _lookup(fields, elements), used
    if len(fields) > 1:
        negated = words[at : at + 1] == ["!="]
        elements, used = _right_side(words, at + (words[at] in _COMPARISONS), sets)
        return Concat(tuple(fields), tuple(_values(fields, each) for each, _ in elements), negated), used
    return _compare(fields[0], words, at, sets)


_COMPARISONS = ("==", "=", "!=", "<", "<=", ">", ">=", "eq", "ne", "lt", "gt", "le", "ge")


def _field(words: list[str]) -> tuple[str, int]:
    """The field that words name, and how many they are."""
    if words[0] in ("@nh", "@ll") and words[1:2] == [","]:
        field = f"{words[0]},{words[2]},{words[4]}"
        field, used = RAW_NAMES.get(field, field), 5
        if not is_number(field):
            raise Unsupported(f"nft expression {field!r}")
        return field, used
    for length in range(_LONGEST_FIELD, 0, -1):
        field = " ".join(words[:length])
        field = {"iif": "iifname", "oif": "oifname"}.get(field, field)
        if field in NUMBERS or field in WORDS:
            return field, length
    raise Unsupported(f"nft expression {' '.join(words[:3])!r}")


def _compare(field: str, words: list[str], at: int, sets: Sets) -> tuple[Step, int]:
    if words[at : at + 1] == ["set"]:
        if field not in MANGLED:
            raise Unsupported(f"nft: {field} set")
        return Mangle(field, parse_range(words[at + 1])[0]), at + 2
    mask = 0
    if words[at : at + 1] == ["&"]:
        mask = parse_range(words[at + 1])[0]
        at += 2
    operator = words[at] if words[at] in _COMPARISONS else ""
    elements, used = _right_side(words, at + bool(operator), sets)
    negated = operator in ("!=", "ne")
    values = [value for value, _ in elements]
    if field in WORDS:
        return Match(field, words=tuple(value.strip('"') for value in values), negated=negated), used
    ranges = [_bounds(operator, parse_range(value)) for value in values]
    return Match(field, ranges=in_order(ranges), negated=negated, mask=mask), used


def _bounds(operator: str, value: Range) -> Range:
    """What `> 5` and the like leave of all numbers."""
    bounds = {
        "<": (0, value[0] - 1), "lt": (0, value[0] - 1), "<=": (0, value[0]), "le": (0, value[0]),
        ">": (value[0] + 1, _LARGEST), "gt": (value[0] + 1, _LARGEST),
        ">=": (value[0], _LARGEST), "ge": (value[0], _LARGEST),
    }  # fmt: skip
    return bounds.get(operator, value)


def _right_side(words: list[str], at: int, sets: Sets) -> tuple[list[Element], int]:
    """The value, anonymous set or @set at a place, and the place behind it."""
    if at >= len(words):
        raise Unsupported("nft: a rule ends where a value is expected")
    if words[at] == "{":
        if "}" not in words[at:]:
            raise Unsupported("nft: a brace is not closed")
        end = words.index("}", at)
        return parse_set_elements(words[at : end + 1]), end + 1
    if words[at].startswith("@"):
        return sets.get(words[at][1:]), at + 1
    return [(words[at], None)], at + 1


def _values(fields: list[str], text: str) -> tuple[Value, ...]:
    """`192.0.2.1 . request` as a value for each field."""
    parts = text.split(" . ")
    if len(parts) != len(fields):
        raise Unsupported(f"nft: {text!r} for {' . '.join(fields)}")
    return tuple(
        _ALIASES.get(part, part).strip('"') if field in WORDS else parse_range(part)
        for field, part in zip(fields, parts, strict=True)
    )


def _lookup(fields: list[str], elements: list[Element]) -> Lookup:
    entries = [(_values(fields, value), verdict) for value, verdict in elements if value != "*" and verdict]
    default = [verdict for value, verdict in elements if value == "*" and verdict]
    return Lookup(tuple(fields), tuple(entries), default[0] if default else Verdict(CONTINUE))


def parse_range(text: str) -> Range:
    """The bounds of an address, a network, `192.0.2.1-192.0.2.9`, a MAC address, a number, or `request`."""
    if text in _SYMBOLS:
        return _SYMBOLS[text], _SYMBOLS[text]
    if _MAC.fullmatch(text):
        mac = int("".join(f"{int(part, 16):02x}" for part in text.split(":")), 16)
        return mac, mac
    low, dash, high = text.partition("-")
    if dash:
        return _number(low), _number(high)
    address, slash, prefix = text.partition("/")
    if slash:
        if not prefix.isdigit() or int(prefix) > 32:
            raise Unsupported(f"nft: prefix {text!r}")
        start = _number(address) >> (32 - int(prefix)) << (32 - int(prefix))
        return start, start + (1 << (32 - int(prefix))) - 1
    value = _number(text)
    return value, value


def _number(text: str) -> int:
    try:
        return int(IPv4Address(text)) if "." in text else int(text, 0)
    except (AddressValueError, ValueError):
        raise Unsupported(f"nft: value {text!r}") from None

"""Arguments of `ip route`, `ip rule` and `ip addr` as values. Pure; only what bears on ARP is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import msgspec

from strictarp.arp.facts import (
    SCOPE_GLOBAL,
    SCOPE_HOST,
    SCOPE_LINK,
    SCOPE_SITE,
    TABLE_DEFAULT,
    TABLE_LOCAL,
    TABLE_MAIN,
    UNICAST,
    Hop,
    PolicyRule,
    Route,
    is_loopback,
)
from strictarp.arp.unsupported import Unsupported

SCOPES = {"global": SCOPE_GLOBAL, "site": SCOPE_SITE, "link": SCOPE_LINK, "host": SCOPE_HOST, "nowhere": 255}
TABLES = {"local": TABLE_LOCAL, "main": TABLE_MAIN, "default": TABLE_DEFAULT, "all": 0, "unspec": 0}
ROUTE_KINDS = (
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
)
_WITHOUT_DEVICE = ("blackhole", "unreachable", "prohibit", "throw")
_ADDRESS_OPTIONS = {
    **{word: word for word in ("peer", "scope", "dev", "broadcast", "label", "metric", "valid_lft", "proto")},
    "local": "local",
    "remote": "peer",
    "brd": "broadcast",
    "broad": "broadcast",
    "priority": "metric",
    "preferred_lft": "valid_lft",
    "noprefixroute": "noprefixroute!",
    "secondary": "secondary!",
}
_ROUTE_OPTIONS = {
    **{word: word for word in ("via", "dev", "table", "vrf", "metric", "tos", "proto", "scope", "src")},
    **{word: word for word in ("weight", "mtu", "advmss", "rtt", "window", "hoplimit")},
    **dict.fromkeys(ROUTE_KINDS, "kind!"),
    "to": "to",
    "oif": "dev",
    "priority": "metric",
    "preference": "metric",
    "dsfield": "tos",
    "protocol": "proto",
    "onlink": "onlink!",
    "pervasive": "pervasive!",
}
_RULE_BEYOND = ("fwmark", "tos", "ipproto", "sport", "dport", "uidrange", "tun_id")
_RULE_FILLERS = ("type", "add", "unicast")
_RULE_OPTIONS = {
    **{word: word for word in (*_RULE_BEYOND, "iif", "oif", "table")},
    "from": "source",
    "to": "destination",
    "dev": "iif",
    "lookup": "table",
    "dsfield": "tos",
    **dict.fromkeys(("pref", "priority", "preference", "order"), "priority"),
    "suppress_prefixlength": "suppress_prefix",
    "goto": "target",
    "proto": "protocol",
    "protocol": "protocol",
    **dict.fromkeys(("prohibit", "unreachable", "blackhole", "nop"), "action!"),
    "not": "inverted!",
    "l3mdev": "l3mdev!",
}


def abbreviated(word: str, known: Mapping[str, str]) -> str:
    """What a word that may be cut short means: the first of `known` that begins with it (iproute2's matches).

    The word itself where nothing fits.
    """
    if word in known:
        return known[word]
    return next((meaning for name, meaning in known.items() if word and name.startswith(word)), word)


def about_ipv6(words: list[str]) -> bool:
    """An IPv6 address stands among the words, other than behind `via` or `inet6`: ARP knows nothing of it."""
    for before, word in zip(["", *words], words, strict=False):
        if before in ("via", "inet6") or ":" not in word:
            continue
        with contextlib.suppress(AddressValueError):
            IPv6Address(word.partition("/")[0])
            return True
    return False


def address(text: str) -> int:
    """A number. Raises Unsupported."""
    try:
        return int(IPv4Address(text))
    except AddressValueError:
        raise Unsupported(f"{text!r} is no IPv4 address") from None


def network(text: str) -> tuple[int, int]:
    """`192.0.2.0/24`, `192.0.2.1`, `10/8`, `default` or `all`: address and prefix length, host bits kept."""
    if text in ("default", "all", "any"):
        return 0, 0
    head, slash, tail = text.partition("/")
    if not slash:
        return address(head), 32
    if tail.count(".") == 3:
        mask = address(tail)
        tail = str(mask.bit_count())
        if mask != (0xFFFFFFFF << (32 - int(tail))) & 0xFFFFFFFF:
            raise Unsupported(f"{text!r} is no IPv4 network")
    if not (tail.isascii() and tail.isdigit() and int(tail) <= 32):
        raise Unsupported(f"{text!r} is no IPv4 network")
    return address(head + ".0" * (3 - head.count("."))), int(tail)


def _prefix_of(text: str) -> tuple[int, int]:
    value, prefix = network(text)
    return value >> (32 - prefix) << (32 - prefix), prefix


def scope(text: str) -> int:
    """A scope's number, by name or as a number."""
    if text in SCOPES:
        return SCOPES[text]
    return _number(text, "scope")


def table(text: str) -> int:
    """A table's number, by name or as a number."""
    return TABLES[text] if text in TABLES else _number(text, "table")


def _number(text: str, what: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Unsupported(f"{what} {text!r}") from None


class AddressSpec(msgspec.Struct, frozen=True):
    """What stands behind `ip addr add`, without the device."""

    local: int
    peer: int
    prefix: int
    scope: int
    prefix_route: bool = True
    broadcast: int = 0
    device: str = ""


def parse_address(words: list[str]) -> AddressSpec:
    """`192.0.2.1/24 [peer P/LEN] [scope S] [dev D] [noprefixroute] [broadcast B]`, in any order."""
    options = _options(words, _ADDRESS_OPTIONS, "ip addr", bare="local")
    if "local" not in options:
        raise Unsupported("ip addr: no address")
    local, prefix = network(options["local"])
    peer, prefix = network(options["peer"]) if "peer" in options else (local, prefix)
    usual = SCOPE_HOST if is_loopback(local) else SCOPE_GLOBAL
    return AddressSpec(
        local=local,
        peer=peer,
        prefix=prefix,
        scope=scope(options["scope"]) if "scope" in options else usual,
        prefix_route="noprefixroute" not in options,
        broadcast=_broadcast(options.get("broadcast", "-"), peer, prefix),
        device=options.get("dev", ""),
    )


def _broadcast(text: str, peer: int, prefix: int) -> int:
    """`+` and `-` set or clear the host's bits (set_lladdr in ip/ipaddress.c); 0 for none."""
    if text == "+":
        return peer | (1 << (32 - prefix)) - 1 if prefix < 31 else 0
    return 0 if text == "-" else address(text)


def _options(words: list[str], known: Mapping[str, str], what: str, *, bare: str = "") -> dict[str, str]:
    """Words and the values behind them, under their canonical names. A name that ends in "!" takes no value.

    bare: the name of a value that stands alone. Raises Unsupported for a word that is not known, or without
    its value.
    """
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name = known.get(word)
        if name is None:
            if not bare or bare in found:
                raise Unsupported(f"{what}: {word!r}")
            found[bare] = word
            continue
        if name.endswith("!"):
            found[name[:-1]] = word
            continue
        try:
            found[name] = next(rest)
        except StopIteration:
            raise Unsupported(f"{what}: {word!r} without a value") from None
    return found


class RouteSpec(msgspec.Struct, frozen=True):
    """What stands behind `ip route add`.

    A hop without `dev` has an empty device: the kernel looks its gateway up. vrf: the one whose table it is
    for, or empty. source: the preferred one, or 0. onlink: nobody asks whether the gateway is a neighbour.
    """

    route: Route
    vrf: str = ""
    source: int = 0
    onlink: bool = False


def parse_route(words: list[str]) -> RouteSpec:
    """A route as for `ip route add`."""
    parts = _split([word for word in words if word != "inet"], "nexthop")
    options = _options(parts[0], _ROUTE_OPTIONS, "ip route", bare="to")
    kind = options.get("kind", UNICAST)
    if "to" not in options:
        raise Unsupported("ip route: no destination")
    destination, prefix = _prefix_of(options["to"])
    ways = [options, *(_options(part, _ROUTE_OPTIONS, "ip route") for part in parts[1:])]
    hops = [
        Hop(way.get("dev", ""), address(way["via"]) if "via" in way else 0)
        for way in ways
        if "dev" in way or "via" in way
    ]
    usual = TABLE_LOCAL if kind in ("local", "broadcast", "anycast") else TABLE_MAIN
    route = Route(
        table=table(options["table"]) if "table" in options else usual,
        kind=kind,
        destination=destination,
        prefix=prefix,
        hops=() if kind in _WITHOUT_DEVICE else tuple(hops),
        metric=_number(options.get("metric", "0"), "metric"),
        tos=_number(options.get("tos", "0"), "tos"),
        custom=True,
    )
    source = address(options["src"]) if "src" in options else 0
    onlink = any("onlink" in way for way in ways)
    return RouteSpec(route, options.get("vrf", ""), source, onlink)


def _split(words: list[str], at: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == at:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def parse_rule(words: list[str]) -> tuple[PolicyRule, frozenset[str]]:
    """A rule as for `ip rule add`, and which of its fields were given (`del` goes by those).

    A rule without `pref` has the priority -1.
    """
    options = _options([word for word in words if word not in _RULE_FILLERS], _RULE_OPTIONS, "ip rule")
    action = "goto" if "target" in options else options.get("action", "lookup")
    rule = PolicyRule(
        priority=_number(options.get("priority", "-1"), "priority"),
        action=action,
        table=table(options["table"]) if "table" in options else 0,
        source=_prefix_of(options.get("source", "all")),
        destination=_prefix_of(options.get("destination", "all")),
        iif=options.get("iif", ""),
        oif=options.get("oif", ""),
        inverted="inverted" in options,
        l3mdev="l3mdev" in options,
        never=any(_needs_more(options[name]) for name in _RULE_BEYOND if name in options),
        suppress_prefix=_number(options.get("suppress_prefix", "-1"), "suppress_prefixlength"),
        target=_number(options.get("target", "0"), "goto"),
    )
    return rule, frozenset(options)


def _needs_more(text: str) -> bool:
    """A mark, a tos, a protocol, ports or users other than 0, which is what ARP's look-ups have."""
    return text.replace("-", "/").split("/")[0] not in ("0", "0x0", "0x00")

"""`ip address`, `ip route`, `ip rule` and `ip neighbour`, carried out on a host under construction. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from strictarp.arp.building import Builder
from strictarp.arp.facts import ProxyNeighbour
from strictarp.arp.iproute import (
    abbreviated,
    about_ipv6,
    address,
    parse_address,
    parse_route,
    parse_rule,
    scope,
    table,
)
from strictarp.arp.unsupported import Refused, Unsupported

Words = list[str]
_VERBS: Mapping[str, str] = {
    **{word: word for word in ("add", "change", "replace", "prepend", "append", "test", "delete", "flush")},
    "chg": "change",
    "show": "show",
    "list": "show",
    "get": "show",
}


def addr(builder: Builder, word: str, words: Words) -> None:
    """`ip addr add|change|replace|del|flush`."""
    verb = abbreviated(word, _VERBS)
    if about_ipv6(words):
        return
    if verb == "flush":
        _flush_addresses(builder, words)
        return
    spec = parse_address(words)
    if verb == "add":
        builder.add_address(spec.device, spec)
    elif verb in ("change", "replace"):
        builder.add_address(spec.device, spec, there_is_fine=True)
    elif verb == "delete":
        builder.remove_address(spec.device, spec)
    else:
        raise Unsupported(f"ip addr {word}")


def _flush_addresses(builder: Builder, words: Words) -> None:
    device, only = "", -1
    rest = iter(words)
    for word in rest:
        if word == "scope":
            only = scope(next(rest, ""))
        elif word in ("to", "label", "primary", "secondary", "up", "permanent", "dynamic"):
            raise Unsupported(f"ip addr flush: {word!r}")
        else:
            device = next(rest, "") if word == "dev" else word
    builder.flush_addresses(device, scope=only)


def route(builder: Builder, word: str, words: Words) -> None:
    """`ip route add|append|prepend|change|replace|del|flush`."""
    verb = abbreviated(word, _VERBS)
    if about_ipv6(words):
        return
    if verb == "flush":
        _flush_routes(builder, words)
        return
    spec = parse_route(words)
    if verb == "delete":
        builder.remove_route(spec.route, vrf=spec.vrf)
    elif verb in ("add", "append", "prepend", "change", "replace"):
        builder.add_route(spec, verb=verb)
    else:
        raise Unsupported(f"ip route {word}")


def _flush_routes(builder: Builder, words: Words) -> None:
    """By table and device; of a destination, and of the cache, which does not exist any more, too."""
    if words[:1] == ["cache"]:
        return
    rest = list(words)
    where: dict[str, str] = {}
    while rest:
        word = rest.pop(0)
        if word not in ("table", "dev"):
            raise Unsupported(f"ip route flush: {word!r}")
        where[word] = rest.pop(0)
    builder.flush_routes(table(where.get("table", "main")), where.get("dev", ""))


def rule(builder: Builder, word: str, words: Words) -> None:
    """`ip rule add|del|flush`."""
    verb = abbreviated(word, _VERBS)
    if about_ipv6(words):
        return
    if verb == "flush":
        builder.flush_rules()
        return
    made, given = parse_rule(words)
    if verb == "add":
        builder.add_rule(made)
    elif verb == "delete":
        builder.remove_rule(made, given)
    else:
        raise Unsupported(f"ip rule {word}")


def neigh(builder: Builder, word: str, words: Words) -> None:
    """Proxy entries; what is cached of others decides no answer."""
    if "proxy" not in words or about_ipv6(words):
        return
    verb = abbreviated(word, _VERBS)
    at = words.index("proxy") + 1
    device = words[words.index("dev") + 1] if "dev" in words else ""
    if device:
        builder.device(device)
    entry = ProxyNeighbour(address(words[at]), device)
    if verb in ("add", "replace", "change"):
        builder.proxy_neighbours.append(entry)
    elif verb == "delete":
        if entry not in builder.proxy_neighbours:
            raise Refused("ip neigh del: there is no such proxy entry")
        builder.proxy_neighbours.remove(entry)
    else:
        raise Unsupported(f"ip neigh {word}")

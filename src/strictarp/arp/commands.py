"""Commands of iproute2, sysctl and arptables, carried out on a host under construction. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from strictarp.arp.arptables import append_arptables
from strictarp.arp.building import SMALLEST_MTU, Builder
from strictarp.arp.facts import ProxyNeighbour
from strictarp.arp.frames import parse_mac
from strictarp.arp.iproute import address, parse_address, parse_route, parse_rule
from strictarp.arp.tc import parse_tc
from strictarp.arp.unsupported import Unsupported

_OBJECTS = {
    "address": "addr",
    "a": "addr",
    "l": "link",
    "r": "route",
    "ro": "route",
    "ru": "rule",
    "n": "neigh",
}


def run(builder: Builder, line: str) -> None:
    """Carry out one command line. Raises Unsupported for what the model does not know."""
    try:
        words = shlex.split(line)
        if words:
            _carry_out(builder, words)
    except (IndexError, ValueError) as error:
        raise Unsupported(f"command {line!r}: a word or a number is missing or wrong ({error})") from error


def _carry_out(builder: Builder, words: list[str]) -> None:
    if words[0] == "ip":
        words = [word for word in words[1:] if word != "-4"]
        name = _OBJECTS.get(words[0], words[0])
        if name in _IP:
            _IP[name](builder, words[1], words[2:])
            return
    elif words[0] in _PROGRAMS:
        _PROGRAMS[words[0]](builder, words[1:])
        return
    raise Unsupported(f"command {' '.join(words)!r}")


def _sysctl_command(builder: Builder, words: list[str]) -> None:
    for word in words:
        if word.startswith("-"):
            continue
        key, equals, value = word.partition("=")
        if not equals:
            raise Unsupported(f"sysctl {word}")
        sysctl(builder, key, value)


def _tc(builder: Builder, words: list[str]) -> None:
    made = parse_tc(words)
    if made is not None:
        builder.tc.append(made)


_PROGRAMS: Mapping[str, Callable[[Builder, list[str]], None]] = {
    "sysctl": _sysctl_command,
    "nft": lambda builder, words: builder.add_nft(" ".join(words)),
    "tc": _tc,
    "arptables": append_arptables,
    "arptables-nft": append_arptables,
    "sleep": lambda builder, words: None,
}


def sysctl(builder: Builder, key: str, value: str | int) -> None:
    """Write a sysctl, with or without `net.ipv4.` in front. Raises Unsupported."""
    try:
        number = int(value)
    except ValueError:
        raise Unsupported(f"sysctl {key}={value!r}") from None
    name = key.replace("/", ".") if key.startswith("net/") else key
    name = name.removeprefix("net.").removeprefix("ipv4.")
    if name.startswith("ipv6."):
        return
    if name == "ip_forward":
        builder.conf.write("all", "forwarding", number)
        return
    kind, _, rest = name.partition(".")
    device, _, leaf = rest.rpartition(".")
    device = device.replace("/", ".")
    if kind == "conf" and device:
        if device not in ("all", "default") and builder.device(device).mtu < SMALLEST_MTU:
            raise Unsupported(f"sysctl {key}: the MTU of {device} is too small, it has no IPv4")
        builder.conf.write(device, leaf, number)
    elif kind == "neigh" and device:
        if leaf == "proxy_delay":
            builder.proxy_delay[device] = number
    else:
        raise Unsupported(f"sysctl {key}")


def _link(builder: Builder, verb: str, words: list[str]) -> None:
    if words[:1] == ["dev"]:
        words = words[1:]
    if verb in ("del", "delete"):
        builder.remove_device(words[0])
        return
    if verb != "set":
        raise Unsupported(f"ip link {verb}")
    name, rest = words[0], iter(words[1:])
    for word in rest:
        if word in ("up", "down"):
            builder.change_device(name, up=word == "up")
        elif word == "nomaster":
            builder.change_device(name, master="")
        elif word in ("arp", "master", "mtu", "address", "carrier"):
            builder.change_device(name, **_LINK_VALUES[word](next(rest, "")))
        elif word in ("promisc", "multicast", "allmulticast", "txqlen", "type"):
            next(rest, "")
        else:
            raise Unsupported(f"ip link set: {word!r}")


_LINK_VALUES: Mapping[str, Callable[[str], dict[str, object]]] = {
    "arp": lambda value: {"arp": value == "on"},
    "master": lambda value: {"master": value},
    "mtu": lambda value: {"mtu": int(value)},
    "address": lambda value: {"mac": parse_mac(value)},
    "carrier": lambda value: {"carrier": value == "on"},
}


def _addr(builder: Builder, verb: str, words: list[str]) -> None:
    if verb == "flush":
        builder.flush_addresses(words[-1])
        return
    spec = parse_address(words)
    if verb in ("add", "replace"):
        builder.add_address(spec.device, spec)
    elif verb in ("del", "delete"):
        builder.remove_address(spec.device, spec)
    else:
        raise Unsupported(f"ip addr {verb}")


def _route(builder: Builder, verb: str, words: list[str]) -> None:
    route, vrf = parse_route(_destination_first(words))
    if verb in ("add", "append", "prepend", "replace", "change"):
        builder.add_route(route, vrf=vrf, replace=verb in ("replace", "change"))
    elif verb in ("del", "delete"):
        builder.remove_route(route)
    else:
        raise Unsupported(f"ip route {verb}")


def _destination_first(words: list[str]) -> list[str]:
    """`table 10 unreachable default metric 9` is as good as `unreachable default metric 9 table 10`."""
    while len(words) > 2 and words[0] in ("table", "vrf", "metric", "dev"):
        words = [*words[2:], *words[:2]]
    return words


def _rule(builder: Builder, verb: str, words: list[str]) -> None:
    rule, given = parse_rule(words)
    if verb == "add":
        builder.add_rule(rule)
    elif verb in ("del", "delete"):
        builder.remove_rule(rule, given)
    else:
        raise Unsupported(f"ip rule {verb}")


def _neigh(builder: Builder, verb: str, words: list[str]) -> None:
    """Proxy entries; what is cached of others decides no answer."""
    if "proxy" not in words:
        return
    at = words.index("proxy") + 1
    device = words[words.index("dev") + 1] if "dev" in words else ""
    entry = ProxyNeighbour(address(words[at]), device)
    if verb in ("add", "replace"):
        builder.proxy_neighbours.append(entry)
    elif entry in builder.proxy_neighbours:
        builder.proxy_neighbours.remove(entry)


_IP: Mapping[str, Callable[[Builder, str, list[str]], None]] = {
    "link": _link,
    "addr": _addr,
    "route": _route,
    "rule": _rule,
    "neigh": _neigh,
}

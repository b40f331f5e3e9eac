"""Facts of a host as they stand in a file: JSON with addresses as text. Pure.

`strictarp facts` writes it, people may write it by hand: everything but `devices` may be left out.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Any

import msgspec

from strictarp.arp import facts
from strictarp.arp.facts import DEFAULT_RULES, Host, PolicyRule, dotted, looped
from strictarp.arp.frames import mac_text, parse_mac
from strictarp.arp.iproute import SCOPES, TABLES, network
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.nft_text import text_of as nft_text
from strictarp.arp.unsupported import Unsupported
from strictarp.errors import UserError

_SCOPE_NAMES = {number: name for name, number in SCOPES.items()}
_TABLE_NAMES = {number: name for name, number in TABLES.items() if number}


class DeviceText(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """As `facts.Device`."""

    name: str
    mac: str = ""
    kind: str = ""
    up: bool = True
    carrier: bool = True
    arp: bool = True
    mtu: int = 1500
    master: str = ""
    lower: str = ""
    vlan: int = 0
    table: int = 0
    mode: str = ""
    active: bool = True


class AddressText(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """address: with its prefix, or alone where `peer` has one. scope: by name or number."""

    device: str
    address: str
    peer: str = ""
    scope: str | int = "global"
    secondary: bool = False


class HopText(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A way out."""

    device: str
    via: str = ""


class RouteText(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """custom: not made by the kernel itself."""

    to: str
    table: str | int = "main"
    type: str = "unicast"
    hops: tuple[HopText, ...] = ()
    metric: int = 0
    tos: int = 0
    custom: bool = False


class RuleText(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """As `facts.PolicyRule`."""

    priority: int
    action: str = "lookup"
    table: str | int = 0
    source: str = "all"
    destination: str = "all"
    iif: str = ""
    oif: str = ""
    inverted: bool = False
    l3mdev: bool = False
    never: bool = False
    suppress_prefix: int = -1
    target: int = 0


class ProxyText(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A proxy neighbour; without a device it counts on all."""

    address: str
    device: str = ""


class FactsText(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The file. nft: text as `nft list ruleset` prints it; nft_tables: filters that were not
    read, of nftables or tc."""

    devices: tuple[DeviceText, ...]
    addresses: tuple[AddressText, ...] = ()
    routes: tuple[RouteText, ...] = ()
    rules: tuple[RuleText, ...] | None = None
    unmerged: bool = False
    had_local_routes: bool = False
    inherit: int = -1
    sysctls: dict[str, dict[str, int]] = {}
    proxy_delay: dict[str, int] = {}
    proxy_neighbours: tuple[ProxyText, ...] = ()
    nft: str = ""
    nft_tables: tuple[str, ...] = ()


def parse_facts(text: str | bytes, *, name: str) -> FactsText:
    """The facts in a file. Raises UserError, which names the file, the field and what to do."""
    try:
        return msgspec.json.decode(text, type=FactsText)
    except msgspec.DecodeError as error:
        raise UserError(f"{name}: {error}; `strictarp facts --json` writes the form expected") from error


def host_of(text: FactsText, *, name: str) -> Host:
    """The host. Raises UserError, which names the file, object and field."""
    try:
        host = _host(text)
    except Unsupported as error:
        raise UserError(f"{name}: {error}") from error
    loop = looped(host.devices)
    if loop:
        raise UserError(
            f"{name}: devices: {loop!r} sits on itself by its `master` or `lower`; name other ones"
        )
    known = set(host.by_name)
    for where, device in _references(host):
        if device and device not in known:
            raise UserError(f"{name}: {where} names the device {device!r}, which is not among `devices`")
    return host


def _references(host: Host) -> list[tuple[str, str]]:
    found = [("devices: master or lower", each) for d in host.devices for each in (d.master, d.lower)]
    found += [("addresses", each.device) for each in host.addresses]
    found += [("routes", hop.device) for each in host.routes for hop in each.hops]
    return found + [("proxy_neighbours", each.device) for each in host.proxy_neighbours]


def _host(text: FactsText) -> Host:
    return Host(
        devices=tuple(_device(each) for each in text.devices),
        addresses=tuple(_address(each) for each in text.addresses),
        routes=tuple(_route(each) for each in text.routes),
        rules=DEFAULT_RULES if text.rules is None else tuple(_rule(each) for each in text.rules),
        sysctls=text.sysctls,
        proxy_delay=text.proxy_delay,
        proxy_neighbours=tuple(
            facts.ProxyNeighbour(_number(each.address, "proxy_neighbours: address"), each.device)
            for each in text.proxy_neighbours
        ),
        unmerged=text.unmerged,
        had_local_routes=text.had_local_routes,
        inherit=text.inherit,
        nft=parse_nft(text.nft),
    )


def _device(text: DeviceText) -> facts.Device:
    values: dict[str, Any] = msgspec.structs.asdict(text)
    try:
        values["mac"] = parse_mac(text.mac) if text.mac else bytes(6)
    except ValueError as error:
        raise Unsupported(f"devices: mac of {text.name}: {error}") from error
    return facts.Device(**values)


def _number(text: str, what: str) -> int:
    try:
        return int(IPv4Address(text))
    except AddressValueError:
        raise Unsupported(f"{what} {text!r} is no IPv4 address such as 192.0.2.10") from None


def _name(value: str | int, names: dict[str, int], what: str) -> int:
    if isinstance(value, int):
        return value
    if value not in names:
        raise Unsupported(f"{what} {value!r}: one of {', '.join(names)}, or a number, is expected")
    return names[value]


def _address(text: AddressText) -> facts.Address:
    local, prefix = network(text.address)
    peer, prefix = network(text.peer) if text.peer else (local, prefix)
    scope = _name(text.scope, SCOPES, f"addresses: scope of {text.address}")
    return facts.Address(text.device, local, peer, prefix, scope, text.secondary)


def _route(text: RouteText) -> facts.Route:
    destination, prefix = network(text.to)
    hops = tuple(
        facts.Hop(hop.device, _number(hop.via, f"routes: via of {text.to}") if hop.via else 0)
        for hop in text.hops
    )
    table = _name(text.table, TABLES, f"routes: table of {text.to}")
    return facts.Route(
        table, text.type, destination, prefix, hops, text.metric, tos=text.tos, custom=text.custom
    )


def _rule(text: RuleText) -> PolicyRule:
    values: dict[str, Any] = msgspec.structs.asdict(text)
    values["table"] = _name(text.table, TABLES, f"rules: table of priority {text.priority}")
    values["source"], values["destination"] = network(text.source), network(text.destination)
    return PolicyRule(**values)


def text_of(host: Host, *, nft: str = "", nft_tables: tuple[str, ...] = ()) -> FactsText:
    """Facts as text. nft: the rules of nftables where their own text is at hand; else it is made."""
    return FactsText(
        devices=tuple(
            DeviceText(**{**msgspec.structs.asdict(each), "mac": mac_text(each.mac)}) for each in host.devices
        ),
        addresses=tuple(_address_text(each) for each in host.addresses),
        routes=tuple(_route_text(each) for each in host.routes),
        rules=tuple(_rule_text(each) for each in host.rules),
        unmerged=host.unmerged,
        had_local_routes=host.had_local_routes,
        inherit=host.inherit,
        sysctls={name: dict(values) for name, values in host.sysctls.items()},
        proxy_delay=dict(host.proxy_delay),
        proxy_neighbours=tuple(
            ProxyText(dotted(each.address), each.device) for each in host.proxy_neighbours
        ),
        nft=nft or nft_text(host.nft),
        nft_tables=nft_tables,
    )


def _address_text(each: facts.Address) -> AddressText:
    far = each.peer != each.local
    return AddressText(
        each.device,
        dotted(each.local) if far else f"{dotted(each.local)}/{each.prefix}",
        peer=f"{dotted(each.peer)}/{each.prefix}" if far else "",
        scope=_SCOPE_NAMES.get(each.scope, each.scope),
        secondary=each.secondary,
    )


def _route_text(each: facts.Route) -> RouteText:
    return RouteText(
        to="default" if each.prefix == 0 else f"{dotted(each.destination)}/{each.prefix}",
        table=_TABLE_NAMES.get(each.table, each.table),
        type=each.kind,
        hops=tuple(HopText(hop.device, dotted(hop.gateway) if hop.gateway else "") for hop in each.hops),
        metric=each.metric,
        tos=each.tos,
        custom=each.custom,
    )


def _rule_text(each: PolicyRule) -> RuleText:
    values: dict[str, Any] = msgspec.structs.asdict(each)
    values["table"] = _TABLE_NAMES.get(each.table, each.table)
    for field in ("source", "destination"):
        address, prefix = values[field]
        values[field] = f"{dotted(address)}/{prefix}" if prefix else "all"
    return RuleText(**values)

"""What would turn a decision round: changes to a host that are tried on the model. Pure.

Nothing is claimed that was not computed: each change is made to the facts, the frame is judged again, and
only what turned the outcome round is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from strictarp.arp.facts import DEFAULT_RULES, LOCAL, Address, Device, Hop, Host, Route, dotted
from strictarp.arp.nft import Ruleset
from strictarp.arp.packets import Packet
from strictarp.arp.receiving import receive
from strictarp.sysctl.effective import RULES, Rule

_NUMBERS: Mapping[str, tuple[int, ...]] = {
    "arp_ignore": (0, 1, 3),
    "arp_filter": (0,),
    "rp_filter": (0, 2),
    "accept_local": (1,),
    "route_localnet": (1,),
    "drop_gratuitous_arp": (0,),
    "forwarding": (1,),
    "proxy_arp": (0,),
    "proxy_arp_pvlan": (0,),
}
"""Values that are tried for each key, one key at a time."""


class Remedy(msgspec.Struct, frozen=True):
    """A command, or several, and the host after it."""

    commands: tuple[str, ...]
    host: Host


def turning(host: Host, nic: str, packet: Packet) -> list[Remedy]:
    """The changes after which the answer to `packet` on `nic` is another one: silence, or an answer."""
    answered = _answered(host, nic, packet)
    found = [each for each in _candidates(host, nic, packet) if _answered(each.host, nic, packet) != answered]
    return [each for each in found if not any(_contains(each, other) for other in found)]


def _contains(one: Remedy, other: Remedy) -> bool:
    """`other` does with fewer of the same commands."""
    return set(other.commands) < set(one.commands)


def _answered(host: Host, nic: str, packet: Packet) -> bool:
    return any(each.answered for each in receive(host, nic, packet))


def _candidates(host: Host, nic: str, packet: Packet) -> Iterator[Remedy]:
    seen = list(dict.fromkeys(each.device for each in receive(host, nic, packet)))
    for device in seen:
        for key, numbers in _NUMBERS.items():
            for number in numbers:
                yield with_conf(host, device, key, number)
        yield _both(with_conf(host, device, "proxy_arp", 1), device, "forwarding", 1)
        yield _with_address(host, device, packet.target_ip)
        yield _switched(host, host.by_name[device])
    yield from _without_address(host, packet.target_ip)
    yield from _without_proxy(host, packet.target_ip)
    yield from _without_tables(host)
    yield from _without_rules(host)


def with_conf(host: Host, device: str, key: str, number: int) -> Remedy:
    """The key counts as `number` on the device, with as few writes as possible."""
    writes = {device: number}
    rule = RULES[key]
    lowered = rule is Rule.MAX and host.own(key, "all") > number
    off = rule is Rule.OR and not number and host.own(key, "all")
    if lowered or off:
        writes["all"] = number
    if host.own(key, device) == number:
        del writes[device]
    sysctls = {name: dict(values) for name, values in host.sysctls.items()}
    for name, value in writes.items():
        sysctls.setdefault(name, {})[key] = value
    commands = tuple(
        f"sysctl -w net.ipv4.conf.{name.replace('.', '/')}.{key}={value}" for name, value in writes.items()
    )
    return Remedy(commands, msgspec.structs.replace(host, sysctls=sysctls))


def _both(first: Remedy, device: str, key: str, number: int) -> Remedy:
    second = with_conf(first.host, device, key, number)
    return Remedy(first.commands + second.commands, second.host)


def _with_address(host: Host, device: str, address: int) -> Remedy:
    route = Route(host.local_table(device), LOCAL, address, 32, (Hop(device),))
    changed = msgspec.structs.replace(
        host,
        addresses=(*host.addresses, Address(device, address, address, 32)),
        routes=(*host.routes, route),
    )
    return Remedy((f"ip addr add {dotted(address)}/32 dev {device}",), changed)


def _without_address(host: Host, address: int) -> Iterator[Remedy]:
    """Deleted wherever it is."""
    holders = [each for each in host.addresses if each.local == address]
    if not holders:
        return
    routes = tuple(
        route
        for route in host.routes
        if not (route.kind == LOCAL and route.prefix == 32 and route.destination == address)
    )
    kept = tuple(each for each in host.addresses if each.local != address)
    commands = tuple(f"ip addr del {each.text} dev {each.device}" for each in holders)
    yield Remedy(commands, msgspec.structs.replace(host, addresses=kept, routes=routes))


def _without_proxy(host: Host, address: int) -> Iterator[Remedy]:
    for entry in host.proxy_neighbours:
        if entry.address == address:
            kept = tuple(each for each in host.proxy_neighbours if each != entry)
            where = f" dev {entry.device}" if entry.device else ""
            command = f"ip neigh del proxy {dotted(address)}{where}"
            yield Remedy((command,), msgspec.structs.replace(host, proxy_neighbours=kept))


def _without_tables(host: Host) -> Iterator[Remedy]:
    """Which table of nftables decides is told by what happens without it."""
    for table in host.nft.tables:
        kept = Ruleset(tuple(each for each in host.nft.tables if each != table))
        command = f"nft delete table {table.family} {table.name}"
        yield Remedy((command,), msgspec.structs.replace(host, nft=kept))


def _without_rules(host: Host) -> Iterator[Remedy]:
    """Policy rules that somebody added, one by one; `ip rule del` needs a priority that is no other's."""
    priorities = [each.priority for each in host.rules]
    for rule in host.rules:
        added = rule not in DEFAULT_RULES and not rule.l3mdev  # VRFs need that one
        if added and priorities.count(rule.priority) == 1:
            kept = tuple(each for each in host.rules if each != rule)
            command = f"ip rule del pref {rule.priority}"
            yield Remedy((command,), msgspec.structs.replace(host, rules=kept, unmerged=True))


def _switched(host: Host, device: Device) -> Remedy:
    """The device up, or its ARP on."""
    if not device.up:
        return _with_device(host, device, "up", up=True)
    return _with_device(host, device, f"arp {'off' if device.arp else 'on'}", arp=not device.arp)


def _with_device(host: Host, device: Device, words: str, **changes: bool) -> Remedy:
    changed = msgspec.structs.replace(device, **changes)
    devices = tuple(changed if each.name == device.name else each for each in host.devices)
    return Remedy((f"ip link set {device.name} {words}",), msgspec.structs.replace(host, devices=devices))

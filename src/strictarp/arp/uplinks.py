"""Which interfaces Service IPs are announced on, as far as a host can tell. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from strictarp.arp.facts import LOOPBACK, UNICAST, VIP_DEVICE, Address, Device, Host


def uplinks_of(host: Host, others: Collection[int] = ()) -> tuple[str, ...]:
    """Interfaces by which a default route leaves, or in whose subnet a Service IP is.

    In the host's order. Never lo, kube-ipvs0, an interface with ARP off, or a port of a bridge or bond.
    others: further addresses that count like Service IPs, as those of the Node object.
    """
    chosen = set(default_route_devices(host))
    chosen |= devices_covering(host, {*host.vips, *others})
    return tuple(device.name for device in host.devices if device.name in chosen and _may_be(host, device))


def default_route_devices(host: Host) -> tuple[str, ...]:
    """Interfaces by which a default route leaves, in the order of routes."""
    hops = [hop for route in host.routes if route.prefix == 0 and route.kind == UNICAST for hop in route.hops]
    return tuple(dict.fromkeys(hop.device for hop in hops))


def devices_covering(host: Host, targets: Collection[int]) -> set[str]:
    """Devices with a subnet, which a /32 is not, that holds one of the addresses."""
    subnets = [each for each in host.addresses if each.prefix < 32 and each.device != VIP_DEVICE]
    networks = {prefix: {target >> (32 - prefix) for target in targets} for prefix in _prefixes(subnets)}
    return {each.device for each in subnets if each.peer >> (32 - each.prefix) in networks[each.prefix]}


def _prefixes(subnets: Iterable[Address]) -> set[int]:
    return {each.prefix for each in subnets}


def _may_be(host: Host, device: Device) -> bool:
    master = host.by_name.get(device.master)
    enslaved = master is not None and master.kind != "vrf"
    return device.arp and not enslaved and device.name not in (LOOPBACK, VIP_DEVICE)

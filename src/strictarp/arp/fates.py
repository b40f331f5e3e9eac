"""Service IPs that share one fate, so that one stands for many. Pure.

A node may hold thousands, on kube-ipvs0 all of them: what the kernel does with one depends on the address
only where a subnet of an interface, a route, a policy rule or a filter tells it from another. Not told apart:
addresses that filters of tc, verdict maps and concatenations of nftables single out.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Hashable, Iterator, Sequence

from strictarp.arp.facts import LOCAL, VIP_DEVICE, Host, Route, dotted
from strictarp.arp.nft import Match

Fate = tuple[int, ...]
"""Addresses in order; the first one is judged for all."""
_LISTED = 3
_FIELDS = ("arp saddr ip", "arp daddr ip")


def fates(host: Host) -> tuple[Fate, ...]:
    """The host's Service IPs, told apart by what may decide about them."""
    prefixes = _by_length(host)
    ranges = tuple(_filters(host))
    scopes = {each.local: each.scope for each in host.on_device.get(VIP_DEVICE, ())}
    routed = {route.destination for route in host.routes if route.kind == LOCAL and route.prefix == 32}
    groups: dict[Hashable, list[int]] = {}
    for vip in sorted(host.vips):
        within = tuple(vip >> shift if vip >> shift in networks else -1 for shift, networks in prefixes)
        filtered = tuple(contains(vip) for contains in ranges)
        groups.setdefault((within, filtered, scopes.get(vip), vip in routed), []).append(vip)
    return tuple(tuple(group) for group in groups.values())


def named(vips: Sequence[int], of: int) -> str:
    """Some of a host's Service IPs in words. of: how many it has."""
    if len(vips) == 1:
        return dotted(vips[0])
    if len(vips) == of:
        return f"{of} Service IPs"
    listed = ", ".join(dotted(vip) for vip in sorted(vips)[:_LISTED]) + (", …" if len(vips) > _LISTED else "")
    return f"{len(vips)} of {of} Service IPs ({listed})"


def _by_length(host: Host) -> list[tuple[int, frozenset[int]]]:
    """Bits to drop → the networks of that length which something depends on, 0.0.0.0/0 left out."""
    found: dict[int, set[int]] = {}
    networks = [
        *((each.peer, each.prefix) for each in host.addresses if each.device != VIP_DEVICE),
        *((each.destination, each.prefix) for each in host.routes if not _is_own(host, each)),
        *(network for rule in host.rules for network in (rule.source, rule.destination)),
    ]
    for address, prefix in networks:
        if prefix:
            found.setdefault(32 - prefix, set()).add(address >> (32 - prefix))
    return [(shift, frozenset(held)) for shift, held in sorted(found.items())]


def _is_own(host: Host, route: Route) -> bool:
    """The route that the kernel makes for a Service IP itself."""
    return route.kind == LOCAL and route.prefix == 32 and route.destination in host.vips


def _filters(host: Host) -> Iterator[Callable[[int], bool]]:
    """For each condition of nftables on an address: whether an address is in its ranges."""
    for table in host.nft.tables:
        for chain in table.chains:
            for rule in chain.rules:
                for step in rule:
                    if isinstance(step, Match) and step.field in _FIELDS:
                        yield _within(step)


def _within(step: Match) -> Callable[[int], bool]:
    starts = [start for start, _ in step.ranges]

    def contains(vip: int) -> bool:
        at = bisect(starts, vip & (step.mask or vip)) - 1
        return at >= 0 and vip & (step.mask or vip) <= step.ranges[at][1]

    return contains

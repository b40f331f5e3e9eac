"""The routes that the kernel makes for the addresses of a device, and how it compares them. Pure.

After Linux net/ipv4/fib_frontend.c (fib_add_ifaddr), fib_semantics.c (fib_valid_prefsrc) and fib_trie.c
(fib_table_insert, fib_table_delete).
"""

from __future__ import annotations

import msgspec

from strictarp.arp.facts import (
    BROADCAST,
    LOCAL,
    LOOPBACK,
    TABLE_LOCAL,
    TABLE_MAIN,
    UNICAST,
    Device,
    Hop,
    Route,
)
from strictarp.arp.iproute import AddressSpec


class Held(msgspec.Struct):
    """An address on a device; `born`: when it was added."""

    spec: AddressSpec
    secondary: bool
    born: int


def by_age(routes: list[tuple[int, int, Route]]) -> list[Route]:
    """Of (age, source address, route) those that the kernel takes: an address that was somebody's broadcast
    address before it was local is no valid source (fib_valid_prefsrc). A secondary's source is its primary.
    """
    taken: dict[Route, None] = {}
    first: dict[tuple[int, int], str] = {}
    for _, source, route in sorted(routes, key=lambda entry: entry[0]):
        table = TABLE_LOCAL if route.table == TABLE_MAIN else route.table
        itself = route.kind == LOCAL and route.destination == source
        if not itself and first.get((table, source)) == BROADCAST:
            continue
        taken[route] = None
        if route.prefix == 32:
            first.setdefault((route.table, route.destination), route.kind)
    return list(taken)


def same_key(one: Route, other: Route) -> bool:
    """Routes of which a table holds one (fib_table_insert): same prefix, type of service and metric."""
    mine = (one.table, one.destination, one.prefix, one.tos, one.metric)
    return mine == (other.table, other.destination, other.prefix, other.tos, other.metric)


def same_route(one: Route, other: Route) -> bool:
    """As `ip route del` looks for it: `other` may leave the metric, the device and the type open."""
    devices = {hop.device for hop in other.hops} - {""}
    return (
        (one.table, one.destination, one.prefix) == (other.table, other.destination, other.prefix)
        and other.metric in (0, one.metric)
        and other.kind in (UNICAST, one.kind)
        and devices <= {hop.device for hop in one.hops}
    )


def same_subnet(one: AddressSpec, other: AddressSpec) -> bool:
    """One prefix: of two such addresses on a device the later is secondary (__inet_insert_ifa)."""
    return one.prefix == other.prefix and (one.peer ^ other.peer) >> (32 - one.prefix) == 0


def routes_of(device: Device, held: Held, vrf_table: int) -> list[Route]:
    """What fib_add_ifaddr adds, given whether the device is up now."""
    spec = held.spec
    near = vrf_table or TABLE_LOCAL
    hop = (Hop(device.name),)
    routes = [Route(near, LOCAL, spec.local, 32, hop)]
    if not device.up:
        return routes
    bits = 32 - spec.prefix
    prefix = spec.peer >> bits << bits
    if spec.broadcast:
        routes.append(Route(near, BROADCAST, spec.broadcast, 32, hop))
    if prefix and not held.secondary and (prefix != spec.local or bits):
        if spec.prefix_route:
            on_lo = device.name == LOOPBACK
            kind, table = (LOCAL, TABLE_LOCAL) if on_lo else (UNICAST, TABLE_MAIN)
            routes.append(Route(vrf_table or table, kind, prefix, spec.prefix, hop))
        if bits > 1:
            routes.append(Route(near, BROADCAST, prefix | ((1 << bits) - 1), 32, hop))
    return routes

"""Which links a speaker speaks on, and which of them an address belongs to. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network

import msgspec

from strictarp.kube.ranges import Range, parse_range
from strictarp.netlink.rtnl import (
    ADDRESS_DAD_FAILED,
    ADDRESS_TEMPORARY,
    ADDRESS_TENTATIVE,
    IFF_LOOPBACK,
    IFF_NOARP,
    ROUTE_UNICAST,
    SCOPE_GLOBAL,
    SCOPE_LINK,
    TABLE_MAIN,
    Address,
    Link,
    Route,
    covers,
    is_prefix_on_link,
)

_ROUTING_MASTER = "vrf"
"""Its members speak for themselves. Any other master takes its ports' frames: bridge, bond, team, a datapath
of Open vSwitch, and a virtual card that has its faster half for a port, whose kind has no name.
"""

_UNSETTLED = ADDRESS_TENTATIVE | ADDRESS_DAD_FAILED

Subnet = tuple[bytes, int]
"""An own address, or the network, packed, and its prefix length."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """This node on one segment.

    up: frames can pass. gateway, gateway6: the default gateway of each family there, packed, or None.
    own6: the link-local address, packed, empty while there is none.
    """

    index: int
    name: str
    mac: bytes
    up: bool
    subnets: tuple[Subnet, ...]
    gateway: bytes | None = None
    gateway6: bytes | None = None
    own6: bytes = b""

    def holds(self, address: bytes) -> bool:
        """The address lies in a subnet of this link."""
        return any(covers(own, prefix, address) for own, prefix in self.subnets)

    def meets(self, ranges: Iterable[Range]) -> bool:
        """Some address of the ranges lies in a subnet of this link."""
        spans = [_span(subnet) for subnet in self.subnets]
        return any(each.overlaps(span) for each in ranges for span in spans)


def _span(subnet: Subnet) -> Range:
    return parse_range(str(ip_network((subnet[0], subnet[1]), strict=False)))


def places(links: Iterable[Link], addresses: Iterable[Address], routes: Iterable[Route]) -> tuple[Place, ...]:
    """Links that carry ARP or NDP and have a subnet of their own, by index; also those that are down now."""
    by_index = {link.index: link for link in links}
    subnets: dict[int, list[Subnet]] = {}
    own6: dict[int, bytes] = {}
    for each in addresses:
        if _is_subnet(each):
            subnets.setdefault(each.index, []).append((each.address, each.prefix))
        elif len(each.address) == 16 and each.scope == SCOPE_LINK and not each.flags & _UNSETTLED:
            own6[each.index] = min(each.address, own6.get(each.index, each.address))
    known = tuple(routes)
    for route in known:
        if is_prefix_on_link(route):
            there = subnets.setdefault(route.hops[0].index, [])
            if not any(
                prefix == route.prefix and covers(own, prefix, route.destination) for own, prefix in there
            ):
                there.append((route.destination, route.prefix))
    gateways, gateways6 = _gateways(known, 4), _gateways(known, 16)
    return tuple(
        Place(
            index,
            link.name,
            link.mac,
            link.up,
            tuple(sorted(subnets[index])),
            gateways.get(index),
            gateways6.get(index),
            own6.get(index, b""),
        )
        for index, link in sorted(by_index.items())
        if index in subnets and _speaks(link, by_index)
    )


def _is_subnet(each: Address) -> bool:
    """An address whose prefix says what is on the link. IPv6: not a temporary one (RFC 8981), that goes."""
    if each.scope != SCOPE_GLOBAL or each.peer or each.prefix >= 8 * len(each.address):
        return False
    return len(each.address) == 4 or not each.flags & (_UNSETTLED | ADDRESS_TEMPORARY)


def _gateways(routes: Iterable[Route], width: int) -> dict[int, bytes]:
    """Link → the gateway of its best default route of a family; of the main table, if it has one there.

    Not only of the node's best one: a VRF has a table of its own, and so has what a rule sends back by
    another link.
    """
    defaults = [
        route
        for route in routes
        if route.width == width and route.prefix == 0 and route.kind == ROUTE_UNICAST and not route.tos
    ]
    found: dict[int, bytes] = {}
    for route in sorted(defaults, key=lambda route: (route.table != TABLE_MAIN, route.metric)):
        for hop in route.hops:
            if len(hop.gateway) == width:
                found.setdefault(hop.index, hop.gateway)
    return found


def _speaks(link: Link, by_index: Mapping[int, Link]) -> bool:
    if link.flags & (IFF_LOOPBACK | IFF_NOARP) or len(link.mac) != 6:
        return False
    master = by_index.get(link.master) if link.master else None
    return master is None or master.kind == _ROUTING_MASTER


def place_of(known: Iterable[Place], address: bytes, allowed: Collection[str] = ()) -> Place | None:
    """Where an address is announced: the first link whose subnet holds it and whose name is allowed.

    allowed: names or globs of interfaces, empty for all.
    """
    return next((each for each in known if each.holds(address) and is_allowed(each.name, allowed)), None)


def is_allowed(name: str, allowed: Collection[str]) -> bool:
    """The interface is one of those that an L2Advertisement names, or it names none."""
    return not allowed or any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)

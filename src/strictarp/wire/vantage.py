"""Where to ask from: the link of each address, and the sender of an ordinary request there. Thin.

Works in the network namespace of the calling thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

import msgspec

from strictarp.netlink import look
from strictarp.netlink.messages import MalformedMessage, Refusal
from strictarp.netlink.rtnl import (
    IFF_LOOPBACK,
    IFF_NOARP,
    IFF_UP,
    ROUTE_LOCAL,
    ROUTE_UNICAST,
    SCOPE_LINK,
    Address,
    Link,
    Route,
    covers,
)
from strictarp.netlink.socket import NETLINK_ROUTE, DumpInterrupted, Netlink
from strictarp.wire.naming import Here

_NETLINK_FAULTS = (Refusal, DumpInterrupted, MalformedMessage, TimeoutError, OSError)


class CannotLook(Exception):
    """The question cannot be asked from here; the message says why and what to do."""


class Vantage(msgspec.Struct, frozen=True):
    """Where to ask for an address from.

    link: one that can carry ARP. own_address: this host has the address itself. sender: address of the link
    to ask as, packed; empty where the link has none.
    """

    link: Link
    own_address: bool = False
    sender: bytes = b""


async def find_vantages(
    ips: Iterable[IPv4Address], interface: str | None = None
) -> dict[IPv4Address, Vantage | CannotLook]:
    """For each address where to ask for it, or why that cannot be done.

    interface: None takes that of the route to each. Raises CannotLook when it is missing or unusable, or the
    kernel does not tell its interfaces.
    """
    try:
        async with Netlink(NETLINK_ROUTE) as route:
            addresses = await look.addresses(route, 4)
            links = await look.links(route)
            named = _named(interface, links) if interface is not None else None
            found: dict[IPv4Address, Vantage | CannotLook] = {}
            for ip in ips:
                way = None if named else await look.route_to(route, ip.packed)
                try:
                    found[ip] = _vantage(ip, named or _link_of_route(ip, way, links, addresses), addresses)
                except CannotLook as error:
                    found[ip] = error
            return found
    except _NETLINK_FAULTS as error:
        raise CannotLook(f"cannot ask the kernel about its interfaces: {error}") from error


async def look_here() -> Here:
    """This host's links, IPv4 addresses and neighbours. Raises CannotLook."""
    try:
        async with Netlink(NETLINK_ROUTE) as route:
            addresses = await look.addresses(route, 4)
            return Here(
                links=tuple(await look.links(route)),
                addresses=tuple(each.address for each in addresses),
                neighbours=tuple(await look.neighbours(route, 4)),
            )
    except _NETLINK_FAULTS as error:
        raise CannotLook(f"cannot ask the kernel about its interfaces: {error}") from error


def _named(interface: str, links: Sequence[Link]) -> Link:
    for link in links:
        if link.name == interface:
            _check_link(link)
            return link
    known = ", ".join(sorted(each.name for each in links))
    raise CannotLook(f"no interface {interface}; there are: {known}")


def _vantage(ip: IPv4Address, link: Link, addresses: Sequence[Address]) -> Vantage:
    _check_link(link)
    return Vantage(link, _is_own(ip, addresses), _sender(ip, link, addresses))


def _is_own(ip: IPv4Address, addresses: Sequence[Address]) -> bool:
    return any(each.address == ip.packed for each in addresses)


def _sender(ip: IPv4Address, link: Link, addresses: Sequence[Address]) -> bytes:
    """An address of the link, rather one in the subnet of `ip`, rather no single address (a VIP)."""
    here = [
        each
        for each in addresses
        if each.index == link.index and each.scope <= SCOPE_LINK and each.address != ip.packed
    ]
    here.sort(key=lambda each: (not covers(each.address, each.prefix, ip.packed), each.prefix == 32))
    return here[0].address if here else b""


def _link_of_route(
    ip: IPv4Address, way: Route | None, links: Sequence[Link], addresses: Sequence[Address]
) -> Link:
    """The link that the route to `ip` leaves by; for an address of this host, the link of its segment."""
    by_index = {link.index: link for link in links}
    own = _is_own(ip, addresses)
    if way is not None and way.kind == ROUTE_UNICAST and way.hops and not own:
        hop = way.hops[0]
        if hop.gateway:
            name = by_index[hop.index].name if hop.index in by_index else "?"
            raise CannotLook(
                f"{ip} is in no segment of this host (its route goes over a gateway on {name}); "
                "choose the interface with -i"
            )
        if hop.index in by_index:
            return by_index[hop.index]
    if own or (way is not None and way.kind == ROUTE_LOCAL):
        for each in addresses:
            link = by_index.get(each.index)
            wide = each.prefix < 32 and covers(each.address, each.prefix, ip.packed)
            if wide and link is not None and _complaint(link) is None:
                return link
        raise CannotLook(
            f"{ip} is an address of this host and no interface is in its segment; choose one with -i"
        )
    raise CannotLook(f"no route to {ip}; choose the interface with -i")


def _complaint(link: Link) -> str | None:
    if link.flags & (IFF_LOOPBACK | IFF_NOARP) or len(link.mac) != 6:
        return "does not speak ARP"
    if not link.flags & IFF_UP:
        return f"is down; bring it up with: ip link set {link.name} up"
    if not link.carrier:
        return "has no carrier; is the cable in?"
    return None


def _check_link(link: Link) -> None:
    complaint = _complaint(link)
    if complaint:
        raise CannotLook(f"interface {link.name} {complaint}")

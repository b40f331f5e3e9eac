"""Parsing of what rtnetlink tells: answers to dumps and events alike. Pure; layouts as in `rtnl`.

Every function raises MalformedMessage for bytes that are not what they should be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from socket import AF_INET, AF_INET6

from strictarp.netlink.messages import (
    MalformedMessage,
    Message,
    align,
    attributes,
    read_text,
    read_u16,
    read_u32,
)
from strictarp.netlink.rtnl import (
    Address,
    AddressEvent,
    Event,
    Hop,
    Link,
    LinkEvent,
    Neighbour,
    NeighbourEvent,
    Route,
    RouteEvent,
)
from strictarp.netlink.rtnl_encode import IFADDRMSG, IFINFOMSG, NDMSG, RTMSG

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR = 16, 17, 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEIGH, RTM_DELNEIGH = 24, 25, 28, 29

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_CARRIER = 1, 3, 4, 10, 18, 33
_INFO_KIND = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_MULTIPATH = 1, 4, 5, 6, 7, 9
_RTA_TABLE, _RTA_VIA = 15, 18
_NDA_DST, _NDA_LLADDR = 1, 2
_WIDTHS: dict[int, int] = {AF_INET: 4, AF_INET6: 16}
_NEXTHOP = struct.Struct("=HBBi")


def _split(message: Message, head: struct.Struct, name: str) -> tuple[tuple[int, ...], dict[int, memoryview]]:
    if len(message.payload) < head.size:
        raise MalformedMessage(f"{name} of {len(message.payload)} bytes, at least {head.size} expected")
    return head.unpack_from(message.payload), attributes(message.payload, head.size)


def _width(family: int) -> int | None:
    return _WIDTHS.get(family)


def _packed(value: memoryview, width: int, name: str) -> bytes:
    if len(value) != width:
        raise MalformedMessage(f"{name}: {len(value)} bytes, {width} expected")
    return bytes(value)


def parse_link(message: Message) -> Link:
    """A link."""
    (_, _, index, flags, _), found = _split(message, IFINFOMSG, "link")
    if _IFLA_IFNAME not in found:
        raise MalformedMessage(f"link {index} without a name")
    info = attributes(found.get(_IFLA_LINKINFO, memoryview(b"")))
    return Link(
        index=index,
        name=read_text(found[_IFLA_IFNAME]),
        flags=flags,
        mac=bytes(found.get(_IFLA_ADDRESS, b"")),
        master=read_u32(found[_IFLA_MASTER], name="master") if _IFLA_MASTER in found else 0,
        kind=read_text(info[_INFO_KIND]) if _INFO_KIND in info else "",
        mtu=read_u32(found[_IFLA_MTU], name="MTU") if _IFLA_MTU in found else 0,
        carrier=bool(found.get(_IFLA_CARRIER, b"\0")[:1] == b"\1"),
    )


def parse_address(message: Message) -> Address | None:
    """An address; None for a family other than IPv4 and IPv6."""
    (family, prefix, flags, scope, index), found = _split(message, IFADDRMSG, "address")
    width = _width(family)
    if width is None:
        return None
    if prefix > 8 * width:
        raise MalformedMessage(f"address with a prefix of {prefix} bits")
    far = found.get(_IFA_ADDRESS, found.get(_IFA_LOCAL))
    near = found.get(_IFA_LOCAL, far)
    if far is None or near is None:
        raise MalformedMessage(f"address message of device {index} without an address")
    local, peer = _packed(near, width, "local address"), _packed(far, width, "peer address")
    if _IFA_FLAGS in found:
        flags = read_u32(found[_IFA_FLAGS], name="address flags")
    return Address(index, local, prefix, scope, flags, b"" if peer == local else peer)


def parse_route(message: Message) -> Route | None:
    """A route; None for a family other than IPv4 and IPv6."""
    (family, prefix, _, tos, table, protocol, _, kind, _), found = _split(message, RTMSG, "route")
    width = _width(family)
    if width is None:
        return None
    if prefix > 8 * width:
        raise MalformedMessage(f"route with a prefix of {prefix} bits")
    hops = tuple(_hops(found, width))
    return Route(
        width=width,
        destination=_packed(found[_RTA_DST], width, "destination") if _RTA_DST in found else b"",
        prefix=prefix,
        hops=hops,
        table=read_u32(found[_RTA_TABLE], name="table") if _RTA_TABLE in found else table,
        kind=kind,
        metric=read_u32(found[_RTA_PRIORITY], name="metric") if _RTA_PRIORITY in found else 0,
        source=_packed(found[_RTA_PREFSRC], width, "source") if _RTA_PREFSRC in found else b"",
        protocol=protocol,
        tos=tos,
    )


def _gateway(found: dict[int, memoryview], width: int) -> bytes:
    """RTA_GATEWAY, or RTA_VIA for a gateway of the other family (IPv4 routes through IPv6 hosts)."""
    if _RTA_GATEWAY in found:
        return _packed(found[_RTA_GATEWAY], width, "gateway")
    if _RTA_VIA in found:
        via = found[_RTA_VIA]
        other = _width(read_u16(via, name="gateway's family"))
        if other is None:
            raise MalformedMessage("gateway of an unknown family")
        return _packed(via[2:], other, "gateway")
    return b""


def _hops(found: dict[int, memoryview], width: int) -> Iterator[Hop]:
    if _RTA_MULTIPATH in found:
        view = found[_RTA_MULTIPATH]
        offset = 0
        while offset < len(view):
            if len(view) - offset < _NEXTHOP.size:
                raise MalformedMessage("next hop cut off")
            length, _, _, index = _NEXTHOP.unpack_from(view, offset)
            if not _NEXTHOP.size <= length <= len(view) - offset:
                raise MalformedMessage(f"next hop of {length} bytes where {len(view) - offset} are left")
            inner = attributes(view[offset + _NEXTHOP.size : offset + length])
            yield Hop(index, _gateway(inner, width))
            offset += align(length)
    elif _RTA_OIF in found:
        yield Hop(read_u32(found[_RTA_OIF], name="output device"), _gateway(found, width))


def parse_neighbour(message: Message) -> Neighbour | None:
    """A neighbour entry; None for bridge forwarding entries and other families."""
    (family, index, state, _, _), found = _split(message, NDMSG, "neighbour")
    width = _width(family)
    if width is None or _NDA_DST not in found:
        return None
    return Neighbour(
        index, _packed(found[_NDA_DST], width, "neighbour"), bytes(found.get(_NDA_LLADDR, b"")), state
    )


def _link_event(message: Message, *, gone: bool) -> Event | None:
    link = parse_link(message)
    # A bridge tells of its ports by DELLINK in family AF_BRIDGE: the port leaves the bridge, not the host.
    return None if message.payload[0] else LinkEvent(link, gone)


def _address_event(message: Message, *, gone: bool) -> Event | None:
    address = parse_address(message)
    return None if address is None else AddressEvent(address, gone)


def _route_event(message: Message, *, gone: bool) -> Event | None:
    route = parse_route(message)
    return None if route is None else RouteEvent(route, gone)


def _neighbour_event(message: Message, *, gone: bool) -> Event | None:
    neighbour = parse_neighbour(message)
    return None if neighbour is None else NeighbourEvent(neighbour, gone)


_EVENTS: dict[int, tuple[Callable[..., Event | None], bool]] = {
    RTM_NEWLINK: (_link_event, False),
    RTM_DELLINK: (_link_event, True),
    RTM_NEWADDR: (_address_event, False),
    RTM_DELADDR: (_address_event, True),
    RTM_NEWROUTE: (_route_event, False),
    RTM_DELROUTE: (_route_event, True),
    RTM_NEWNEIGH: (_neighbour_event, False),
    RTM_DELNEIGH: (_neighbour_event, True),
}


def parse_event(message: Message) -> Event | None:
    """What an event says; None when it is none of ours."""
    if message.type not in _EVENTS:
        return None
    parse, gone = _EVENTS[message.type]
    return parse(message, gone=gone)

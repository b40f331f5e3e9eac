"""Look at the kernel: whole tables over a transport, decoded. Thin.

Each raises Refusal, DumpInterrupted and MalformedMessage.
"""

from __future__ import annotations

import errno

from strictarp.netlink.messages import Refusal
from strictarp.netlink.rtnl import Address, Link, Neighbour, Route
from strictarp.netlink.rtnl_encode import (
    encode_dump_addresses,
    encode_dump_links,
    encode_dump_neighbours,
    encode_dump_routes,
    encode_get_link,
    encode_get_route,
)
from strictarp.netlink.rtnl_parse import parse_address, parse_link, parse_neighbour, parse_route
from strictarp.netlink.socket import Transport


async def links(route: Transport) -> list[Link]:
    """All links of the namespace."""
    return [parse_link(message) for message in await route.dump(encode_dump_links())]


async def link(route: Transport, name: str) -> Link | None:
    """The link of that name, None without one."""
    try:
        answers = await route.query(encode_get_link(name))
    except Refusal as refusal:
        if refusal.errno == errno.ENODEV:
            return None
        raise
    return parse_link(answers[0]) if answers else None


async def addresses(route: Transport, width: int = 0) -> list[Address]:
    """All addresses of a family (4, 16) or both (0)."""
    found = [parse_address(message) for message in await route.dump(encode_dump_addresses(width))]
    return [address for address in found if address is not None]


async def routes(route: Transport, width: int = 0) -> list[Route]:
    """All routes of a family (4, 16) or both (0), all tables."""
    found = [parse_route(message) for message in await route.dump(encode_dump_routes(width))]
    return [entry for entry in found if entry is not None]


async def route_to(route: Transport, address: bytes) -> Route | None:
    """Which way a packet to `address` goes (hops, source, kind); None when it is unreachable."""
    try:
        answers = await route.query(encode_get_route(address))
    except Refusal as refusal:
        if refusal.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
            return None
        raise
    return parse_route(answers[0]) if answers else None


async def neighbours(route: Transport, width: int = 0) -> list[Neighbour]:
    """All neighbour entries of a family (4, 16) or both (0)."""
    found = [parse_neighbour(message) for message in await route.dump(encode_dump_neighbours(width))]
    return [entry for entry in found if entry is not None]

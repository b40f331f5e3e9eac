"""Reading links, addresses and default routes as the guard needs them. Thin."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from strictarp.arp.gathering import Told, gather
from strictarp.guard.picture import Picture, picture_of
from strictarp.netlink import look, rtnl
from strictarp.netlink.messages import MalformedMessage, Message, Refusal
from strictarp.netlink.nft_process import NftRefused
from strictarp.netlink.rtnl import Event
from strictarp.netlink.rtnl_encode import encode_dump_links
from strictarp.netlink.rtnl_parse import parse_event, parse_link
from strictarp.netlink.socket import DumpInterrupted, Transport
from strictarp.netlink.stacking import parse_stacking
from strictarp.sysctl import files
from strictarp.sysctl.files import SysctlError

GROUPS = (rtnl.GROUP_LINK, rtnl.GROUP_IPV4_ADDRESS, rtnl.GROUP_IPV4_ROUTE)


TROUBLES = (SysctlError, NftRefused, Refusal, DumpInterrupted, MalformedMessage, OSError)
"""What may go wrong with the kernel while it is read or written."""


async def default_routes(route: Transport) -> tuple[rtnl.Route, ...]:
    """All default routes of IPv4. Raises Refusal, DumpInterrupted, MalformedMessage."""
    return tuple(each for each in await look.routes(route, 4) if each.prefix == 0)


async def picture(route: Transport, routes: Sequence[rtnl.Route], localnet: Collection[str] = ()) -> Picture:
    """Links and addresses now. localnet: devices whose route_localnet is read, for the choice of senders.

    Raises Refusal, DumpInterrupted, MalformedMessage, SysctlError.
    """
    messages = await route.dump(encode_dump_links())
    links = [(parse_link(message), parse_stacking(message)) for message in messages]
    told = Told(
        links=links,
        addresses=await look.addresses(route, 4),
        routes=routes,
        rules=(),
        proxies=(),
        sysctls=files.snapshot(["all", *localnet], ["route_localnet"]),
        proxy_delay={},
        merged=True,
    )
    return picture_of(gather(told), {link.name: link.index for link, _ in links})


def events_of(messages: Sequence[Message | None]) -> list[Event | None]:
    """Events as values; what cannot be read counts as lost."""
    found: list[Event | None] = []
    for message in messages:
        try:
            event = parse_event(message) if message is not None else None
        except MalformedMessage:
            found.append(None)
            continue
        if event is not None or message is None:
            found.append(event)
    return found

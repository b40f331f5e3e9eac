"""This node's links, addresses and default route, by netlink. Thin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from strictarp.errors import UserError
from strictarp.netlink import look
from strictarp.netlink.messages import MalformedMessage, Message, Refusal
from strictarp.netlink.rtnl import (
    GROUP_IPV4_ADDRESS,
    GROUP_IPV4_ROUTE,
    GROUP_IPV6_ADDRESS,
    GROUP_IPV6_ROUTE,
    GROUP_LINK,
    AddressEvent,
    LinkEvent,
    RouteEvent,
    is_prefix_on_link,
)
from strictarp.netlink.rtnl_parse import parse_event
from strictarp.netlink.socket import NETLINK_ROUTE, DumpInterrupted, Events, Netlink
from strictarp.speaker.links import Place, places

_GROUPS = (GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV4_ROUTE, GROUP_IPV6_ADDRESS, GROUP_IPV6_ROUTE)
SETTLE = 0.02
"""Seconds after an event in which further ones join it: a link comes with a handful of them."""
LOOK_AGAIN = 1.0
"""Seconds after a look that failed, as in a flood of VIPs: the events that follow may be none that matter."""


class HostUnreadable(Exception):
    """The kernel did not tell its links; the message says why."""


class Host:
    """Made in the network namespace of the node; subscribed from then on."""

    def __init__(self) -> None:
        self._again: float | None = None
        """When a look that has failed is to be made again, by the loop's clock."""
        try:
            self._events = Events(NETLINK_ROUTE, _GROUPS)
            self._route = Netlink(NETLINK_ROUTE)
        except OSError as error:
            raise UserError(f"netlink: {error.strerror}; the speaker cannot see this node's links") from error

    def close(self) -> None:
        """Let go of the sockets."""
        self._events.close()
        self._route.close()

    async def look(self) -> tuple[Place, ...]:
        """All places as they are now. Raises HostUnreadable."""
        self._again = asyncio.get_running_loop().time() + LOOK_AGAIN
        try:
            found = places(
                await look.links(self._route),
                await look.addresses(self._route),
                [*await look.routes(self._route, 4), *await look.routes(self._route, 16)],
            )
        except (Refusal, DumpInterrupted, MalformedMessage, TimeoutError, OSError) as error:
            raise HostUnreadable(str(error)) from error
        self._again = None
        return found

    async def changes(self) -> AsyncIterator[None]:
        """An item whenever links, addresses on them, or default routes may have changed, and when a look that
        has failed is to be made again.
        """
        while True:
            try:
                async with asyncio.timeout_at(self._again):
                    matters = any(_matters(message) for message in await self._events.wait())
            except TimeoutError:
                matters = True
            if matters:
                await asyncio.sleep(SETTLE)
                yield


def _matters(message: Message | None) -> bool:
    """Not the thousands of host addresses and routes that a proxy's VIPs make."""
    if message is None:
        return True
    try:
        event = parse_event(message)
    except MalformedMessage:
        return True
    match event:
        case LinkEvent():
            return True
        case AddressEvent(address=address):
            return address.prefix < 8 * len(address.address)
        case RouteEvent(route=route):
            return route.prefix == 0 or is_prefix_on_link(route)
        case _:
            return False

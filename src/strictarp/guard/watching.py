"""Links and addresses, followed by events and read anew when these tell so. Thin; `picture` decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import msgspec

from strictarp.arp.facts import Host
from strictarp.guard import looking
from strictarp.guard.picture import follow, picture_of
from strictarp.netlink.rtnl import Route
from strictarp.netlink.socket import NETLINK_ROUTE, Events, Netlink

FULL_LOOK = 60.0
"""Seconds between looks that no event asked for."""
_GAP = 0.1
"""Between two looks, however many events come."""


class Watcher:
    """`picture` is what is known now; `wake` is set when something in it may call for action."""

    def __init__(self) -> None:
        self.picture = picture_of(Host(()), {})
        self.wake = asyncio.Event()
        self._route: Netlink | None = None
        self._events: Events | None = None
        self._routes: tuple[Route, ...] = ()
        self._look_due = self._routes_due = True
        self._looked = -FULL_LOOK

    def open(self) -> None:
        """Subscribe, before the first look. Raises OSError."""
        self._events = Events(NETLINK_ROUTE, looking.GROUPS)
        self._route = Netlink(NETLINK_ROUTE)

    def close(self) -> None:
        """Close the sockets."""
        for opened in (self._route, self._events):
            if opened is not None:
                opened.close()

    def look_soon(self) -> None:
        """What is known turned out to be wrong."""
        self._look_due = True

    async def run(self) -> None:
        """Follow events until cancelled. Raises OSError when the socket breaks."""
        while self._events is not None:
            found = follow(self.picture, looking.events_of(await self._events.wait()))
            come = found.picture.bound != self.picture.bound
            self.picture = found.picture
            self._look_due |= found.look
            self._routes_due |= found.routes
            if come or found.look:
                self.wake.set()

    async def look(self, uplinks: Collection[str]) -> None:
        """Read links and addresses if that is due, but not too often. Raises `looking.TROUBLES`."""
        if self._route is None or not (self._look_due or time.monotonic() - self._looked > FULL_LOOK):
            return
        await asyncio.sleep(max(0.0, self._looked + _GAP - time.monotonic()))
        self._look_due, routes_due, self._routes_due = False, self._routes_due, False
        self._looked = time.monotonic()
        before = self.picture.bound
        try:
            if routes_due:
                self._routes = await looking.default_routes(self._route)
            seen = await looking.picture(self._route, self._routes, uplinks)
        except BaseException:
            self._look_due = self._routes_due = True
            raise
        # What came by an event while the kernel was read may be missing in what was read.
        self.picture = msgspec.structs.replace(seen, bound=seen.bound | (self.picture.bound - before))

"""Keeps the nftables rules for moved IPs as `moves` says, and tells what `given` has to tell. Thin."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from strictarp.hello.frames import Frame
from strictarp.netlink.rtnl import Link
from strictarp.proxy import moves
from strictarp.proxy.given import Giving, Telling
from strictarp.proxy.liveness import Member
from strictarp.proxy.moves import Moves
from strictarp.proxy.seam import Kernel, KernelRefused

log = logging.getLogger(__name__)


class HandingOver:
    """`own`, `find`, `find_old`: as of `Moves`. `links`: this node's links by index, now.

    `families`: widths of the addresses of those that the kernel has. `say`: sends a frame.
    """

    def __init__(
        self,
        kernel: Kernel,
        own: int,
        find: Callable[[int], bytes | None],
        find_old: Callable[[int, int, bytes], Member | None],
        *,
        links: Callable[[], Mapping[int, Link]],
        families: Sequence[int],
        say: Callable[[Telling], None],
    ) -> None:
        self.moves = Moves(own, find, find_old)
        self._given = Giving(own, find, lambda link: links()[link].mac if link in links() else None)
        self._kernel = kernel
        self._links = links
        self._families = families
        self._say = say
        self._changed = asyncio.Event()
        self._gave = asyncio.Event()

    def hear(self, frame: Frame, link: int) -> None:
        """A frame of a speaker or proxy came."""
        now = time.monotonic()
        if self.moves.hear(frame, link, now):
            self._changed.set()
        if self._given.hear(frame, link, now):
            self._gave.set()

    def give_up(self, dead: frozenset[str]) -> None:
        """These nodes are dead."""
        if self.moves.give_up(dead):
            self._changed.set()

    async def run(self) -> None:
        """Follow until cancelled. What an earlier process had goes first: nobody would shorten its time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_moves())
            group.create_task(self._follow_given())

    async def _follow_moves(self) -> None:
        self._changed.set()
        while True:
            if not await _woken(self._changed, self.moves.next_at()):
                self.moves.expire(time.monotonic())
            await self._load()

    async def _load(self) -> None:
        names = {index: link.name for index, link in self._links().items()}
        moved = self.moves.moved
        try:
            await self._kernel.load_rules(moves.script(moved, names, time.monotonic(), self._families))
        except (KernelRefused, OSError) as refused:
            log.warning(
                "connections of moved IPs are not passed on",
                extra={"fields": {"ips": len(moved), "reason": str(refused)}},
            )

    async def _follow_given(self) -> None:
        while True:
            if not await _woken(self._gave, self._given.next_at()):
                await self._look_at_given()

    async def _look_at_given(self) -> None:
        due = self._given.due(time.monotonic())
        if not due:
            return
        try:
            opened = await self._kernel.with_open_connections(due)
        except (KernelRefused, OSError) as refused:
            # The next owner passes packets on until the time is over, as it does when it hears nothing.
            log.warning("connections of given IPs are not seen", extra={"fields": {"reason": str(refused)}})
            opened = due
        # The IP may have come from a third node, whose connections go by way of this one.
        opened |= self.moves.moved.keys()
        for telling in self._given.looked(due, opened, time.monotonic()):
            self._say(telling)


async def _woken(event: asyncio.Event, due: float | None) -> bool:
    """Wait for an event, which is cleared then, or until `due` on time.monotonic; whether the event came."""
    try:
        async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True

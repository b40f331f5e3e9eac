"""Keeps the nftables rules for moved IPs as `moves` says, and tells what `given` has to tell. Thin.

The rules are there for every link on which other nodes are heard, long before an IP moves: then only their
maps have to be filled, which takes the kernel a moment. A process of nft may take longer than the move.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from strictarp.hello.frames import Frame
from strictarp.netlink.rtnl import Link
from strictarp.proxy import moves, nftables
from strictarp.proxy.given import Giving, Telling
from strictarp.proxy.liveness import Member
from strictarp.proxy.moves import Moves
from strictarp.proxy.seam import Kernel, KernelRefused, TableVanished

log = logging.getLogger(__name__)


class HandingOver:
    """`own`, `find`, `find_old`: as of `Moves`. `say`: sends a frame.

    `families`: widths of the addresses of those that the kernel has.
    """

    def __init__(
        self,
        kernel: Kernel,
        own: int,
        find: Callable[[int], bytes | None],
        find_old: Callable[[int, int, bytes], Member | None],
        *,
        families: Sequence[int],
        say: Callable[[Telling], None],
    ) -> None:
        self.moves = Moves(own, find, find_old)
        self._given = Giving(own, find, self._mac)
        self._kernel = kernel
        self._links: dict[int, Link] = {}
        self._families = families
        self._say = say
        self._loaded: dict[int, str] | None = None
        """Names of the links that there are rules for, by index; None: not known."""
        self._filled: frozenset[bytes] = frozenset()
        """The IPs in the maps."""
        self._changed = asyncio.Event()
        self._gave = asyncio.Event()

    def learn(self, links: Mapping[int, Link]) -> None:
        """The links on which other nodes are heard now, by index; safe to repeat."""
        before = self._names()
        self._links = dict(links)
        if self._names() != before:  # what was refused is tried again with the next move, not with each look
            self._changed.set()

    def _names(self) -> dict[int, str]:
        return {index: link.name for index, link in self._links.items()}

    def _mac(self, link: int) -> bytes | None:
        return self._links[link].mac if link in self._links else None

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
        links = self._names()
        try:
            if links != self._loaded:
                await self._make(links)
            try:
                await self._fill(links)
            except TableVanished:  # somebody has flushed it
                await self._make(links)
                await self._fill(links)
        except (KernelRefused, OSError) as refused:
            log.warning(
                "connections of moved IPs are not passed on",
                extra={"fields": {"ips": len(self.moves.moved), "reason": str(refused)}},
            )

    async def _make(self, links: dict[int, str]) -> None:
        self._loaded = None
        await self._kernel.load_rules(moves.script(links, self._families))
        self._loaded = links

    async def _fill(self, links: dict[int, str]) -> None:
        now, moved = time.monotonic(), self.moves.moved
        # One comes, or goes back: until its clients know that, what they still send here has to wait.
        if moved.keys() != self._filled:
            with contextlib.suppress(TableVanished):  # nothing is held back
                await self._kernel.fill_maps(nftables.forget_strays(self._families))
        self._filled = frozenset(moved)
        await self._kernel.fill_maps(moves.fillings(moved, links, now, self._families))

    async def _follow_given(self) -> None:
        while True:
            if not await _woken(self._gave, self._given.next_at()):
                await self._look_at_given()

    async def _look_at_given(self) -> None:
        due = self._given.due(time.monotonic())
        if not due:
            return
        try:
            opened = await self._kernel.forget_closed_connections(due)
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

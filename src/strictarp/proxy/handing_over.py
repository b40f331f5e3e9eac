"""Keeps the nftables rules for moved IPs as `moves` says. Thin."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from strictarp.hello.frames import Frame
from strictarp.proxy import moves
from strictarp.proxy.liveness import Member
from strictarp.proxy.moves import Moves
from strictarp.proxy.seam import Kernel, KernelRefused

log = logging.getLogger(__name__)


class HandingOver:
    """`own`, `find`, `find_old`: as of `Moves`. `links`: names of this node's links by index, now.

    `families`: widths of the addresses of those that the kernel has.
    """

    def __init__(
        self,
        kernel: Kernel,
        own: int,
        find: Callable[[int], bytes | None],
        find_old: Callable[[int, int, bytes], Member | None],
        *,
        links: Callable[[], Mapping[int, str]],
        families: Sequence[int],
    ) -> None:
        self.moves = Moves(own, find, find_old)
        self._kernel = kernel
        self._links = links
        self._families = families
        self._changed = asyncio.Event()

    def hear(self, frame: Frame, link: int) -> None:
        """A frame of a speaker came."""
        if self.moves.hear(frame, link, time.monotonic()):
            self._changed.set()

    def give_up(self, dead: frozenset[str]) -> None:
        """These nodes are dead."""
        if self.moves.give_up(dead):
            self._changed.set()

    async def run(self) -> None:
        """Follow until cancelled. What an earlier process had goes first: nobody would shorten its time."""
        self._changed.set()
        while True:
            due = self.moves.next_at()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                    await self._changed.wait()
            except TimeoutError:
                self.moves.expire(time.monotonic())
            self._changed.clear()
            await self._load()

    async def _load(self) -> None:
        moved = self.moves.moved
        try:
            await self._kernel.load_rules(
                moves.script(moved, self._links(), time.monotonic(), self._families)
            )
        except (KernelRefused, OSError) as refused:
            log.warning(
                "connections of moved IPs are not passed on",
                extra={"fields": {"ips": len(moved), "reason": str(refused)}},
            )

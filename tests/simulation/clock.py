"""Simulated time: one heap of events, and nodes' clocks that drift from it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

MILLION = 1_000_000


class Clock:
    """True time in µs, and what happens when. Events of one instant happen in the order they were planned."""

    __slots__ = ("_count", "_heap", "now")

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, time: int, action: Callable[..., None], *args: Any) -> None:  # noqa: ANN401 - whatever it takes
        """Have `action(*args)` happen at `time`, or now if that is past."""
        self._count += 1
        heapq.heappush(self._heap, (time if time > self.now else self.now, self._count, action, args))

    def run(self, until: int) -> None:
        """Let everything happen up to and including `until`."""
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, action, args = pop(heap)
            action(*args)
        self.now = until


class LocalClock:
    """A node's clock: starts anywhere, and runs fast or slow by up to 1 %. drift: in millionths."""

    __slots__ = ("drift", "offset")

    def __init__(self, offset: int, drift: int) -> None:
        self.offset = offset
        self.drift = drift

    def local(self, true: int) -> int:
        """What it shows at a true time."""
        return self.offset + true + true * self.drift // MILLION

    def true(self, local: int) -> int:
        """The first true time at which it shows at least `local`."""
        time = (local - self.offset) * MILLION // (MILLION + self.drift)
        while self.local(time) < local:
            time += 1
        return time

    def span(self, local: int) -> int:
        """How long a local duration takes in true time, rounded up."""
        return -(-local * MILLION // (MILLION + self.drift))

"""Which IP is announced when: rounds after taking over, spread so that a thousand IPs do not burst."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from strictarp.speaker.settings import MS, SECOND

_BATCH_TIME = 10 * MS


class Announcements:
    """A queue of (VIP, epoch) with times, emptied at a bounded rate. rate: IPs a second."""

    def __init__(self, rate: int) -> None:
        self._batch = max(1, rate * _BATCH_TIME // SECOND)
        self._heap: list[tuple[int, int, int]] = []
        self._not_before = 0

    def plan(self, vip: int, epoch: int, times: Iterable[int]) -> None:
        """Announce this ownership of `vip` at these times (µs)."""
        for time in times:
            heapq.heappush(self._heap, (time, vip, epoch))

    def take_due(self, now: int) -> list[tuple[int, int]]:
        """(VIP, epoch) of what is due, at most a batch each 10 ms; the rest stays due."""
        if now < self._not_before:
            return []
        due: list[tuple[int, int]] = []
        while self._heap and self._heap[0][0] <= now and len(due) < self._batch:
            _, vip, epoch = heapq.heappop(self._heap)
            due.append((vip, epoch))
        if len(due) == self._batch:
            self._not_before = now + _BATCH_TIME
        return due

    def next(self) -> int | None:
        """When to call `take_due` again."""
        return max(self._heap[0][0], self._not_before) if self._heap else None

    def clear(self) -> None:
        """Announce nothing of what was planned."""
        self._heap.clear()

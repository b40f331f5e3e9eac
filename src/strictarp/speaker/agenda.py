"""When what is due: at most one time for each key, earliest first."""

from __future__ import annotations

import enum
import heapq


class Timer(enum.IntEnum):
    """What a time is for. The other half of a key is an id: 0, a VIP, or a peer's number.

    An integer, because its hash is computed in C: each frame looks something up.
    """

    HELLO = enum.auto()
    URGENT = enum.auto()
    PEER = enum.auto()
    SLOT = enum.auto()
    RELEASE = enum.auto()
    ANNOUNCE = enum.auto()
    REFRESH = enum.auto()
    DRAIN = enum.auto()


Key = tuple[Timer, int]


class Agenda:
    """A heap whose stale entries are skipped when they come up: moving a time costs one push."""

    def __init__(self) -> None:
        self._times: dict[Key, int] = {}
        self._heap: list[tuple[int, int, Key]] = []
        self._count = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._times

    def set(self, timer: Timer, number: int, time: int) -> None:
        """Make it due at `time` (µs) instead of any time set before."""
        key = (timer, number)
        if self._times.get(key) == time:
            return
        self._times[key] = time
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, key))

    def cancel(self, timer: Timer, number: int) -> None:
        """Forget it, if it is there."""
        self._times.pop((timer, number), None)

    def cancel_all(self, timer: Timer) -> None:
        """Forget every time of this kind."""
        for key in [key for key in self._times if key[0] is timer]:
            del self._times[key]

    def next(self) -> tuple[int, Key] | None:
        """The earliest time set, and of what."""
        heap, times = self._heap, self._times
        while heap:
            time, _, key = heap[0]
            if times.get(key) == time:
                return time, key
            heapq.heappop(heap)
        return None

    def take_due(self, now: int) -> list[tuple[Timer, int, int]]:
        """Timer, number and time of everything due by `now`, earliest first; it is off the agenda then."""
        due = []
        heap, times = self._heap, self._times
        while heap and heap[0][0] <= now:
            time, _, key = heapq.heappop(heap)
            if times.get(key) == time:
                del times[key]
                due.append((key[0], key[1], time))
        return due

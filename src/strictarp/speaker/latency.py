"""How long answers take, as a histogram of plain integers. Pure."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000)
"""Upper bounds of the buckets, in µs; one more is for all that takes longer."""


class Latency:
    """counts: by bucket, not summed up. total: µs of all together."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0

    def add(self, micros: int) -> None:
        """One answer. A time before zero, of a clock that was set, counts as none."""
        micros = max(0, micros)
        self.counts[bisect_left(BOUNDS, micros)] += 1
        self.total += micros

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound in seconds, as text, and how many took no longer: as Prometheus counts."""
        found, total = [], 0
        for bound, count in zip((*(str(each / 1e6) for each in BOUNDS), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found

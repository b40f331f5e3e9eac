"""500 endpoint changes a second for a minute at 5,000 Services.

Changes that come within 100 ms may share a transaction (minSyncPeriod). It keeps up when the last change is
in the kernel as soon as those before it were, and the number of Services that wait stays bounded.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

from bench._world import Report, World, world
from bench.event_latency import quantiles

SERVICES = 5_000
RATE = 500
SECONDS = 60.0
TOGETHER = 0.1
_TICK = 0.01
_STRIDE = 1_237
_SHARE = "ipvs: {minSyncPeriod: 100ms}"


async def _churn(around: World, reports: list[Report], unsent: list[int]) -> float:
    """Seconds that the changes took to make: the bench itself has to keep up too."""
    began, made = time.monotonic(), 0
    asked = began
    while (now := time.monotonic()) < began + SECONDS:
        while made < (now - began) * RATE:
            around.change(made * _STRIDE % around.services)
            made += 1
        if now >= asked + 1.0:
            asked = now
            reports.append(await around.report())
            unsent.append(len(around.waits))
        await asyncio.sleep(_TICK)
    return made / (time.monotonic() - began)


async def _measure() -> dict[str, object]:
    async with world(SERVICES, _SHARE) as around:
        reports: list[Report] = [await around.report()]
        unsent: list[int] = []
        began = time.monotonic()
        rate = await _churn(around, reports, unsent)
        took = time.monotonic() - began
        used = (await around.report()).since(reports[0])
        await around.programmed()
        behind = time.monotonic() - began - took
        return {
            "figure": "churn",
            "services": SERVICES,
            "changes_per_second": round(rate),
            "seconds": round(took, 1),
            "behind_at_the_end_seconds": round(behind, 3),
            "most_not_in_the_kernel": max(unsent),
            "most_waiting_to_be_planned": max(report.waiting for report in reports),
            "share_of_a_core": round((used.cpu + used.children_cpu) / took, 2),
            "milliseconds": quantiles(around.delays),
            "peak_mb": round(around.memory("VmHWM"), 1),
            "load": round(os.getloadavg()[0], 1),
        }


def run() -> Iterator[dict[str, object]]:
    """One line."""
    yield asyncio.run(_measure())

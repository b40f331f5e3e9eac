"""From an event to the kernel: one endpoint of one Service among 5,000 changes, again and again.

The time begins when the API server is told of the change, and ends when the message that adds the endpoint
has come out of the daemon's netlink socket: its own work, HTTP on both ends, and the way through two
processes. Long enough for the daemon's slow comparison of everything with the kernel to fall into it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

from bench._world import World, world

SERVICES = 5_000
SECONDS = 75.0
EVERY = 0.04
TO_REACH_MS = 10.0


def quantiles(delays: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(delays)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3, 2)
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    }


async def _events(around: World) -> None:
    chance = random.Random(1)  # noqa: S311 - which Service, and when
    clock = asyncio.get_running_loop().time
    end = clock() + SECONDS
    while clock() < end:
        around.change(chance.randrange(around.services))
        await asyncio.sleep(chance.uniform(0.5, 1.5) * EVERY)
    await around.programmed()


async def _measure() -> dict[str, object]:
    async with world(SERVICES) as around:
        await _events(around)
        return {
            "figure": "event to kernel, milliseconds",
            "services": SERVICES,
            "events": len(around.delays),
            **quantiles(around.delays),
            "to_reach": {"p99": TO_REACH_MS},
            "load": round(os.getloadavg()[0], 1),
        }


def run() -> Iterator[dict[str, object]]:
    """One line."""
    yield asyncio.run(_measure())

"""CPU time from the start of the process, imports and all, to the first message that programs IPVS.

With byte code, as in an installed package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from bench._world import world
from strictarp.lab import vm

RUNS = 5
SERVICES = 10
TO_REACH = 0.5


async def _once() -> float:
    async with world(SERVICES) as around:
        if around.first_told is None:
            raise RuntimeError("no real server was added")
        return around.first_told


def run() -> Iterator[dict[str, object]]:
    """One line: the best and the worst of five starts."""
    vm.compile_sources()
    seconds = [asyncio.run(_once()) for _ in range(RUNS)]
    yield {
        "figure": "import and start to the first sync request",
        "cpu_seconds": round(min(seconds), 3),
        "worst_cpu_seconds": round(max(seconds), 3),
        "to_reach": TO_REACH,
    }

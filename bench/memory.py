"""Resident memory of a daemon that has synced 10,000 Services with five endpoints each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from bench._world import world

SERVICES = 10_000
TO_REACH_MB = 120


async def _measure() -> dict[str, object]:
    async with world(10) as around:
        least = around.memory()
    async with world(SERVICES) as around:
        return {
            "figure": "resident memory after the first sync, MB",
            "services": SERVICES,
            "resident_mb": round(around.memory(), 1),
            "peak_mb": round(around.memory("VmHWM"), 1),
            "with_10_services_mb": round(least, 1),
            "to_reach": TO_REACH_MB,
        }


def run() -> Iterator[dict[str, object]]:
    """One line."""
    yield asyncio.run(_measure())

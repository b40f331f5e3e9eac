"""Memory of a speaker in a cluster of 5,000 Services and 100 nodes. To reach: 80 MB. Needs root."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench._speakers import Scene, memory_mb, until

SERVICES, NODES = 5000, 100
SETTLE = 15.0


def run() -> Iterator[dict[str, object]]:
    """Resident and peak memory once the objects are known and the first claims were made."""
    scene = Scene(1, SERVICES, far=NODES - 1)
    try:
        process = scene.speak("node1")
        seconds = until("objects known", lambda: scene.told("node1", "objects known") > 0)
        time.sleep(SETTLE)
        resident, peak = memory_mb(process.pid)
        yield {
            "figure": f"speaker, {SERVICES} Services, {NODES} nodes",
            "resident_mb": resident,
            "peak_mb": peak,
            "to_reach_mb": 80,
            "seconds_to_start": round(seconds, 1),
        }
    finally:
        scene.close()

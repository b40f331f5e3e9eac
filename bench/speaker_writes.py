"""What speakers write to the API in steady state: two of them, with 500 Services.

To reach: no write beyond one renewal of a Lease in 10 s a node. Steady is when each address was audited once
and status objects tell all that there is to tell. Needs root.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench._speakers import Scene, until

SERVICES, NODES = 500, 2
AUDITED = 75.0
WATCHED = 60.0


def run() -> Iterator[dict[str, object]]:
    """One line: the writes of a minute."""
    scene = Scene(NODES, SERVICES)
    try:
        for name in scene.network.nodes:
            scene.speak(name)
        until("all seasoned", lambda: all(scene.told(name, "Seasoned") for name in scene.network.nodes))
        time.sleep(AUDITED)
        before, began = scene.version(), time.monotonic()
        time.sleep(WATCHED)
        seconds = time.monotonic() - began
        yield {
            "figure": f"API writes of {NODES} speakers in steady state, {SERVICES} Services",
            "seconds": round(seconds),
            "writes": scene.version() - before,
            "to_reach": NODES * round(seconds / 10),
            "taken": sum(scene.told(name, "TookOver") for name in scene.network.nodes),
        }
    finally:
        scene.close()

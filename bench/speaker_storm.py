"""A storm of 50,000 foreign ARP frames a second: what it costs a speaker, and whether it answers meanwhile.

To reach: at most 2 % of a core in the speaker, no missed answer. Needs root.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from bench._speakers import Asker, Scene, cpu_seconds, until, vips
from strictarp.lab import namespaces, stranger

RATE, SECONDS = 50_000, 10.0
SERVICES = 100
ASK_EVERY = 0.05


def _spend(scene: Scene, asker: Asker, pid: int, seconds: float) -> tuple[float, int, int]:
    """Percent of a core that the process uses while it is asked; questions and those not answered."""
    before, began = cpu_seconds(pid), time.monotonic()
    addresses = vips(scene.services)
    asked = missed = 0
    while time.monotonic() - began < seconds:
        missed += asker.round_trip(addresses[asked % len(addresses)]) is None
        asked += 1
        time.sleep(ASK_EVERY)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - began), asked, missed


def run() -> Iterator[dict[str, object]]:
    """The speaker without and with the storm; both times it is asked 20 times a second."""
    scene = Scene(1, SERVICES)
    try:
        process = scene.speak("node1")
        until("all addresses taken", lambda: scene.told("node1", "TookOver") >= SERVICES)
        time.sleep(6.0)  # the rounds of announcements
        stranger.plug_in(scene.network)
        asker = Asker(scene.network)
        quiet, _, _ = _spend(scene, asker, process.pid, SECONDS)
        argv = [sys.executable, "-m", "strictarp", "lab", "flood", "--rate", str(RATE)]
        with namespaces.entered(scene.network.spaces[stranger.NAME]):
            flood = subprocess.Popen(
                [*argv, "--seconds", str(SECONDS + 2)], stdout=subprocess.PIPE, text=True
            )
        time.sleep(1.0)
        storm, asked, missed = _spend(scene, asker, process.pid, SECONDS)
        sent, _ = flood.communicate(timeout=60)
        yield {
            "figure": "speaker in a storm",
            "frames_a_second": round(int(sent) / (SECONDS + 2)),
            "percent_of_a_core": round(storm, 2),
            "percent_before": round(quiet, 2),
            "to_reach_percent": 2,
            "questions": asked,
            "missed": missed,
        }
        asker.close()
    finally:
        scene.close()

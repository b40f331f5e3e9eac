"""How fast a speaker that announces 5,000 addresses answers ARP, against the kernel on the same cable.

To reach: at the median at most 3 times the kernel's time, 99 of 100 within 1 ms. Needs root.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator

from bench._speakers import SUBNET, Asker, Scene, memory_mb, until, vips

SERVICES = 5000
QUESTIONS = 3000


def _microseconds(asker: Asker, addresses: list[bytes]) -> tuple[list[float], int]:
    times = [asker.round_trip(each) for each in addresses]
    return sorted(1e6 * each for each in times if each is not None), times.count(None)


def _line(who: str, times: list[float], missed: int) -> dict[str, object]:
    return {
        "figure": f"ARP answer of {who}",
        "questions": len(times) + missed,
        "missed": missed,
        "p50_us": round(statistics.median(times), 1),
        "p99_us": round(times[len(times) * 99 // 100], 1),
        "max_us": round(times[-1], 1),
    }


def run() -> Iterator[dict[str, object]]:
    """Kernel, speaker, and the two against each other; questions to both take turns in time."""
    scene = Scene(1, SERVICES)
    try:
        process = scene.speak("node1")
        until("all addresses taken", lambda: scene.told("node1", "TookOver") >= SERVICES)
        asker = Asker(scene.network)
        chance = random.Random(1)  # noqa: S311 - any order will do
        kernel_address = SUBNET[2].packed
        until("announcements over", lambda: _quiet(asker), poll=0.0)
        kernel: list[float] = []
        speaker: list[float] = []
        missed = 0
        for _ in range(QUESTIONS // 100):
            kernel += _microseconds(asker, [kernel_address] * 100)[0]
            times, lost = _microseconds(asker, chance.choices(vips(SERVICES), k=100))
            speaker += times
            missed += lost
        yield _line("the kernel", sorted(kernel), 0)
        yield {**_line(f"the speaker, {SERVICES} addresses", sorted(speaker), missed)}
        ratio = statistics.median(speaker) / statistics.median(kernel)
        yield {"figure": "speaker against kernel, p50", "ratio": round(ratio, 2), "to_reach": 3}
        resident, peak = memory_mb(process.pid)
        yield {"figure": f"memory of the owner of {SERVICES}", "resident_mb": resident, "peak_mb": peak}
        asker.close()
    finally:
        scene.close()


def _quiet(asker: Asker) -> bool:
    """Whether a second passed without an announcement: their rounds are over."""
    end = time.monotonic() + 1.0
    quiet = True
    while time.monotonic() < end:
        data = asker.heard()
        if data is None:
            time.sleep(0.01)
        else:
            quiet &= data[28:32] != data[38:42]
    return quiet

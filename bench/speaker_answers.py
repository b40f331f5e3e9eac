"""How fast a speaker that announces 5,000 addresses answers ARP, against the kernel on the same cable.

To reach: at the median at most 3 times the kernel's time, 99 of 100 within 1 ms. Needs root.

The kernel answers on the processor that asks, the speaker on another, which has to be woken: on an idle
virtual machine by the hypervisor, which takes twice as long as all the rest. So it is measured on processors
that do not halt, and once more, for comparison, on those that may.

By itself the speaker has the kernel answer in passing (`--answer auto`); beside it stands what its process
takes to answer (`--answer process`).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator

from bench._awake import awake
from bench._speakers import SUBNET, Asker, Scene, memory_mb, until, vips

SERVICES = 5000
QUESTIONS = 3000
WAYS = {"auto": "the speaker", "process": "the speaker's process"}
"""Value of --answer → who answers."""


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
    """Kernel and speaker, and the two against each other; then the same on processors that may halt. Both
    ways.
    """
    for answer, who in WAYS.items():
        yield from _one_way(answer, who)


def _one_way(answer: str, who: str) -> Iterator[dict[str, object]]:
    scene = Scene(1, SERVICES)
    try:
        process = scene.speak("node1", "--answer", answer)
        until("all addresses taken", lambda: scene.told("node1", "TookOver") >= SERVICES)
        asker = Asker(scene.network)
        until("announcements over", lambda: _quiet(asker), poll=0.0)
        with awake():
            yield from _against_each_other(asker, who, "")
        yield from _against_each_other(asker, who, ", processors halt")
        resident, peak = memory_mb(process.pid)
        figure = f"memory of the owner of {SERVICES}, answers of {who}"
        yield {"figure": figure, "resident_mb": resident, "peak_mb": peak}
        asker.close()
    finally:
        scene.close()


def _against_each_other(asker: Asker, who: str, how: str) -> Iterator[dict[str, object]]:
    """Questions to both take turns in time."""
    chance = random.Random(1)  # noqa: S311 - any order will do
    kernel: list[float] = []
    speaker: list[float] = []
    missed = 0
    for _ in range(QUESTIONS // 100):
        kernel += _microseconds(asker, [SUBNET[2].packed] * 100)[0]
        times, lost = _microseconds(asker, chance.choices(vips(SERVICES), k=100))
        speaker += times
        missed += lost
    yield _line(f"the kernel{how}", sorted(kernel), 0)
    yield _line(f"{who}, {SERVICES} addresses{how}", sorted(speaker), missed)
    ratio = statistics.median(speaker) / statistics.median(kernel)
    yield {"figure": f"{who} against kernel, p50{how}", "ratio": round(ratio, 2), "to_reach": 3}


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

"""Schedules of everything that goes wrong, each checked against every promise of the protocol.

`make sim SEEDS=0:2000` runs more of them, `make sim SEED=17` prints one as a trace.
"""

import os

import pytest

from simulation.run import run
from simulation.schedule import KINDS, draw

SCHEDULES = int(os.environ.get("STRICTARP_SCHEDULES", "2000"))
_CHUNK = 50


@pytest.mark.parametrize("first", range(0, SCHEDULES, _CHUNK))
def test_every_promise_is_kept_in_every_schedule(first: int) -> None:
    broken = [
        done.summary for seed in range(first, first + _CHUNK) if (done := run(draw(seed))).verdict.violations
    ]
    assert not broken, "\n".join(["replay one with `make sim SEED=n`", *broken])


def test_a_seed_gives_the_same_run_each_time() -> None:
    assert run(draw(5)).trace.entries == run(draw(5)).trace.entries


def test_schedules_are_as_long_and_as_troubled_as_promised() -> None:
    schedules = [draw(seed) for seed in range(500)]
    assert all(3 <= schedule.nodes <= 7 and schedule.vips > 1 for schedule in schedules)
    assert all(schedule.length >= 20_000_000 for schedule in schedules)
    assert min(len(schedule.faults) for schedule in schedules) >= 3
    assert {fault.kind for schedule in schedules for fault in schedule.faults} == set(KINDS)
    assert any(schedule.strangers for schedule in schedules)


def test_a_crash_without_other_trouble_is_answered_within_the_failure_bound() -> None:
    outages = [gap for seed in range(12) for gap in run(draw(seed, ("crash",))).verdict.outages]
    assert outages
    assert sorted(outages)[len(outages) // 2] < 520_000

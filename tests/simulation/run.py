"""One seed from plan to verdict."""

from __future__ import annotations

import functools
import gc
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from simulation import faults
from simulation.invariants import Verdict, judge
from simulation.schedule import Schedule
from simulation.trace import Trace, text
from simulation.world import World
from strictarp.hello import frames
from strictarp.speaker import resolution


class Run(NamedTuple):
    """A schedule, what happened, and whether that was right."""

    schedule: Schedule
    trace: Trace
    verdict: Verdict

    @property
    def summary(self) -> str:
        """The first violation of each promise and VIP, one a line."""
        first = {(each.promise, each.address): each for each in reversed(self.verdict.violations)}
        lines = [
            f"seed {self.schedule.seed}: {each.promise} at {each.at / 1_000_000:.6f} s, "
            f"{ipaddress.ip_address(each.address) if each.address else ''}: {each.words}"
            for each in sorted(first.values(), key=lambda each: each.at)
        ]
        return "\n".join(lines)


def run(schedule: Schedule, *, verbose: bool = False) -> Run:
    """Carry a schedule out and check every promise. verbose: keep frames for reading."""
    with shared_decoding(), without_collection():
        world = World(schedule, verbose=verbose)
        faults.plan(world)
        world.run()
        return Run(schedule, world.trace, judge(world))


@contextmanager
def without_collection() -> Iterator[None]:
    """A run makes many short-lived tuples and no cycles worth looking for, which took a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def shared_decoding() -> Iterator[None]:
    """A multicast frame is decoded once, not by each node: same functions, same values, less time."""
    decode, read = frames.decode, resolution.read
    frames.decode = functools.lru_cache(maxsize=256)(decode)
    resolution.read = functools.lru_cache(maxsize=256)(read)
    try:
        yield
    finally:
        frames.decode, resolution.read = decode, read


def readable(outcome: Run) -> Iterator[str]:
    """The schedule, every entry, and the violations where they were found."""
    yield str(outcome.schedule)
    waiting = list(outcome.verdict.violations)
    for entry in outcome.trace.entries:
        while waiting and waiting[0].at <= entry.time:
            found = waiting.pop(0)
            yield f"{found.at / 1_000_000:10.6f} !!!!!! {found.promise}: {found.words}"
        yield text(entry)
    for found in waiting:
        yield f"{found.at / 1_000_000:10.6f} !!!!!! {found.promise}: {found.words}"

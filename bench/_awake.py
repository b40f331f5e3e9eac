"""Processors that do not halt: what a virtual one costs to wake belongs to no program that is measured."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Meanwhile a process that runs when nothing else does turns on each processor (sched(7), SCHED_IDLE)."""
    children = [_turn(processor) for processor in sorted(os.sched_getaffinity(0))]
    try:
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _turn(processor: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()  # SCHED_IDLE counts within a session only, where the kernel shares among sessions
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text("19", encoding="ascii")
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        os.sched_setaffinity(0, {processor})
        while os.getppid() != 1:
            for _ in range(1_000_000):
                pass
    finally:
        os._exit(1)

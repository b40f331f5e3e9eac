"""Fires malformed, forged and repeated ARP, NDP and hello frames at speakers, and looks after each frame.

    python tools/fuzz_frames.py 1000000             a million frames, on all processors
    python tools/fuzz_frames.py 20000 --seed 17     one batch again, the one that a failure named
    python tools/fuzz_frames.py 1000000 --parsers   through the parsers alone, which is faster

Each frame passes the whole receiving side (parsers, authentication, machine) of one of three living speakers.
None may raise, be answered without asking for an address that the speaker owns, move an address, or go
uncounted; an oracle that knows only the RFCs says what each frame is. Exit 0: no harm; 1: some, and the seed
is named; 64: a usage error.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / "src"), str(_ROOT / "tests")]

from fuzzing import parsers  # noqa: E402
from fuzzing.range import Harm, Range  # noqa: E402

BATCH = 20_000
"""Frames that one seed stands for."""


class Batch(NamedTuple):
    """What is kept of the frames of one seed."""

    results: Counter[str]
    harm: str
    cpu: float


def fire(seed: int, count: int) -> Batch:
    """The frames of one seed."""
    began = time.process_time()
    firing = Range(seed)
    harm = ""
    try:
        firing.fire(count)
    except Harm as error:
        harm = str(error)
    return Batch(firing.results, harm, time.process_time() - began)


def parse(seed: int, count: int) -> Batch:
    """The frames of one seed, through the parsers alone."""
    began = time.process_time()
    results: Counter[str] = Counter()
    harm = ""
    try:
        results = parsers.fire(seed, count)
    except Harm as error:
        harm = str(error)
    return Batch(results, harm, time.process_time() - began)


def sweep(frames: int, first: int, workers: int, batch_of: Callable[[int, int], Batch]) -> int:
    """Fire; print what came of it."""
    counts = [BATCH] * (frames // BATCH) + ([frames % BATCH] if frames % BATCH else [])
    seeds = range(first, first + len(counts))
    results: Counter[str] = Counter()
    cpu, harms = 0.0, []
    with ProcessPoolExecutor(workers) as pool:
        for done, batch in enumerate(pool.map(batch_of, seeds, counts), start=1):
            results.update(batch.results)
            cpu += batch.cpu
            if batch.harm:
                harms.append(batch.harm)
                print(batch.harm, flush=True)
            if done % 25 == 0:
                print(f"{done} of {len(seeds)} seeds, {len(harms)} fail", file=sys.stderr, flush=True)
    print(f"seeds {seeds[0]} to {seeds[-1]}: {frames:,} frames, {cpu:.0f} s of processor time")
    print(f"{'kind':16}{'fired':>12}{'answered':>12}{'refused':>12}{'read':>12}")
    for kind in sorted({name.partition(":")[0] for name in results}):
        figures = [results[f"{kind}: {each}"] for each in ("fired", "answered", "refused", "read")]
        print(f"{kind:16}" + "".join(f"{figure:12,}" for figure in figures))
    print(f"{len(harms)} seeds did harm" if harms else "no harm: nothing raised, moved or answered wrongly")
    return 1 if harms else 0


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Malformed frames against the speaker.")
    parser.add_argument("frames", type=int, help="how many; 20,000 share a seed")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--parsers", action="store_true", help="through the parsers alone")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as error:
        return 64 if error.code else 0
    if arguments.frames < 1 or arguments.workers < 1:
        print("fuzz_frames: frames and workers: give 1 or more", file=sys.stderr)
        return 64
    return sweep(arguments.frames, arguments.seed, arguments.workers, parse if arguments.parsers else fire)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

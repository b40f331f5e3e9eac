"""Runs the speaker's protocol under simulated networks: many seeds, or one as a readable trace.

    python tools/simulate.py 0:500            seeds 0 to 499, on all processors
    python tools/simulate.py fresh:500        500 seeds from a random one on, which is told
    python tools/simulate.py 17               one seed, as a readable trace
    python tools/simulate.py 0:500 --kinds crash,partition
    python tools/simulate.py 0:100000 --record runs.txt
                                              adds what is done to the file, and goes on there when run again

Exit 0 only if every promise was kept in every schedule; 64 for a usage error.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / "src"), str(_ROOT / "tests")]

from simulation.run import readable, run  # noqa: E402
from simulation.schedule import KINDS, draw  # noqa: E402

_PORTION = 100
"""Seeds of one line of a record."""
_FRESH = 10**9


class Outcome(NamedTuple):
    """What is kept of a run. takes: outages and hand-over gaps, µs."""

    seed: int
    broken: tuple[str, ...]
    summary: str
    outages: tuple[int, ...]
    handovers: tuple[int, ...]


def judged(kinds: tuple[str, ...], seed: int) -> Outcome:
    """One seed."""
    done = run(draw(seed, kinds))
    broken = tuple(each.promise for each in done.verdict.violations)
    return Outcome(seed, broken, done.summary, done.verdict.outages, done.verdict.handovers)


def replay(seed: int, kinds: tuple[str, ...]) -> int:
    """Print the trace of one seed."""
    done = run(draw(seed, kinds), verbose=True)
    for line in readable(done):
        print(line)
    print(done.summary or f"seed {seed}: every promise kept")
    return 1 if done.verdict.violations else 0


def code() -> str:
    """A name for what runs: a hash over the sources of every module of ours that is loaded, the machine's and
    the simulator's.
    """
    found = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] in ("strictarp", "simulation") and module.__file__:
            path = Path(module.__file__)
            found.update(path.with_name(path.name.split(".")[0] + ".py").read_bytes())
    return found.hexdigest()[:12]


def record(seeds: range, kinds: tuple[str, ...], workers: int, path: Path) -> int:
    """Run many seeds in portions, add a line to the file for each, and leave out those that it has from the
    same code: `a:b CODE KINDS ok`, or the seeds that fail.
    """
    name = f"{code()} {','.join(kinds) or 'all'}"
    known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    done = {line.split(" ", 1)[0]: line for line in known if f" {name} " in line}
    failed = 0
    with ProcessPoolExecutor(workers) as pool:
        for start in range(seeds.start, seeds.stop, _PORTION):
            portion = range(start, min(start + _PORTION, seeds.stop))
            span = f"{portion.start}:{portion.stop}"
            if span not in done:
                broken = [
                    each for each in pool.map(partial(judged, kinds), portion, chunksize=4) if each.broken
                ]
                result = ",".join(str(each.seed) for each in broken) or "ok"
                done[span] = f"{span} {name} {result}"
                with path.open("a", encoding="utf-8") as file:
                    file.write(done[span] + "\n")
                for each in broken:
                    print(each.summary, flush=True)
            failed += not done[span].endswith(" ok")
    print(f"{len(seeds)} schedules, code {name}: {failed} portions with a broken promise")
    return 1 if failed else 0


def sweep(seeds: range, kinds: tuple[str, ...], workers: int) -> int:
    """Run many seeds; print those that fail, and figures."""
    began = time.monotonic()
    broken: Counter[str] = Counter()
    failed: list[int] = []
    outages: list[int] = []
    handovers: list[int] = []
    with ProcessPoolExecutor(workers) as pool:
        for done, outcome in enumerate(pool.map(partial(judged, kinds), seeds, chunksize=4), start=1):
            if done % 200 == 0:
                print(f"{done} of {len(seeds)}, {len(failed)} fail", file=sys.stderr, flush=True)
            outages += outcome.outages
            handovers += outcome.handovers
            if outcome.broken:
                failed.append(outcome.seed)
                broken.update(set(outcome.broken))
                print(outcome.summary, flush=True)
    took = time.monotonic() - began
    print(f"{len(seeds)} schedules in {took:.0f} s ({len(seeds) / took:.1f} a second)")
    print(f"outages: {spread(outages)}; hand-overs: {spread(handovers)}")
    if failed:
        print(f"{len(failed)} seeds fail: {', '.join(map(str, failed))}; promises broken: {dict(broken)}")
    else:
        print("every promise kept in every schedule")
    return 1 if failed else 0


def spread(times: list[int]) -> str:
    """Count, median, 99th of 100 and worst."""
    if not times:
        return "none"
    ordered = sorted(times)
    middle, most = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    figures = ", ".join(
        f"{name} {value / 1000:.1f} ms"
        for name, value in (("p50", middle), ("p99", most), ("max", ordered[-1]))
    )
    return f"{len(ordered)}, {figures}"


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="The speaker's protocol under simulated networks.")
    parser.add_argument("seeds", help="one seed (prints its trace), a range a:b without b, or fresh:NUMBER")
    parser.add_argument("--kinds", default="", help=f"only these kinds of faults, of: {', '.join(KINDS)}")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add results here; goes on where it ends")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as error:
        return 64 if error.code else 0
    kinds = tuple(kind for kind in arguments.kinds.split(",") if kind)
    unknown = [kind for kind in kinds if kind not in KINDS]
    first, colon, last = arguments.seeds.partition(":")
    if first == "fresh" and last.isdecimal():
        first = str(random.SystemRandom().randrange(_FRESH))
        last = str(int(first) + int(last))
        print(f"seeds {first}:{last}", flush=True)
    if unknown or not first.isdecimal() or (colon and not (last.isdecimal() and int(first) < int(last))):
        said = (
            f"no such kind: {', '.join(unknown)}"
            if unknown
            else f"{arguments.seeds!r}: give 17, 0:500 or fresh:500"
        )
        print(f"simulate: {said}", file=sys.stderr)
        return 64
    if not colon:
        return replay(int(first), kinds)
    seeds = range(int(first), int(last))
    if arguments.record is not None:
        try:
            arguments.record.touch()
        except OSError as error:
            print(f"simulate: --record {arguments.record}: {error.strerror}", file=sys.stderr)
            return 64
        return record(seeds, kinds, arguments.workers, arguments.record)
    return sweep(seeds, kinds, arguments.workers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

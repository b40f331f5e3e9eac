"""Runs of addresses. Pure.

Used addresses are kept as runs: disjoint (first, last) pairs in ascending order
that never touch, so that the lowest free address behind any point is one look-up away, whatever the size
of the pool.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TypeAlias

from strictarp.kube.ranges import Ip

Runs: TypeAlias = tuple[tuple[int, int], ...]

_TOP = 1 << 129  # above every address


def is_buggy(ip: Ip) -> bool:
    """IPv4 that ends in .0 or .255, which some old equipment takes for a broadcast (avoidBuggyIPs)."""
    return ip[0] == 4 and ip[1] & 0xFF in (0, 0xFF)


def _run_at(runs: Runs, number: int) -> int:
    """Index of the last run that begins at or before `number`, -1 without one."""
    return bisect_right(runs, (number, _TOP)) - 1


def next_free(runs: Runs, number: int) -> int:
    """The lowest number from `number` on that is in no run."""
    at = _run_at(runs, number)
    return max(number, runs[at][1] + 1) if at >= 0 else number


def added(runs: Runs, number: int) -> Runs:
    """The runs with one more number; unchanged if it is in one already."""
    at = _run_at(runs, number)
    if at >= 0 and runs[at][1] >= number:
        return runs
    first, last, begin, end = number, number, at + 1, at + 1
    if at >= 0 and runs[at][1] == number - 1:
        first, begin = runs[at][0], at
    if end < len(runs) and runs[end][0] == number + 1:
        last, end = runs[end][1], end + 1
    return (*runs[:begin], (first, last), *runs[end:])


def removed(runs: Runs, number: int) -> Runs:
    """The runs without a number; unchanged if it is in none."""
    at = _run_at(runs, number)
    if at < 0 or runs[at][1] < number:
        return runs
    first, last = runs[at]
    rest = tuple(part for part in ((first, number - 1), (number + 1, last)) if part[0] <= part[1])
    return (*runs[:at], *rest, *runs[at + 1 :])


def count_within(runs: Runs, first: int, last: int) -> int:
    """How many numbers of [first, last] are in a run."""
    total = 0
    for index in range(max(_run_at(runs, first), 0), len(runs)):
        low, high = runs[index]
        if low > last:
            break
        total += max(0, min(high, last) - max(low, first) + 1)
    return total

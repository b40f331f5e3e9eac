"""What a repetition of a scenario shows, and whether it is as expected. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Collection, Iterable, Sequence

import msgspec

from strictarp.lab import figures
from strictarp.lab.figures import Seen, Witnessed
from strictarp.lab.holding import Held
from strictarp.lab.scenario import Bound, Scenario
from strictarp.lab.stream import Answer

MEDIAN_NEEDS = 5
"""Repetitions from which on a median is judged."""


class Recorded(msgspec.Struct, frozen=True):
    """What was recorded in one repetition. Times are seconds of CLOCK_MONOTONIC.

    nodes: the hosts whose answers count. divided: spans in which a partition lasted. woken: a node's process
    was continued then. told: turns that the speakers logged.
    """

    vip: str
    began: float
    ended: float
    nodes: frozenset[str]
    witnessed: Witnessed
    answers: tuple[Answer, ...]
    held: Held | None = None
    divided: tuple[tuple[float, float], ...] = ()
    woken: tuple[tuple[str, float], ...] = ()
    told: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True):
    """A request without success that began at `since`, or a connection that broke. Times as in the logs."""

    at: str
    error: str
    since: str | None = None


class Figures(msgspec.Struct, frozen=True, rename="kebab"):
    """What one repetition shows.

    outage_ms: the longest time between two successful answers to a stream of new connections.
    unanswered_ms: the longest time in which the independent listener's questions for the VIP had no answer.
    answerers: the most nodes that answered one and the same question, except while a partition lasts.
    moves: how often another node answered than the one before.
    failed: requests without success. missed: questions without an answer.
    resets: connections, of those that were held open, that broke; absent without them.
    answers_after_waking: frames with the VIP as sender from a node whose process had been stopped, after it
        was continued and before it claimed anew.
    failures: what failed and what broke, the first 100 of each.
    """

    outage_ms: float | None
    unanswered_ms: float
    answerers: int
    moves: int
    failed: int
    missed: int
    answers_after_waking: int
    resets: int | None = None
    requests: int = 0
    questions: int = 0
    frames_lost: int = 0
    failures: tuple[Failure, ...] = ()


class Measure(msgspec.Struct, frozen=True):
    """One expectation over all repetitions. `worst` and `median` are null when a figure has no value."""

    figure: str
    worst: float | None
    median: float | None
    bound: float
    median_bound: float | None
    holds: bool


class Result(msgspec.Struct, frozen=True):
    """A scenario and how it went. `problems`: what kept it from being played, or was not told as expected."""

    scenario: str
    title: str
    times: int
    holds: bool
    measures: tuple[Measure, ...]
    problems: tuple[str, ...]
    repetitions: tuple[Figures, ...]


class RunReport(msgspec.Struct, frozen=True):
    """All scenarios of one `lab run`."""

    ok: bool
    kernel: str
    isolation: str
    settings: dict[str, int | str]
    scenarios: tuple[Result, ...]


def figures_of(seen: Recorded) -> Figures:
    """The figures of one repetition."""
    frames = sorted(
        (each for each in seen.witnessed.frames if each.host in seen.nodes), key=lambda each: each.at
    )
    replies = [each for each in frames if each.op == 2 and each.sender == seen.vip and each.asked]
    outage = figures.outage_ms(seen.answers)
    return Figures(
        outage_ms=round(outage, 1) if outage != float("inf") else None,
        unanswered_ms=round(_longest_silence(replies, seen.began, seen.ended), 1),
        answerers=_most_at_once(replies, seen.divided),
        moves=_moves(replies),
        failed=sum(not each.ok for each in seen.answers),
        missed=seen.witnessed.requests - len({each.asked for each in replies}),
        answers_after_waking=sum(_after_waking(frames, seen.vip, host, at) for host, at in seen.woken),
        resets=len(seen.held.broken) if seen.held is not None else None,
        requests=len(seen.answers),
        questions=seen.witnessed.requests,
        frames_lost=seen.witnessed.dropped,
    )


def _longest_silence(replies: Sequence[Seen], began: float, ended: float) -> float:
    times = [began, *(each.at for each in replies if began <= each.at <= ended), ended]
    return 1000 * max(after - before for before, after in itertools.pairwise(times))


def _by_question(replies: Iterable[Seen]) -> dict[int, list[Seen]]:
    found: dict[int, list[Seen]] = {}
    for each in replies:
        found.setdefault(each.asked, []).append(each)
    return found


def _most_at_once(replies: Sequence[Seen], divided: Collection[tuple[float, float]]) -> int:
    together = [each for each in replies if not any(begin <= each.at <= end for begin, end in divided)]
    return max((len({each.host for each in some}) for some in _by_question(together).values()), default=0)


def _moves(replies: Sequence[Seen]) -> int:
    """Questions that two nodes answered say nothing of who has the VIP from then on."""
    hosts = [{each.host for each in some} for some in _by_question(replies).values()]
    alone = [next(iter(each)) for each in hosts if len(each) == 1]
    return sum(before != after for before, after in itertools.pairwise(alone))


def _after_waking(frames: Sequence[Seen], vip: str, host: str, at: float) -> int:
    own = [each for each in frames if each.host == host and each.at >= at]
    claims = (each.at for each in own if each.op == 1 and each.target == vip and each.sender == "0.0.0.0")
    until = next(claims, float("inf"))
    return sum(each.sender == vip and each.at < until for each in own)


def judge(
    scenario: Scenario,
    repetitions: Sequence[Figures],
    problems: Sequence[str],
    *,
    proxied: bool,
    in_vm: bool,
) -> Result:
    """Whether all is as expected over these repetitions."""
    measures = tuple(
        _measure(name, bound, repetitions, in_vm=in_vm)
        for name, bound in scenario.bounds(proxied=proxied)
        if repetitions
    )
    holds = bool(repetitions) and not problems and all(each.holds for each in measures)
    return Result(
        scenario.name,
        scenario.title,
        len(repetitions),
        holds,
        measures,
        tuple(problems),
        tuple(repetitions),
    )


def _measure(name: str, bound: Bound, repetitions: Sequence[Figures], *, in_vm: bool) -> Measure:
    most = bound.worst_in_vm if in_vm and bound.worst_in_vm is not None else bound.worst
    middle = bound.median if not in_vm and len(repetitions) >= MEDIAN_NEEDS else None
    values = [getattr(each, name.replace("-", "_")) for each in repetitions]
    if any(value is None for value in values):
        return Measure(name, None, None, most, middle, holds=False)
    worst, median = float(max(values)), float(statistics.median(values))
    return Measure(
        name, worst, median, most, middle, holds=worst <= most and (middle is None or median <= middle)
    )

"""What the measurements say: pure functions from records to figures."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from strictarp.lab.stream import Answer


class Seen(msgspec.Struct, frozen=True, gc=False):
    """An ARP frame that a node sent, as captured on the node's port of the segment.

    `at` is CLOCK_MONOTONIC in seconds. `asked` is the number of the witness's request that a reply answers,
    or 0: each request carries a hardware address of its own, and replies repeat it.
    """

    at: float
    host: str
    mac: str
    op: int
    sender: str
    target: str
    asked: int = 0


class Witnessed(msgspec.Struct, frozen=True):
    """What a witness saw: how many requests it sent, and the frames."""

    requests: int
    frames: tuple[Seen, ...]
    dropped: int = 0


def outage_ms(answers: Iterable[Answer]) -> float:
    """The longest time between two successful answers, in milliseconds; infinite with fewer than two."""
    times = sorted(answer.ended for answer in answers if answer.ok)
    if len(times) < 2:
        return float("inf")
    return 1000 * max(after - before for before, after in itertools.pairwise(times))


def per_backend(answers: Iterable[Answer]) -> dict[str, int]:
    """Successful answers of each backend."""
    return dict(sorted(Counter(answer.backend for answer in answers if answer.ok).items()))


def answerers(frames: Iterable[Seen], vip: str) -> dict[int, set[str]]:
    """For each numbered request, the MACs that answered it for `vip`."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for frame in frames:
        if frame.op == 2 and frame.sender == vip and frame.asked:
            found[frame.asked].add(frame.mac)
    return dict(found)


def max_simultaneous(frames: Iterable[Seen], vip: str) -> int:
    """The most MACs that answered one and the same request."""
    return max((len(macs) for macs in answerers(frames, vip).values()), default=0)


def takeover(frames: Sequence[Seen], vip: str, old_mac: str, since: float) -> Seen | None:
    """The first frame after `since` in which another than the old owner speaks for `vip`."""
    return next(
        (
            frame
            for frame in sorted(frames, key=lambda frame: frame.at)
            if frame.at >= since and frame.sender == vip and frame.mac != old_mac
        ),
        None,
    )


def lost_after(answers: Iterable[Answer], moment: float) -> int:
    """Requests begun after a moment that failed."""
    return sum(1 for answer in answers if answer.started >= moment and not answer.ok)


def vip_as_sender(frames: Iterable[Seen], vip: str, target: str) -> set[str]:
    """The hosts that asked for `target` with the VIP as sender. The VIP's owner announces it by such requests
    to the gateway and to clients, so `target` should be none of those.
    """
    return {frame.host for frame in frames if frame.op == 1 and (frame.sender, frame.target) == (vip, target)}

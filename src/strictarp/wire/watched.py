"""One watched address over time: who answers, who owns it, what changed. Pure, and bounded in memory.

A *round* is one question and the answers to it within a window. Beside the answers, a MAC *claims* the
address when it sends a frame with it as sender: an announcement, or any request or reply of its own that we
hear. Neighbour caches follow both.

The *owner* is the MAC that neighbour caches would hold: the one that claimed last, or that alone answered a
later question. A **flap** is a change of the owner's MAC to another one. Several that answer one question are
no flap, however often: that is `several`.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator

import msgspec

from strictarp.arp.frames import NO_IP, NO_MAC, mac_text
from strictarp.arp.probing import Verdict

HOUR = 3600.0
_BUCKET = 60.0
_MAX_CHANGES_A_SECOND = 10


class Asker(msgspec.Struct, frozen=True):
    """As whom we ask: answers go there. ip: 0.0.0.0 in an address probe."""

    mac: bytes = NO_MAC
    ip: bytes = NO_IP


class Limits(msgspec.Struct, frozen=True):
    """interval, wait: seconds between questions, and until a round is judged. The rest bounds memory, for
    each address: changes and spans kept, MACs told apart at a time.
    """

    interval: float = 10.0
    wait: float = 1.2
    changes: int = 500
    spans: int = 2000
    macs: int = 32


class Kind(enum.StrEnum):
    """What happened. CHANGE is a flap; BLIND: it cannot be asked for at present."""

    ONE = "one"
    SEVERAL = "several"
    SILENT = "silent"
    CHANGE = "change"
    BLIND = "blind"


class How(enum.StrEnum):
    """How it was noticed."""

    ANSWER = "answer"
    ANNOUNCEMENT = "announcement"
    TRAFFIC = "traffic"
    NO_ANSWER = "no-answer"
    LINK = "link"


class Change(msgspec.Struct, frozen=True):
    """Something happened to an address. `at`: when it began, seconds in the caller's clock.

    macs: that answered, or the new owner. before: the owner until then, of a CHANGE. reason: of BLIND.
    """

    at: float
    ip: str
    kind: Kind
    macs: tuple[str, ...]
    how: How
    before: str = ""
    reason: str = ""


class Span(msgspec.Struct):
    """A MAC was heard from `first` to `last`, and missed no round between; an empty MAC: nobody answered."""

    mac: str
    first: float
    last: float
    heard: int = 1


class Counts(msgspec.Struct):
    """What was counted since the beginning.

    asked, unanswered, several: rounds. flaps: changes of the owner. late: answers after the window. crowded:
    frames of MACs beyond those told apart. suppressed: changes beyond those told in a second.
    """

    asked: int = 0
    unanswered: int = 0
    several: int = 0
    flaps: int = 0
    late: int = 0
    crowded: int = 0
    suppressed: int = 0


class Watched:
    """The state of one address. Times never run backwards.

    verdict: on the last round. seen: all verdicts there were. owner: a MAC, empty before the first.
    answering, delays_ms: MACs that answered the last round, and after how long. since, changed: when the
    verdict became what it is, and when verdict or owner last changed, None if never. reason: why it cannot be
    asked for.
    """

    def __init__(self, ip: str, limits: Limits) -> None:
        self.ip = ip
        self.verdict = Verdict.UNKNOWN
        self.seen: set[Verdict] = set()
        self.owner = ""
        self.answering: tuple[str, ...] = ()
        self.delays_ms: tuple[float, ...] = ()
        self.since: float | None = None
        self.changed: float | None = None
        self.reason = ""
        self.counts = Counts()
        self.changes: deque[Change] = deque(maxlen=limits.changes)
        self.spans: deque[Span] = deque(maxlen=limits.spans)
        self.asker = Asker()
        self.asked_at: float | None = None
        self.round_ends: float | None = None
        self._limits = limits
        self._round: dict[str, float] = {}
        self._owner_heard = float("-inf")
        self._claimed: tuple[float, str] | None = None
        self._open: dict[str, Span] = {}
        self._buckets: deque[list[float]] = deque(maxlen=int(HOUR / _BUCKET))
        self._told_in: tuple[float, int] = (0.0, 0)

    # --- what happens -------------------------------------------------------------------------------------

    def asked(self, now: float, asker: Asker) -> None:
        """A question for it left. The round before must have been closed."""
        self.counts.asked += 1
        self.asker = asker
        self.asked_at = now
        self.round_ends = now + self._limits.wait
        self._round = {}
        self._claimed = None

    def answered(self, mac: bytes, now: float) -> None:
        """An answer to our question came."""
        text = mac_text(mac)
        if not self._heard(text, now, 2 * self._limits.macs):
            return
        if self.round_ends is None:
            self.counts.late += 1
        else:
            self._round.setdefault(text, now)

    def claimed(self, mac: bytes, now: float, how: How) -> Iterator[Change]:
        """A MAC sent something with the address as its own, to others or to all."""
        text = mac_text(mac)
        if self._heard(text, now, self._limits.macs):
            self._claimed = (now, text)
            yield from self._owned(text, now, how)

    def close_round(self) -> Iterator[Change]:
        """The window has passed: judge what came."""
        if self.round_ends is None or self.asked_at is None:
            return
        asked, ended = self.asked_at, self.round_ends
        self.round_ends = None
        answers = self._round
        if not answers and self._claimed is not None:
            # A move in this very moment: the old owner is gone, and the new one has announced itself.
            answers = {self._claimed[1]: self._claimed[0]}
        self._end_spans(answers)
        macs = tuple(sorted(answers, key=lambda mac: (answers[mac], mac)))
        self.delays_ms = tuple((answers[mac] - asked) * 1000 for mac in macs)
        if not macs:
            self.counts.unanswered += 1
            self._nobody(asked, ended)
            yield from self._judged(Verdict.NOBODY, Kind.SILENT, asked, (), How.NO_ANSWER)
            return
        if len(macs) > 1:
            self.counts.several += 1
            yield from self._judged(Verdict.SEVERAL, Kind.SEVERAL, answers[macs[1]], macs, How.ANSWER)
            return
        (only,) = macs
        # An answer that is older than the last claim of the owner says nothing against it.
        if only != self.owner and answers[only] > self._owner_heard:
            yield from self._owned(only, answers[only], How.ANSWER)
        yield from self._judged(Verdict.ONE, Kind.ONE, answers[only], macs, How.ANSWER)

    def blind(self, now: float, reason: str) -> Iterator[Change]:
        """It cannot be asked for; an open round is void."""
        self.round_ends = None
        self.reason = reason
        self._open.clear()
        if self.verdict is not Verdict.UNKNOWN or Verdict.UNKNOWN not in self.seen:
            self._become(Verdict.UNKNOWN, now)
            self.answering = ()
            yield from self._tell(Change(now, self.ip, Kind.BLIND, (), How.LINK, reason=reason), now)

    # --- what follows -------------------------------------------------------------------------------------

    def flaps_in_hour(self, now: float) -> int:
        """Changes of the owner within the last hour, to the minute."""
        return int(sum(count for began, count in self._buckets if began > now - HOUR))

    def _owned(self, mac: str, now: float, how: How) -> Iterator[Change]:
        before, self.owner = self.owner, mac
        self._owner_heard = now
        if not before or before == mac:
            return
        self.counts.flaps += 1
        if not self._buckets or now - self._buckets[-1][0] >= _BUCKET:
            self._buckets.append([now, 0])
        self._buckets[-1][1] += 1
        self.changed = now
        yield from self._tell(Change(now, self.ip, Kind.CHANGE, (mac,), how, before=before), now)

    def _judged(
        self, verdict: Verdict, kind: Kind, at: float, macs: tuple[str, ...], how: How
    ) -> Iterator[Change]:
        same = verdict is self.verdict and (verdict is Verdict.ONE or set(macs) == set(self.answering))
        self.answering = macs
        self.reason = ""
        if not same:
            self._become(verdict, at)
            yield from self._tell(Change(at, self.ip, kind, macs, how), at)

    def _become(self, verdict: Verdict, at: float) -> None:
        if self.verdict is not verdict:
            self.since = at
            if self.seen:
                self.changed = at
        self.verdict = verdict
        self.seen.add(verdict)

    def _tell(self, change: Change, now: float) -> Iterator[Change]:
        """A flood of forged announcements must not become a flood of events."""
        second, told = self._told_in
        if now - second >= 1.0:
            second, told = now, 0
        self._told_in = (second, told + 1)
        if told >= _MAX_CHANGES_A_SECOND:
            self.counts.suppressed += 1
            return
        self.changes.append(change)
        yield change

    # --- spans --------------------------------------------------------------------------------------------

    def _heard(self, mac: str, now: float, limit: int) -> bool:
        """Note that a MAC was heard; false for one beyond those that are told apart.

        Of claims, which anybody can send at any time, fewer are told apart than of answers.
        """
        span = self._open.get(mac)
        if span is not None:
            span.last = now
            span.heard += 1
            return True
        if len(self._open) >= limit:
            self.counts.crowded += 1
            return False
        span = Span(mac, now, now)
        self._open[mac] = span
        self.spans.append(span)
        return True

    def _end_spans(self, answers: dict[str, float]) -> None:
        """Who missed the round has stopped, unless it claimed since we asked."""
        asked = self.asked_at or 0.0
        for mac in [each for each, span in self._open.items() if each not in answers and span.last < asked]:
            del self._open[mac]

    def _nobody(self, asked: float, ended: float) -> None:
        last = self.spans[-1] if self.spans else None
        if last is not None and not last.mac and self.verdict is Verdict.NOBODY:
            last.last, last.heard = ended, last.heard + 1
        else:
            self.spans.append(Span("", asked, ended))

"""When to try again after a watch or a list has ended, and how. Pure."""

from __future__ import annotations

import msgspec

from strictarp.kube.errors import ApiError, Gone, KubeError, TooManyRequests

GROWTH = 1.5


class Pace(msgspec.Struct, frozen=True):
    """Intervals of watching, in seconds.

    The wait grows from `first` by half from failure to failure, up to `longest`: so one comes back no later
    than half as long again as the server was away. A watch that is silent for `inactivity` has
    stalled: kube-apiserver sends a bookmark about once a minute to those who allow them (watch cache,
    bookmarkFrequency). Watches ask for a random time between `watch_low` and `watch_high`, as client-go's
    reflector does, so that not all clients come back at one moment. One that lived for `settled` counts as
    good even if nothing happened. After `relist_after` refusals in a row the list is read again. A server
    that asks for patience gets it, but no more than `patience`.
    """

    first: float = 0.2
    longest: float = 10.0
    inactivity: float = 90.0
    watch_low: int = 300
    watch_high: int = 600
    settled: float = 5.0
    relist_after: int = 3
    patience: float = 300.0

    def delay(self, failures: int, random: float) -> float:
        """Wait before the next attempt: half fixed, half by chance (`random` in 0..1)."""
        full = min(self.longest, self.first * GROWTH ** min(failures - 1, 30)) if failures > 0 else 0.0
        return full * (0.5 + random / 2)

    def watch_seconds(self, random: float) -> int:
        """How long a watch asks to live."""
        return self.watch_low + int((self.watch_high - self.watch_low) * random)


class Tries(msgspec.Struct, frozen=True, gc=False):
    """Failures in a row: all, the last ones that were refusals of a watch, the last ones that were 410."""

    failures: int = 0
    refusals: int = 0
    gone: int = 0


class Next(msgspec.Struct, frozen=True, gc=False):
    """What to do now: wait `delay` seconds, then list again or go on watching."""

    tries: Tries
    delay: float
    relist: bool


def after_list(error: KubeError, tries: Tries, *, random: float, pace: Pace) -> Next:
    """A list failed."""
    failed = Tries(tries.failures + 1, 0)
    return Next(failed, _wait(error, failed, random, pace), relist=True)


def after_watch(error: KubeError | None, tries: Tries, *, good: bool, random: float, pace: Pace) -> Next:
    """A watch connection ended, by itself (`error` None) or by a failure.

    `good` says that it delivered something or lived long enough. A good watch wipes out earlier failures.
    A watch that only broke is taken up where it was; one that the server refuses again and again (other than
    for overload) is given up for a fresh list; so is a compacted one, without waiting the first time.
    """
    before = Tries() if good else tries
    if error is None and good:
        return Next(Tries(), 0.0, relist=False)
    if isinstance(error, Gone):
        again = Tries(before.failures + 1, 0, before.gone + 1)
        return Next(again, pace.delay(before.gone, random), relist=True)
    refused = isinstance(error, ApiError) and not isinstance(error, TooManyRequests)
    failed = Tries(before.failures + 1, before.refusals + 1 if refused else 0)
    relist = failed.refusals >= pace.relist_after
    if relist:
        failed = Tries(failed.failures, 0)
    return Next(failed, _wait(error, failed, random, pace), relist=relist)


def _wait(error: KubeError | None, tries: Tries, random: float, pace: Pace) -> float:
    asked = min(error.retry_after or 0.0, pace.patience) if isinstance(error, ApiError) else 0.0
    own = pace.delay(tries.failures, random)
    return max(own, asked * (1.0 + random / 10))  # not all of those who were sent away at one moment

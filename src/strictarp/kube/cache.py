"""A copy of a collection that is kept up to date: the objects, and a call for each real change."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

from strictarp.kube.client import Api, Listing
from strictarp.kube.errors import Gone, KubeError
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.pacing import Pace
from strictarp.kube.relist import Delta, Suspicion, Verdict, by_key, changes, check_after, judge, missing
from strictarp.kube.watching import Alive, Follower, Listed, Notice, Query, Taken, Trouble
from strictarp.kube.wire import Refused, Removed, Upsert

__all__ = ["Cache", "Delta"]

T = TypeVar("T", bound=KubeObject)
log = logging.getLogger(__name__)


def _ignore(_key: str, _reason: str) -> None:
    return


class Cache(Generic[T]):
    """Objects of one kind, followed through disconnections, compactions and broken answers.

    `objects` always holds the last good state, under `namespace/name`. `on_delta` is called, in order, for
    everything that really changed, deletions during a gap included; it must not raise. An object that does
    not decode leaves the last good version in place, unless its resource mends what can be; it stands in
    `refused`, and `on_refused(key, reason)` is called once for each reason, with an empty one when nothing
    of the object is refused any more; key "?" if it has no readable name. `trouble` is the failure that
    currently keeps the copy from being fresh, or None.

    A list that has lost most of what was known is believed only when further lists agree (`Suspicion`); with
    `doubt_empty_start` so is a first list that is empty, for those who have state of an earlier life to lose.
    Belief is checked: after such a loss, and as long as there is nothing at all, the list is read again.
    """

    def __init__(  # noqa: PLR0913 - one collection, and how to treat it
        self,
        client: Api,
        res: Resource[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        on_delta: Callable[[Delta[T]], None],
        on_refused: Callable[[str, str], None] = _ignore,
        pace: Pace = Pace(),  # noqa: B008 - a frozen value
        suspicion: Suspicion = Suspicion(),  # noqa: B008
        doubt_empty_start: bool = False,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._objects: dict[str, T] = {}
        self._told: dict[str, frozenset[str]] = {}
        self.objects: Mapping[str, T] = self._objects
        self._refused: dict[str, Refused] = {}
        self.refused: Mapping[str, Refused] = self._refused
        self.synced = asyncio.Event()
        self.trouble: KubeError | None = None
        self._what = res.plural
        self._on_delta = on_delta
        self._on_refused = on_refused
        self._suspicion = suspicion
        self._doubt_empty_start = doubt_empty_start
        self._doubts = 0
        self._doubtful = 0
        self._failures = 0
        query = Query(res, namespace, label_selector, field_selector)
        self._follower = Follower(client, query, self._take_list, pace=pace, random=random)

    async def run(self) -> None:
        """Keep the copy up to date, forever."""
        async with aclosing(self._follower.follow()) as notices:
            async for notice in notices:
                self._take(notice)

    def _take(self, notice: Notice[T]) -> None:
        match notice:
            case Upsert(object=item, faults=faults):
                self._put(item)
                self._refuse(item.key, [Refused(item.key, fault) for fault in faults])
            case Removed(key=key):
                self._drop(key)
                self._refuse(key, ())
            case Refused(key=key):
                self._refuse(key, (notice,))
            case Listed():
                self.synced.set()
            case Alive():
                self._well()
            case Trouble():
                self._note(notice)
            case _:
                pass  # a bookmark only moves the watch on

    # --- lists --------------------------------------------------------------------------------------------

    def _take_list(self, listing: Listing[T]) -> Taken:
        """Take in what is there, and what is missing if it is believed."""
        listed = by_key(listing.items)
        found: dict[str, list[Refused]] = {key: [] for key in self._told}
        for refused in listing.refused:
            found.setdefault(refused.key, []).append(refused)
        for key, those in found.items():
            self._refuse(key, those)
        gone = missing(self._objects, listed, {refused.key for refused in listing.refused})
        verdict = self._verdict(len(gone), empty=not listed)
        if verdict.believed:
            for key in gone:
                self._drop(key)
        else:
            self._warn(
                "a list lacks most of what was known; asking again before believing it",
                known=len(self._objects),
                missing=len(gone),
                wait=verdict.wait,
                doubt=f"{verdict.doubts} of {self._suspicion.lists}",
            )
        confirmed = verdict.believed and self._doubts > 0 and bool(gone)
        if confirmed:
            self._warn("the loss is confirmed", deleted=len(gone))
        self._doubts = verdict.doubts
        for item in listing.items:
            self._put(item)
        if not verdict.believed:
            return Taken(wait=verdict.wait)
        nothing = not listing.items and not listing.refused
        self._doubtful = self._doubtful + 1 if confirmed or nothing else 0
        return Taken(again=check_after(self._doubtful, self._suspicion))

    def _verdict(self, lost: int, *, empty: bool) -> Verdict:
        if not self.synced.is_set() and not self._objects and empty and self._doubt_empty_start:
            return judge(1, 1, self._doubts, self._suspicion)
        return judge(len(self._objects), lost, self._doubts, self._suspicion)

    # --- single objects -----------------------------------------------------------------------------------

    def _put(self, item: T) -> None:
        key = item.key
        old = self._objects.get(key)
        for delta in changes(key, old, item):
            if delta.new is None:
                self._objects.pop(key, None)
            else:
                self._objects[key] = item
            self._on_delta(delta)
        self._objects[key] = item

    def _drop(self, key: str) -> None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._on_delta(Delta(key, old, None))

    def _refuse(self, key: str, found: Sequence[Refused]) -> None:
        """What is refused of an object now; none: nothing any more."""
        known = self._told.pop(key, frozenset())
        if found:
            self._refused[key] = found[0]
            self._told[key] = frozenset(each.reason for each in found)
        elif self._refused.pop(key, None) is not None:
            self._on_refused(key, "")
        for reason in dict.fromkeys(each.reason for each in found):
            if reason not in known:
                self._warn("object refused", key=key, reason=reason)
                self._on_refused(key, reason)

    # --- state --------------------------------------------------------------------------------------------

    def _well(self) -> None:
        if self._failures > 1:
            log.info("following again", extra={"fields": {"what": self._what, "failures": self._failures}})
        self._failures, self.trouble = 0, None

    def _note(self, trouble: Trouble) -> None:
        if isinstance(trouble.error, Gone) and self._failures == 0:
            log.info("history was compacted; listing again", extra={"fields": {"what": self._what}})
        self._failures += 1
        self.trouble = trouble.error
        # The first failure and then the 2nd, 4th, 8th …: an outage of hours must not fill the disk.
        if self._failures & (self._failures - 1) == 0 and not isinstance(trouble.error, Gone):
            self._warn(
                "cannot follow",
                error=str(trouble.error),
                failures=self._failures,
                again=round(trouble.delay, 2),
                relist=trouble.relist,
            )

    def _warn(self, message: str, **fields: object) -> None:
        log.warning(message, extra={"fields": {"what": self._what, **fields}})

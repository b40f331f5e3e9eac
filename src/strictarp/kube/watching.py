"""Following a collection: three generators, one inside the other.

`follow` never ends; `until_gone` lists and then watches until the resourceVersion has been compacted away;
`one_watch` is one connection. What they yield is in order; `Listed` marks that the list is complete.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, TypeAlias, TypeVar

import msgspec

from strictarp.kube.client import Api, Listing
from strictarp.kube.errors import KubeError, Stalled
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.pacing import Next, Pace, Tries, after_list, after_watch
from strictarp.kube.wire import Bookmark, Decoder, LineSplitter, Refused, Removed, Upsert

T = TypeVar("T", bound=KubeObject)

_EARLY = 1.0
"""A server may end a watch this many seconds before its time."""


class Query(msgspec.Struct, Generic[T], frozen=True):
    """What is followed."""

    resource: Resource[T]
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """The list is complete and believed; from here on come changes."""


class Alive(msgspec.Struct, frozen=True, gc=False):
    """The server has accepted the watch."""


class Trouble(msgspec.Struct, frozen=True):
    """A list or watch failed; it is tried again after `delay` seconds."""

    error: KubeError
    delay: float
    relist: bool


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What became of a list. If `wait` is not 0, it is not believed: ask for a confirming one so much later.

    `again`: how many seconds after a list that is believed to read another one, even if the watch goes well.
    """

    wait: float = 0.0
    again: float = math.inf


Change: TypeAlias = "Upsert[T] | Removed | Refused | Bookmark"
Notice: TypeAlias = "Change[T] | Listed | Alive | Trouble"
OnList: TypeAlias = Callable[[Listing[T]], Taken]


class Follower(Generic[T]):
    """The state that the three generators share: what is followed, how, and how it has gone so far."""

    def __init__(
        self, api: Api, query: Query[T], on_list: OnList[T], *, pace: Pace, random: Callable[[], float]
    ) -> None:
        self._api = api
        self._query = query
        self._on_list = on_list
        self._pace = pace
        self._random = random
        self._decoder = Decoder(query.resource)
        self._tries = Tries()

    async def follow(self) -> AsyncGenerator[Notice[T], None]:
        """Everything that happens, forever."""
        while True:
            try:
                async with aclosing(self.until_gone()) as notices:
                    async for notice in notices:
                        yield notice
            except KubeError as error:
                step = after_list(error, self._tries, random=self._random(), pace=self._pace)
                yield self._trouble(error, step)
                await asyncio.sleep(step.delay)

    async def until_gone(self) -> AsyncGenerator[Notice[T], None]:
        """A list and what follows it, until another list is needed. Raises KubeError if the list fails."""
        clock = asyncio.get_running_loop().time
        version, again = await self._list()
        due = clock() + again
        yield Listed()
        while True:
            began = clock()
            moved, failure = False, None
            try:
                async with aclosing(self.one_watch(version, due - began)) as changes:
                    async for change in changes:
                        if not isinstance(change, Alive):
                            version, moved = _version(change) or version, True
                        yield change
            except KubeError as error:
                failure = error
            good = moved or clock() - began >= self._pace.settled
            step = after_watch(failure, self._tries, good=good, random=self._random(), pace=self._pace)
            if failure is not None:
                yield self._trouble(failure, step)
            self._tries = step.tries
            await asyncio.sleep(step.delay)
            if step.relist or clock() >= due - _EARLY:
                return

    async def _list(self) -> tuple[str, float]:
        query = self._query
        while True:
            listing = await self._api.list(
                query.resource,
                query.namespace,
                label_selector=query.label_selector,
                field_selector=query.field_selector,
            )
            taken = self._on_list(listing)
            if taken.wait <= 0:
                return listing.resource_version, taken.again
            await asyncio.sleep(taken.wait)

    async def one_watch(
        self, version: str, longest: float = math.inf
    ) -> AsyncGenerator[Change[T] | Alive, None]:
        """The changes of one connection, until the server ends it, in no more than `longest` seconds.

        Raises Gone, Stalled after `pace.inactivity` seconds without a byte, Malformed, Unreachable, ApiError.
        """
        query, limit = self._query, self._pace.inactivity
        lines = LineSplitter()
        async with self._api.watch(
            query.resource,
            query.namespace,
            resource_version=version,
            timeout_seconds=math.ceil(min(longest, self._pace.watch_seconds(self._random()))),
            label_selector=query.label_selector,
            field_selector=query.field_selector,
        ) as chunks:
            yield Alive()
            while True:
                try:
                    async with asyncio.timeout(limit):
                        chunk = await anext(chunks, None)
                except TimeoutError as error:
                    raise Stalled(f"{query.resource.plural}: watch silent for {limit:g} s") from error
                if chunk is None:
                    return
                for line in lines.feed(chunk):
                    yield self._decoder.event(line)

    def _trouble(self, error: KubeError, step: Next) -> Trouble:
        self._tries = step.tries
        return Trouble(error, step.delay, step.relist)


def _version(change: Change[T]) -> str:
    if isinstance(change, Upsert):
        return change.object.metadata.resource_version
    return change.resource_version

"""Watches that are open: what each has seen, and what it is told next. No network: chunks of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable

from strictarp.lab.apiserver.faults import Fault, matches
from strictarp.lab.apiserver.reading import bookmark, check_not_ahead, error_line, event_line, initial_lines
from strictarp.lab.apiserver.refusals import Refusal, compacted
from strictarp.lab.apiserver.store import Store
from strictarp.lab.apiserver.targets import Query, Target, version_number

WATCH_SECONDS = 1800
BOOKMARK_SECONDS = 60.0  # kube-apiserver's watch cache: bookmarkFrequency


class Watcher:
    """One watch. Its cursor is the version up to which it has been told everything."""

    def __init__(self, path: str, target: Target, query: Query) -> None:
        self.path = path
        self.target = target
        self.query = query
        self.cursor = version_number(query.version)
        self.wake = asyncio.Event()
        self.fault: str | None = None


class Watchers:
    """All open watches of a server."""

    def __init__(self, store: Callable[[], Store], bookmark_seconds: float = BOOKMARK_SECONDS) -> None:
        self._store = store
        self._bookmark_seconds = bookmark_seconds
        self._open: dict[str, set[Watcher]] = {}

    def count(self) -> int:
        """How many are open."""
        return sum(len(some) for some in self._open.values())

    def wake(self, kinds: Iterable[str]) -> None:
        """There are new events of these kinds."""
        for kind in kinds:
            for watcher in self._open.get(kind, ()):
                watcher.wake.set()

    def compact(self) -> None:
        """Compact the store's history; watches that have seen everything are not hurt by it."""
        store = self._store()
        for kind, some in self._open.items():
            for watcher in some:
                if store.collection(kind).nothing_since(watcher.cursor):
                    watcher.cursor = store.version
        store.compact()

    def hurt(self, fault: Fault) -> int:
        """Do a fault to the open watches that it is meant for; returns how many."""
        hit = [
            watcher
            for some in self._open.values()
            for watcher in some
            if matches(fault, watcher.path, "watch")
        ]
        for watcher in hit:
            watcher.fault = fault.kind
            watcher.wake.set()
        return len(hit)

    def close(self) -> None:
        """End all of them."""
        for some in self._open.values():
            for watcher in some:
                watcher.fault = "close"
                watcher.wake.set()

    async def chunks(self, watcher: Watcher) -> AsyncGenerator[bytes, None]:
        """What the watch is told, until its time is over."""
        some = self._open.setdefault(watcher.target.kind.id, set())
        some.add(watcher)
        try:
            async for chunk in self._tell(watcher):
                yield chunk
        except Refusal as refusal:
            yield error_line(refusal)
        finally:
            some.discard(watcher)

    async def _tell(self, watcher: Watcher) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        query, kind = watcher.query, watcher.target.kind
        end = loop.time() + (WATCH_SECONDS if query.seconds is None else query.seconds)
        if watcher.cursor == 0:
            lines = initial_lines(self._store(), kind, query.selection)
            watcher.cursor = self._store().version
            if lines:
                yield b"".join(lines)
        check_not_ahead(watcher.cursor, self._store().version)
        spoke = now = loop.time()
        while True:
            if watcher.fault is not None:
                async for chunk in self._suffer(watcher):
                    yield chunk
                return
            if chunk := self._news(watcher):
                yield chunk
                spoke = now
            if query.bookmarks and (now >= end or now >= spoke + self._bookmark_seconds):
                yield bookmark(kind, watcher.cursor)
                spoke = now
            if now >= end:
                return
            now = await _wait(watcher, min(end, spoke + self._bookmark_seconds if query.bookmarks else end))

    def _news(self, watcher: Watcher) -> bytes:
        store = self._store()
        events = store.collection(watcher.target.kind.id).since(watcher.cursor)
        watcher.cursor = store.version
        lines = (event_line(event, watcher.query.selection) for event in events)
        return b"".join(line for line in lines if line is not None)

    async def _suffer(self, watcher: Watcher) -> AsyncGenerator[bytes, None]:
        match watcher.fault:
            case "gone":
                raise compacted(watcher.cursor, self._store().version)
            case "garbage":
                yield b'{"type":"MODIFIED","object":{"metadata":{"na\n'
            case "stall":
                await asyncio.get_running_loop().create_future()  # silent until the client gives up
            case _:
                return


async def _wait(watcher: Watcher, until: float) -> float:
    """Until there is news for the watch, or it is time; returns the loop's time, `until` when it is time.

    The timer may fire a rounding error early: asking the clock again would then wait once more, for nothing.
    """
    try:
        async with asyncio.timeout_at(until):
            await watcher.wake.wait()
    except TimeoutError:
        return until
    watcher.wake.clear()
    return asyncio.get_running_loop().time()

"""An API for the watch cache without a network: the embedded server's own engine, and failures on order.

It runs on whatever clock the event loop has, so a virtual one makes elapsed times exact.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import msgspec

from strictarp.kube.client import Listing
from strictarp.kube.errors import KubeError, Unreachable, error_from_body
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.wire import Decoder
from strictarp.lab.apiserver.engine import Engine
from strictarp.lab.apiserver.faults import Fault
from strictarp.lab.apiserver.journal import Journal
from strictarp.lab.apiserver.reading import list_body
from strictarp.lab.apiserver.refusals import Refusal
from strictarp.lab.apiserver.store import HISTORY, Store
from strictarp.lab.apiserver.targets import Target, parse_path, parse_query
from strictarp.lab.apiserver.watchers import Watcher, Watchers
from strictarp.lab.apiserver.writing import Stamp

T = TypeVar("T", bound=KubeObject)

EMPTY = "empty"
SILENT = "silent"


def make_engine(journal: Journal | None = None, *, history: int = HISTORY) -> Engine:
    """An engine whose UIDs and suffixes count up."""
    numbers = itertools.count(1)

    def stamp() -> Stamp:
        number = next(numbers)
        return Stamp("2026-01-01T00:00:00Z", f"uid-{number}", f"{number:05}")

    return Engine(journal, stamp=stamp, history=history)


class MemoryApi:
    """What `kube.client.Api` asks for.

    `lists` and `watches` hold what the next calls do instead of working: an error to raise, EMPTY for a list
    without items, SILENT for a watch that never says anything, bytes for a watch that sends just these and
    ends. `calls` records (loop time, "list" or "watch from VERSION").
    """

    def __init__(self, engine: Engine | None = None, bookmark_seconds: float = 60.0) -> None:
        self.engine = engine or make_engine()
        self.watchers = Watchers(lambda: self.engine.store, bookmark_seconds)
        self.engine.on_events = self.watchers.wake
        self.lists: deque[KubeError | str] = deque()
        self.watches: deque[KubeError | str | bytes] = deque()
        self.calls: list[tuple[float, str]] = []
        self.down = False
        self.open_watches = 0

    # --- the API ------------------------------------------------------------------------------------------

    async def list(
        self, res: Resource[T], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Listing[T]:
        self._record("list")
        await asyncio.sleep(0)
        self._check()
        scripted = self.lists.popleft() if self.lists else None
        if isinstance(scripted, KubeError):
            raise scripted
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        target = parse_path(res.path(namespace))
        store = Store(self.engine.store.version) if scripted == EMPTY else self.engine.store
        page = Decoder(res).page(list_body(store, target.kind, parse_query(target, query)))
        return Listing(page.items, page.resource_version, page.refused)

    @asynccontextmanager
    async def watch(
        self,
        res: Resource[T],
        namespace: str = "",
        *,
        resource_version: str,
        timeout_seconds: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        self._record(f"watch from {resource_version}")
        await asyncio.sleep(0)
        self._check()
        scripted = self.watches.popleft() if self.watches else None
        if isinstance(scripted, KubeError):
            raise scripted
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            "allowWatchBookmarks": "true",
        }
        target = parse_path(res.path(namespace))
        watcher = Watcher(res.path(namespace), target, parse_query(target, query))
        if scripted == SILENT:
            watcher.fault = "stall"
        self.open_watches += 1
        try:
            async with aclosing(self._chunks(watcher, scripted)) as chunks:
                yield chunks
        finally:
            self.open_watches -= 1

    async def _chunks(self, watcher: Watcher, scripted: str | bytes | None) -> AsyncGenerator[bytes, None]:
        if isinstance(scripted, bytes):
            yield scripted
            return
        async with aclosing(self.watchers.chunks(watcher)) as chunks:
            async for chunk in chunks:
                if self.down or watcher.fault == "drop":
                    raise Unreachable("connection reset")
                yield chunk
        if self.down or watcher.fault == "drop":
            raise Unreachable("connection reset")

    def _record(self, what: str) -> None:
        self.calls.append((round(asyncio.get_running_loop().time(), 6), what))

    def _check(self) -> None:
        if self.down:
            raise Unreachable("connection refused")

    # --- what tests do to it -------------------------------------------------------------------------------

    def go_down(self) -> None:
        """The server dies: open watches break, nothing answers."""
        self.down = True
        self.drop_watches()

    def come_back(self) -> None:
        """It answers again."""
        self.down = False

    def drop_watches(self) -> None:
        """Break the open watches."""
        for some in self.watchers._open.values():
            for watcher in some:
                watcher.fault = "drop"
                watcher.wake.set()

    def hurt(self, kind: str) -> None:
        """Do one of the server's own faults to the open watches."""
        self.watchers.hurt(Fault(kind=kind))

    def write(self, verb: str, path: str, document: object = None) -> dict[str, Any]:
        """A write by somebody else; raises ApiError."""
        target: Target = parse_path(path)
        body = msgspec.json.encode(document) if document is not None else b""
        content = "application/merge-patch+json" if verb == "patch" else "application/json"
        try:
            return msgspec.json.decode(self.engine.write(verb, target, body, content))
        except Refusal as refusal:
            raise error_from_body(refusal.code, refusal.body(), path) from refusal

    def put(self, name: str, value: str = "", namespace: str = "default") -> None:
        """Create or change a ConfigMap."""
        folder = f"/api/v1/namespaces/{namespace}/configmaps"
        document = {"metadata": {"name": name}, "data": {"value": value}}
        if ("default", name) in self.engine.store.collection("v1/configmaps").objects:
            self.write("patch", f"{folder}/{name}", document)
        else:
            self.write("create", folder, document)

    def remove(self, name: str, namespace: str = "default") -> None:
        """Delete a ConfigMap."""
        self.write("delete", f"/api/v1/namespaces/{namespace}/configmaps/{name}")

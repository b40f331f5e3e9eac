"""An API for the daemon's caches whose answers are bytes that a test writes: lists, and lines of watches."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from strictarp.kube.client import Listing
from strictarp.kube.config import ClientConfig
from strictarp.kube.errors import Unreachable
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.wire import Decoder

T = TypeVar("T", bound=KubeObject)


class ByteApi:
    """`items`: what the collections hold, under their plural. `asked`: with which selector of labels."""

    def __init__(self) -> None:
        self.config = ClientConfig(server="http://192.0.2.1:6443")
        self.items: dict[str, list[object]] = {}
        self.asked: dict[str, set[str]] = {}
        self.answers: Counter[tuple[str, str]] = Counter()
        self._lines: dict[str, asyncio.Queue[bytes]] = {}

    def send(self, plural: str, kind: str, body: object) -> None:
        """An event, to who watches now or next."""
        self.send_bytes(plural, json.dumps({"type": kind, "object": body}).encode())

    def send_bytes(self, plural: str, line: bytes) -> None:
        """A line of whatever."""
        self._queue(plural).put_nowait(line + b"\n")

    def _queue(self, plural: str) -> asyncio.Queue[bytes]:
        return self._lines.setdefault(plural, asyncio.Queue())

    async def list(
        self, res: Resource[T], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Listing[T]:
        """All objects."""
        del namespace, field_selector
        self.asked.setdefault(res.plural, set()).add(label_selector)
        body = {"metadata": {"resourceVersion": "1"}, "items": self.items.get(res.plural, [])}
        page = Decoder(res).page(json.dumps(body).encode())
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
        """The lines as they are sent."""
        del namespace, resource_version, timeout_seconds, field_selector
        self.asked.setdefault(res.plural, set()).add(label_selector)
        yield self._chunks(self._queue(res.plural))

    async def _chunks(self, lines: asyncio.Queue[bytes]) -> AsyncGenerator[bytes, None]:
        while True:
            yield await lines.get()

    async def create(self, *_: object) -> None:
        """No Event is taken."""
        raise Unreachable("no Events here")

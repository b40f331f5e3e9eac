"""An API of prepared bytes in this process: pages to decode, then watches that stay open and silent."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from strictarp.kube.client import Listing
from strictarp.kube.config import ClientConfig
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.wire import Decoder

T = TypeVar("T", bound=KubeObject)


class Feed:
    """Stands in for `kube.client.Client` towards a daemon.

    `pages`: the pages of each collection by its plural. `decoding`: seconds spent on them so far.
    """

    def __init__(self, pages: Mapping[str, list[bytes]]) -> None:
        self.config = ClientConfig("http://pages")
        self.pages = pages
        self.decoding = 0.0
        self.answers: Counter[tuple[str, str]] = Counter()

    async def list(
        self, res: Resource[T], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> Listing[T]:
        """All objects of a collection, decoded as the client does; between pages others get their turn."""
        decoder = Decoder(res)
        items: list[T] = []
        for page in self.pages.get(res.plural, [b'{"metadata":{"resourceVersion":"1"},"items":[]}']):
            started = time.perf_counter()
            items += decoder.page(page).items
            self.decoding += time.perf_counter() - started
            await asyncio.sleep(0)
        return Listing(tuple(items), "1")

    @asynccontextmanager
    async def watch(
        self, res: Resource[T], namespace: str = "", **_: object
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch on which nothing happens."""
        yield _silence()

    async def create(self, res: Resource[T], body: Mapping[str, object], namespace: str = "") -> None:
        """Events that the daemon writes go nowhere."""


async def _silence() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""

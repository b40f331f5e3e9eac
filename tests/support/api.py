"""The embedded API server on a free port of this machine, with a client, for tests of whole daemons."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.objects import NAMESPACES
from strictarp.lab.apiserver.engine import Engine
from strictarp.lab.apiserver.journal import Journal
from strictarp.lab.apiserver.server import Server, serve


class Api:
    """A running server: `client` speaks to it, `url` is where it is."""

    def __init__(self, server: Server, client: Client, url: str) -> None:
        self.server = server
        self.client = client
        self.url = url

    async def fault(self, **fields: object) -> None:
        """The next matching requests, or open watches, suffer (see lab.apiserver.faults.Fault)."""
        await self._post("/lab/faults", fields)

    async def compact(self) -> None:
        """Forget the history, so that watches that begin anew get 410."""
        await self._post("/lab/compact", {})

    async def _post(self, path: str, body: dict[str, object]) -> None:
        async with aiohttp.ClientSession() as session, session.post(self.url + path, json=body) as answer:
            assert answer.status == 200, await answer.text()

    @property
    def version(self) -> int:
        """Rises with every write that changes anything."""
        return self.server.engine.store.version


@asynccontextmanager
async def running_api(folder: Path, service_cidr: str = "203.0.113.128/25") -> AsyncIterator[Api]:
    """A fresh server with the namespaces of a cluster and metallb-system."""
    server = Server(Engine(Journal(folder / "api.data"), service_cidr=service_cidr))
    runner = await serve(server, "127.0.0.1:0")
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with Client(ClientConfig(server=url)) as client:
            await client.create(NAMESPACES, {"metadata": {"name": "metallb-system"}})
            yield Api(server, client, url)
    finally:
        server.watchers.close()
        await runner.cleanup()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that happens in this process."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")

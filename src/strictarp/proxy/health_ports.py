"""The servers behind healthCheckNodePort: whether this node has endpoints of a Service, for load balancers.

Paths, bodies and headers are kube-proxy's (pkg/proxy/healthcheck/service_health.go).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class Wanted(msgspec.Struct, frozen=True):
    """Ports to serve. counts: `namespace/name` → port and number of endpoints here. hosts: to listen on."""

    counts: Mapping[str, tuple[int, int]]
    hosts: tuple[str, ...]


class _Running(msgspec.Struct):
    port: int
    hosts: tuple[str, ...]
    runner: web.AppRunner


class HealthPorts:
    """`alive`: programming keeps up. `failed`: told a Service's key and why its port cannot be served."""

    def __init__(self, alive: Callable[[], bool], failed: Callable[[str, str], None]) -> None:
        self._alive = alive
        self._failed = failed
        self._wanted = Wanted({}, ())
        self._running: dict[str, _Running] = {}
        self._told: dict[str, str] = {}
        self._wake = asyncio.Event()

    def want(self, wanted: Wanted) -> None:
        """From now on serve this. Counts are in force at once."""
        before, self._wanted = self._wanted, wanted
        if before != wanted and _places(before) != _places(wanted):
            self._wake.set()

    async def run(self) -> None:
        """Open and close ports as wanted, until cancelled; one that is taken is tried again."""
        try:
            while True:
                self._wake.clear()
                waits = await self._reconcile()
                try:
                    async with asyncio.timeout(RETRY_SECONDS if waits else None):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            for running in self._running.values():
                await running.runner.cleanup()

    async def _reconcile(self) -> bool:
        """True when a port has to be tried again. Closing comes first: a port may move to another Service."""
        places = _places(self._wanted)
        for key, running in list(self._running.items()):
            if places.get(key) != (running.port, running.hosts):
                await self._running.pop(key).runner.cleanup()
        for key in self._told.keys() - places.keys():
            del self._told[key]
        for key, (port, hosts) in places.items():
            if key not in self._running:
                await self._start(key, port, hosts)
        return bool(places.keys() - self._running.keys())

    async def _start(self, key: str, port: int, hosts: tuple[str, ...]) -> None:
        async def answer(_: web.Request) -> web.Response:
            return self._answer(key)

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        try:
            for host in hosts:
                await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            reason = f"healthCheckNodePort {port} cannot be served: {error}"
            if self._told.get(key) != reason:
                self._told[key] = reason
                log.error("health port", extra={"fields": {"service": key, "reason": reason}})
                self._failed(key, reason)
            return
        self._running[key] = _Running(port, hosts, runner)
        self._told.pop(key, None)

    def _answer(self, key: str) -> web.Response:
        _, count = self._wanted.counts.get(key, (0, 0))
        alive = self._alive()
        return web.Response(
            body=body(key, count, alive=alive),
            status=200 if count and alive else 503,
            headers={
                "Content-Type": "application/json",
                "X-Content-Type-Options": "nosniff",
                "X-Load-Balancing-Endpoint-Weight": str(count),
            },
        )


def body(key: str, count: int, *, alive: bool) -> bytes:
    """The JSON of one Service, laid out as kube-proxy does."""
    namespace, _, name = key.partition("/")
    document = {
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": count,
        "serviceProxyHealthy": alive,
    }
    return json.dumps(document, indent="\t").encode()


def _places(wanted: Wanted) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {key: (port, wanted.hosts) for key, (port, _) in wanted.counts.items()} if wanted.hosts else {}

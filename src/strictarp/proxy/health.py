"""The servers for health and metrics, with kube-proxy's ports, paths and bodies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from strictarp.kube.objects import Node
from strictarp.proxy.fields import Listen
from strictarp.proxy.metrics import Metrics

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Health:
    """What `/healthz` and `/livez` say.

    queued_at: since when (time.monotonic) a change waits without a finished turn. limit: seconds that it may;
    kube-proxy allows twice the sync period. node: this node's object.
    """

    def __init__(
        self, queued_at: Callable[[], float | None], limit: float, node: Callable[[], Node | None]
    ) -> None:
        self._queued_at = queued_at
        self.limit = limit
        self._node = node
        self._updated = datetime.now(UTC)

    def verdict(self, now: float) -> tuple[bool, bool]:
        """Whether programming keeps up, and whether the node may get traffic from outside."""
        queued = self._queued_at()
        alive = queued is None or now - queued <= self.limit
        return alive, node_eligible(self._node())

    def body(self, *, alive: bool, eligible: bool | None) -> bytes:
        """kube-proxy's JSON; `eligible` None leaves it out, as on /livez."""
        now = datetime.now(UTC)
        if alive:
            self._updated = now
        document: dict[str, object] = {"lastUpdated": go_time(self._updated), "currentTime": go_time(now)}
        if eligible is not None:
            document["nodeEligible"] = eligible
        return msgspec.json.encode(document)


def node_eligible(node: Node | None) -> bool:
    """Not being deleted, and not chosen by the autoscaler to go (KubeProxyDrainingTerminatingNodes)."""
    if node is None:
        return True
    taints = node.spec.taints or ()
    return node.metadata.deletion_timestamp is None and all(taint.key != AUTOSCALER_TAINT for taint in taints)


def go_time(moment: datetime) -> str:
    """A time as Go's time.Time prints itself, which is what kube-proxy puts there."""
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} +0000 UTC"


def health_application(health: Health, status: Callable[[], Awaitable[dict[str, object]]]) -> web.Application:
    """/healthz, /livez, and /strictarp for `strictarp enable`."""

    async def healthz(_: web.Request) -> web.Response:
        alive, eligible = health.verdict(time.monotonic())
        return _json(health.body(alive=alive, eligible=eligible), ok=alive and eligible)

    async def livez(_: web.Request) -> web.Response:
        alive, _eligible = health.verdict(time.monotonic())
        return _json(health.body(alive=alive, eligible=None), ok=alive)

    async def strictarp(_: web.Request) -> web.Response:
        return _json(msgspec.json.encode(await status()), ok=True)

    return _application({"/healthz": healthz, "/livez": livez, "/strictarp": strictarp})


def metrics_application(metrics: Metrics) -> web.Application:
    """/metrics, /proxyMode and /healthz."""

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def mode(_: web.Request) -> web.Response:
        return web.Response(text="ipvs", headers={"X-Content-Type-Options": "nosniff"})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    return _application({"/metrics": exposition, "/proxyMode": mode, "/healthz": healthz})


def _application(handlers: dict[str, Handler]) -> web.Application:
    made = web.Application()
    for path, handler in handlers.items():
        made.router.add_get(path, handler)
    return made


def _json(body: bytes, *, ok: bool) -> web.Response:
    return web.Response(
        body=body,
        status=200 if ok else 503,
        headers={"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"},
    )


async def serve(application: web.Application, listen: Listen, what: str, *, hard_fail: bool) -> None:
    """Serve until cancelled. An address that cannot be bound is tried again, or (`hard_fail`) ends it.

    Raises OSError with `hard_fail` only.
    """
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        while True:
            try:
                await web.TCPSite(runner, listen[0], listen[1]).start()
                break
            except OSError as error:
                if hard_fail:
                    raise
                fields = {"address": f"{listen[0]}:{listen[1]}", "reason": str(error)}
                log.error("cannot serve %s", what, extra={"fields": fields})
                await asyncio.sleep(RETRY_SECONDS)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()

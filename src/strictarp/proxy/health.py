"""What the servers for health and metrics answer, with kube-proxy's ports, paths and bodies."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from strictarp import serving
from strictarp.kube.objects import Node
from strictarp.proxy.metrics import Metrics

CONFIG_GROUP = "kubeproxy.config.k8s.io"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"


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


def health_application(
    health: Health, status: Callable[[], Awaitable[dict[str, object]]], metrics: Metrics
) -> web.Application:
    """/healthz, /livez, and /strictarp for `strictarp enable`. `metrics` counts answers by code."""

    def answer(what: str, body: bytes, *, ok: bool) -> web.Response:
        made = _json(body, ok=ok)
        metrics.asked(what, made.status)
        return made

    async def healthz(_: web.Request) -> web.Response:
        alive, eligible = health.verdict(time.monotonic())
        return answer("healthz", health.body(alive=alive, eligible=eligible), ok=alive and eligible)

    async def livez(_: web.Request) -> web.Response:
        alive, _eligible = health.verdict(time.monotonic())
        return answer("livez", health.body(alive=alive, eligible=None), ok=alive)

    async def strictarp(_: web.Request) -> web.Response:
        return _json(msgspec.json.encode(await status()), ok=True)

    return serving.application({"/healthz": healthz, "/livez": livez, "/strictarp": strictarp})


def metrics_application(
    metrics: Metrics, configuration: Callable[[], dict[str, object]] = dict
) -> web.Application:
    """/metrics, /metrics/slis, /proxyMode, /configz and /healthz. `configuration`: what is in force now."""

    async def mode(_: web.Request) -> web.Response:
        return web.Response(text="ipvs", headers={"X-Content-Type-Options": "nosniff"})

    async def configz(_: web.Request) -> web.Response:
        return _json(msgspec.json.encode({CONFIG_GROUP: configuration()}), ok=True)

    return serving.application(
        {
            "/metrics": serving.exposition(metrics.registry),
            "/metrics/slis": serving.exposition(CollectorRegistry()),  # kube-proxy registers no check either
            "/proxyMode": mode,
            "/configz": configz,
            "/healthz": serving.fine,
        }
    )


def _json(body: bytes, *, ok: bool) -> web.Response:
    return web.Response(
        body=body,
        status=200 if ok else 503,
        headers={"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"},
    )

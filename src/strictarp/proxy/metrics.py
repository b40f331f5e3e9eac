"""Metrics under kube-proxy's names, and ours beside them.

Names, types, labels and buckets of kube-proxy: pkg/proxy/metrics/metrics.go, v1.30 and, for connection
tracking, v1.34. Its gauges of iptables rules are not filled in ipvs mode, so they are not here; failures of
iptables-restore are those of nft here, which alarms may go on watching.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from strictarp import __version__
from strictarp.kube.objects import EndpointSlice
from strictarp.proxy.without_effect import GATES

_SYNC_BUCKETS = tuple(0.001 * 2**k for k in range(15))
_PROGRAMMING_BUCKETS = (
    *(0.0, 0.25, 0.5),
    *map(float, (*range(1, 60), *range(60, 120, 5), *range(120, 301, 30))),
)
_REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"
_MOST_TRIGGERS = 10_000

_COUNTERS = {
    "kubeproxy_sync_proxy_rules_endpoint_changes": "Changes of EndpointSlices",
    "kubeproxy_sync_proxy_rules_service_changes": "Changes of Services",
    "kubeproxy_sync_proxy_rules_iptables_restore_failures": "Refused nft transactions",
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures": "Always 0 in ipvs mode",
    "kubeproxy_conntrack_reconciler_deleted_entries": "Stale UDP connections forgotten",
    "strictarp_proxy_operations": "Operations sent to the kernel",
    "strictarp_proxy_operations_refused": "Operations that the kernel refused",
    "strictarp_proxy_drift_repairs": "Differences that full looks repaired",
}
"""Plain counters: they are there, at 0, from the start."""


class Metrics:
    """Plain numbers, exported when somebody asks.

    `gauges`: name → help and what reads the value. `labelled`: name → help, label, and what reads the values.
    `answers`: of the API server, by method and code. `api`: its host and port.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._duration = self._histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds", "Time of a turn", _SYNC_BUCKETS
        )
        self._full = self._histogram(
            "kubeproxy_sync_full_proxy_rules_duration_seconds",
            "Time of a turn with a full look at the kernel",
            _SYNC_BUCKETS,
        )
        self._programming = self._histogram(
            "kubeproxy_network_programming_duration_seconds",
            "Time from the change of an endpoint in the cluster until it is programmed here",
            _PROGRAMMING_BUCKETS,
        )
        self._reconciling = self._histogram(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "Time of a round over tracked UDP connections",
            _SYNC_BUCKETS,
        )
        self._requests = Histogram(
            "rest_client_request_duration_seconds",
            "Time until the API server has answered",
            ["host", "verb"],
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.api = ""
        self.counters = Counter(dict.fromkeys(_COUNTERS, 0))
        self.codes: Counter[tuple[str, int]] = Counter()
        self.answers: Callable[[], Mapping[tuple[str, str], int]] = dict
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.labelled: dict[str, tuple[str, str, Callable[[], Mapping[str, float]]]] = {}
        self._pending = Counter({"endpoint": 0, "service": 0})
        self._triggers: deque[float] = deque(maxlen=_MOST_TRIGGERS)
        self._started = time.time()
        self._queued = 0.0
        self._last = 0.0
        self.registry.register(self)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, help_text, buckets=buckets, registry=self.registry)

    def changed(self, kind: str, *, triggered: float | None = None) -> None:
        """An object changed. kind: endpoint or service. triggered: when, in the cluster (seconds since 1970).

        What was triggered before this process began tells nothing about it.
        """
        self.counters[f"kubeproxy_sync_proxy_rules_{kind}_changes"] += 1
        self._pending[kind] += 1
        self._queued = time.time()
        if triggered is not None and triggered > self._started:
            self._triggers.append(triggered)

    def synced(self, seconds: float, *, full: bool, failed: bool) -> None:
        """A turn is over. full: with a full look. failed: not everything could be done."""
        self._duration.observe(seconds)
        if full:
            self._full.observe(seconds)
        if failed:
            return
        self._last = time.time()
        self._pending = Counter(dict.fromkeys(self._pending, 0))
        while self._triggers:
            self._programming.observe(max(0.0, self._last - self._triggers.popleft()))

    def applied(self, operations: int, refused: int) -> None:
        """Operations were carried out."""
        self.counters["strictarp_proxy_operations"] += operations
        self.counters["strictarp_proxy_operations_refused"] += refused

    def nft_failed(self) -> None:
        """nft refused a transaction."""
        self.counters["kubeproxy_sync_proxy_rules_iptables_restore_failures"] += 1

    def repaired(self, operations: int) -> None:
        """A full look found a difference."""
        self.counters["strictarp_proxy_drift_repairs"] += operations

    def ended(self, flows: int, seconds: float) -> None:
        """Stale UDP connections were looked for, and so many forgotten."""
        self._reconciling.observe(seconds)
        self.counters["kubeproxy_conntrack_reconciler_deleted_entries"] += flows

    def requested(self, verb: str, seconds: float) -> None:
        """The API server was asked something."""
        self._requests.labels(self.api, verb).observe(seconds)

    def asked(self, what: str, code: int) -> None:
        """A health check was answered. what: healthz or livez."""
        self.codes[what, code] += 1

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield _labelled_gauge(
            "kubernetes_build_info", "The version of strictarp, under the name that dashboards look for",
            "git_version", {f"v{__version__}": 1.0},
        )  # fmt: skip
        yield _gates()
        for kind, count in sorted(self._pending.items()):
            name = f"kubeproxy_sync_proxy_rules_{kind}_changes_pending"
            yield GaugeMetricFamily(name, "Changes that are not programmed yet", count)
        yield GaugeMetricFamily(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When a change came last",
            self._queued,
        )
        yield GaugeMetricFamily(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the last turn ended", self._last
        )
        for name, help_text in sorted(_COUNTERS.items()):
            yield CounterMetricFamily(name, help_text, self.counters[name])
        for name, (help_text, read) in sorted(self.gauges.items()):
            yield GaugeMetricFamily(name, help_text, read())
        for name, (help_text, label, values) in sorted(self.labelled.items()):
            yield _labelled_gauge(name, help_text, label, values())
        yield from self._answers()

    def _answers(self) -> Iterator[Metric]:
        for what in ("healthz", "livez"):
            family = CounterMetricFamily(f"kubeproxy_proxy_{what}", "Answers by code", labels=["code"])
            for (kind, code), count in sorted(self.codes.items()):
                if kind == what:
                    family.add_metric([str(code)], count)
            yield family
        family = CounterMetricFamily(
            "rest_client_requests", "Answers of the API server", labels=["code", "host", "method"]
        )
        for (method, answer), count in sorted(self.answers().items()):
            family.add_metric([answer, self.api, method], count)
        yield family


def _gates() -> Metric:
    """Those of what this program always does; the stage of what is generally available is empty."""
    family = GaugeMetricFamily("kubernetes_feature_enabled", "Feature gates", labels=["name", "stage"])
    for gate in sorted(GATES):
        family.add_metric([gate, ""], 1)
    return family


def _labelled_gauge(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for value, number in sorted(values.items()):
        family.add_metric([value], number)
    return family


def trigger_time(piece: EndpointSlice | None) -> float | None:
    """When what made a slice change happened, in seconds since 1970; None when it does not tell."""
    text = (piece.metadata.annotations or {}).get(TRIGGER_ANNOTATION) if piece is not None else None
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError, OSError):
        return None

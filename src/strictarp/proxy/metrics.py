"""Metrics under kube-proxy's names, and ours beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_BUCKETS = tuple(0.001 * 2**k for k in range(15))


class Metrics:
    """Plain numbers, exported when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._duration = Histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "Time of a turn",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._reconciling = Histogram(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "Time of a round over tracked UDP connections",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.counters: dict[str, tuple[str, float]] = {}
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._last = 0.0
        self.registry.register(self)

    def count(self, name: str, help_text: str, by: float = 1) -> None:
        """Add to a counter."""
        self.counters[name] = (help_text, self.counters.get(name, ("", 0.0))[1] + by)

    def synced(self, seconds: float) -> None:
        """A turn is over."""
        self._duration.observe(seconds)
        self._last = time.time()

    def applied(self, operations: int, refused: int) -> None:
        """Operations were carried out."""
        self.count("strictarp_proxy_operations", "Operations sent to the kernel", operations)
        self.count("strictarp_proxy_operations_refused", "Operations that the kernel refused", refused)

    def repaired(self, operations: int) -> None:
        """A full look found a difference."""
        self.count("strictarp_proxy_drift_repairs", "Differences that full looks repaired", operations)

    def ended(self, flows: int, seconds: float) -> None:
        """Stale UDP connections were looked for, and so many forgotten."""
        self._reconciling.observe(seconds)
        self.count("kubeproxy_conntrack_reconciler_deleted_entries", "Stale connections forgotten", flows)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield GaugeMetricFamily(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the last turn ended", self._last
        )
        for name, (help_text, value) in sorted(self.counters.items()):
            yield CounterMetricFamily(name, help_text, value)
        for name, (help_text, read) in sorted(self.gauges.items()):
            yield GaugeMetricFamily(name, help_text, read())

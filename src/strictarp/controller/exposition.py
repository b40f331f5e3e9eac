"""Metrics under MetalLB's names, and what the two small servers answer."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from strictarp import serving
from strictarp.controller.pools import Pool
from strictarp.controller.reconcile import Book

_NUMBERS = (
    ("metallb_allocator_addresses", "addresses", (4, 6)),
    ("metallb_allocator_ipv4_addresses", "IPv4 addresses", (4,)),
    ("metallb_allocator_ipv6_addresses", "IPv6 addresses", (6,)),
)


class Figures:
    """What the metrics tell, as plain values that the daemon sets."""

    def __init__(self) -> None:
        self.pools: tuple[Pool, ...] = ()
        self.book = Book()
        self.loaded = False
        self.stale = False
        self.leading = False
        self.overlaps = 0
        self.updates = 0
        self.update_errors = 0

    def collect(self) -> Iterator[Metric]:
        """For a prometheus registry."""
        for prefix, what, versions in _NUMBERS:
            total = GaugeMetricFamily(f"{prefix}_total", f"Usable {what} of a pool", labels=["pool"])
            used = GaugeMetricFamily(f"{prefix}_in_use_total", f"Used {what} of a pool", labels=["pool"])
            for pool in self.pools:
                total.add_metric([pool.name], sum(pool.capacity(version) for version in versions))
                in_use = sum(pool.in_use(version, self.book.state.runs[version]) for version in versions)
                used.add_metric([pool.name], in_use)
            yield total
            yield used
        for name, text, value in (
            ("metallb_k8s_client_config_loaded_bool", "A configuration is in force", self.loaded),
            ("metallb_k8s_client_config_stale_bool", "The newest one is refused", self.stale),
            ("strictarp_controller_leading", "This controller may write", self.leading),
            (
                "strictarp_controller_pool_overlaps",
                "Overlaps of pools with what is not theirs",
                self.overlaps,
            ),
            ("strictarp_controller_services_waiting", "Services that wait", len(self.book.waiting)),
        ):
            yield GaugeMetricFamily(name, text, value)
        yield CounterMetricFamily("metallb_k8s_client_updates", "Changes of objects seen", self.updates)
        yield CounterMetricFamily(
            "metallb_k8s_client_update_errors", "Writes that failed", self.update_errors
        )


def metrics_application(figures: Figures) -> web.Application:
    """/metrics."""
    registry = CollectorRegistry()
    registry.register(figures)
    return serving.application({"/metrics": serving.exposition(registry)})


def health_application() -> web.Application:
    """/healthz and /readyz: the process answers; waiting to lead is health too."""
    return serving.application({"/healthz": serving.fine, "/readyz": serving.fine})

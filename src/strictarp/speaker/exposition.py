"""The speaker's metrics: MetalLB's names where the meaning is the same, ours beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from strictarp.speaker.actions import Kind, Report
from strictarp.speaker.segment import Segment, Traffic

_CONFLICTS = frozenset({Kind.ADDRESS_CONFLICT, Kind.KERNEL_ANSWERS, Kind.CONTESTED})
_LAYER2 = (
    ("metallb_layer2_requests_received", "Requests for an owned address", "requests"),
    ("metallb_layer2_responses_sent", "Answers to requests for an owned address", "answers"),
    ("metallb_layer2_gratuitous_sent", "Announcements of an owned address to all hosts", "announcements"),
)


class Figures:
    """What the metrics tell, as plain values that the daemon sets.

    announced: address that this node owns now → its Services.
    """

    def __init__(self, node: str, announced: Callable[[], Mapping[str, Iterable[str]]]) -> None:
        self.node = node
        self._announced = announced
        self.reports: Counter[str] = Counter()
        self.takeovers: Counter[str] = Counter()
        """Cause → how often; `without_owner`: µs that the addresses had no owner before."""
        self.without_owner: Counter[str] = Counter()
        self.conflicts: Counter[tuple[str, str]] = Counter()
        """(Kind, address) → how often it was reported."""
        self.segments: Iterable[Segment] = ()
        self.members = 0
        self.has_key = False
        self.loaded = False
        self.stale = False
        self.updates = 0
        self.renewal_failures = 0
        self.status_failures = 0

    def count(self, report: Report) -> None:
        """Count what a machine reports."""
        self.reports[report.kind] += 1
        if report.kind is Kind.TOOK_OVER:
            self.takeovers[report.detail] += 1
            self.without_owner[report.detail] += report.micros
        elif report.kind in _CONFLICTS and report.address:
            self.conflicts[report.kind.value, str(ip_address(report.address))] += 1

    def collect(self) -> Iterator[Metric]:
        """For a prometheus registry."""
        announced = GaugeMetricFamily(
            "metallb_speaker_announced",
            "Services announced from this node",
            labels=["service", "protocol", "node", "ip"],
        )
        for address, services in sorted(self._announced().items()):
            for service in services:
                announced.add_metric([service, "layer2", self.node, address], 1)
        yield announced
        yield from self._layer2()
        yield _counter(
            "strictarp_speaker_reports", "What happened to addresses and peers", "kind", self.reports
        )
        yield _counter("strictarp_speaker_takeovers", "Addresses taken over", "cause", self.takeovers)
        yield _counter(
            "strictarp_speaker_without_owner_seconds",
            "How long addresses that were taken over had no owner known here",
            "cause",
            {cause: micros / 1e6 for cause, micros in self.without_owner.items()},
        )
        conflicts = CounterMetricFamily(
            "strictarp_speaker_conflicts", "Others that spoke for an address", labels=["kind", "ip"]
        )
        for labels, count in sorted(self.conflicts.items()):
            conflicts.add_metric(labels, count)
        yield conflicts
        yield self._answerers()
        yield from self._seen_on_the_wire()
        yield from self._metallb()
        yield from self._peers()
        yield from self._frames()
        yield GaugeMetricFamily("strictarp_speaker_members", "Nodes with a living Lease", self.members)
        yield GaugeMetricFamily("strictarp_speaker_has_key", "The hello key is known", self.has_key)
        yield CounterMetricFamily(
            "strictarp_speaker_renewal_failures", "Lease renewals that failed", self.renewal_failures
        )
        yield CounterMetricFamily(
            "strictarp_speaker_status_failures", "Writes of ServiceL2Status that failed", self.status_failures
        )

    def _layer2(self) -> Iterator[Metric]:
        """MetalLB's names have no `_total`, which the library gives to every counter: so they go untyped."""
        total: dict[bytes, list[Traffic]] = {}
        for segment in self.segments:
            for address, traffic in segment.traffic.items():
                total.setdefault(address, []).append(traffic)
        for name, text, field in _LAYER2:
            metric = Metric(name, text, "unknown")
            for address, each in sorted(total.items()):
                labels = {"ip": str(ip_address(address))}
                metric.add_sample(name, labels, sum(getattr(traffic, field) for traffic in each))
            yield metric

    def _answerers(self) -> Metric:
        answerers = GaugeMetricFamily(
            "strictarp_speaker_answerers", "Hosts that answered at the last audit", labels=["link", "ip"]
        )
        for segment in self.segments:
            for address, count in sorted(segment.machine.answerers.items()):
                answerers.add_metric([segment.place.name, str(ip_address(address))], count)
        return answerers

    def _seen_on_the_wire(self) -> Iterator[Metric]:
        outages = CounterMetricFamily(
            "strictarp_speaker_unanswered_seconds",
            "How long nobody answered though the owner lived, as the runner-up's audit saw",
            labels=["link", "ip"],
        )
        latency = HistogramMetricFamily(
            "strictarp_speaker_answer_seconds",
            "From the kernel's receipt of a question for an owned address to the answer of the process",
            labels=["link"],
        )
        for segment in self.segments:
            link = segment.place.name
            for address, micros in sorted(segment.machine.unanswered.items()):
                outages.add_metric([link, str(ip_address(address))], micros / 1e6)
            latency.add_metric([link], segment.latency.buckets(), segment.latency.total / 1e6)
        yield from (outages, latency)

    def _metallb(self) -> Iterator[Metric]:
        """What MetalLB's speaker tells of its configuration (internal/k8s/stats.go)."""
        for name, text, value in (
            ("metallb_k8s_client_config_loaded_bool", "Pools are known", self.loaded),
            ("metallb_k8s_client_config_stale_bool", "A part of the newest ones cannot be read", self.stale),
        ):
            yield GaugeMetricFamily(name, text, value)
        errors = self.renewal_failures + self.status_failures
        yield CounterMetricFamily("metallb_k8s_client_updates", "Changes of objects seen", self.updates)
        yield CounterMetricFamily("metallb_k8s_client_update_errors", "Writes that failed", errors)

    def _peers(self) -> Iterator[Metric]:
        labels = ["link", "peer"]
        heard = CounterMetricFamily("strictarp_speaker_hellos_heard", "Hellos of a peer", labels=labels)
        lost = CounterMetricFamily(
            "strictarp_speaker_hellos_lost", "Hellos missing between two of a peer", labels=labels
        )
        live = GaugeMetricFamily("strictarp_speaker_peer_live", "The peer is heard", labels=labels)
        deaf = GaugeMetricFamily(
            "strictarp_speaker_peer_unheard", "It lives by the API and was never heard here", labels=labels
        )
        for segment in self.segments:
            link = segment.place.name
            for sight in segment.machine.sights:
                heard.add_metric([link, sight.node], sight.hellos)
                lost.add_metric([link, sight.node], sight.lost)
                live.add_metric([link, sight.node], sight.live)
            for name in segment.machine.unheard:
                deaf.add_metric([link, name], 1)
        yield from (heard, lost, live, deaf)

    def _frames(self) -> Iterator[Metric]:
        frames = CounterMetricFamily(
            "strictarp_speaker_frames", "Frames sent, withheld and thrown away", labels=["link", "what"]
        )
        refused = CounterMetricFamily(
            "strictarp_speaker_frames_refused", "Frames that did not count", labels=["link", "why"]
        )
        for segment in self.segments:
            for what, count in sorted(segment.counts.items()):
                frames.add_metric([segment.place.name, what], count)
            for why, count in sorted(segment.machine.counters.items()):
                refused.add_metric([segment.place.name, str(why)], count)
        kernel = GaugeMetricFamily(
            "strictarp_speaker_kernel_answers",
            "The kernel answers ARP for the speaker, while its lease holds",
            labels=["link"],
        )
        for segment in self.segments:
            kernel.add_metric([segment.place.name], segment.kernel_answers)
        yield from (frames, refused, kernel)


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(values.items()):
        metric.add_metric([value], count)
    return metric

"""The speaker's metrics: MetalLB's names where the meaning is the same, ours beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from strictarp.speaker.segment import Segment


class Figures:
    """What the metrics tell, as plain values that the daemon sets."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.announced: dict[str, list[str]] = {}
        """Address that this node owns → its Services."""
        self.reports: Counter[str] = Counter()
        self.segments: Iterable[Segment] = ()
        self.members = 0
        self.has_key = False
        self.renewal_failures = 0

    def collect(self) -> Iterator[Metric]:
        """For a prometheus registry."""
        announced = GaugeMetricFamily(
            "metallb_speaker_announced",
            "Services announced from this node",
            labels=["service", "protocol", "node", "ip"],
        )
        for address, services in sorted(self.announced.items()):
            for service in services:
                announced.add_metric([service, "layer2", self.node, address], 1)
        yield announced
        reports = CounterMetricFamily(
            "strictarp_speaker_reports", "What happened to addresses and peers", labels=["kind"]
        )
        for kind, count in sorted(self.reports.items()):
            reports.add_metric([kind], count)
        yield reports
        yield from self._frames()
        yield GaugeMetricFamily("strictarp_speaker_members", "Nodes with a living Lease", self.members)
        yield GaugeMetricFamily("strictarp_speaker_has_key", "The hello key is known", self.has_key)
        yield CounterMetricFamily(
            "strictarp_speaker_renewal_failures", "Lease renewals that failed", self.renewal_failures
        )

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
        yield frames
        yield refused

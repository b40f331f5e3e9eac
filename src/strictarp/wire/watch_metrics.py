"""The metrics of `strictarp watch --prometheus`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from strictarp.arp.probing import Verdict
from strictarp.wire.timeline import Timeline
from strictarp.wire.watch_text import Context

_COUNTERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("asked", "Questions that were sent", ("asked",)),
    ("unanswered", "Questions that nobody answered", ("unanswered",)),
    ("several", "Questions that more than one MAC answered", ("several",)),
    ("owner_changes", "Changes of the owner's MAC (flaps)", ("flaps",)),
    ("late_answers", "Answers after the time to wait for them", ("late",)),
    ("untold", "Frames and changes beyond what is told apart", ("crowded", "suppressed")),
)
"""Metric, help, and the fields of `Counts` that are added up."""


class Figures:
    """A collector for a prometheus registry. context, lost: called at each scrape."""

    def __init__(self, timeline: Timeline, context: Callable[[], Context], lost: Callable[[], int]) -> None:
        self._timeline = timeline
        self._context = context
        self._lost = lost

    def collect(self) -> Iterator[Metric]:
        """What is known now. An address that cannot be asked for has no number of answerers."""
        context, watched = self._context(), list(self._timeline.watched.values())
        answerers = GaugeMetricFamily(
            "strictarp_watch_answerers", "MACs that answered the last question", labels=["ip", "services"]
        )
        owner = GaugeMetricFamily(
            "strictarp_watch_owner_info", "The owner of the address", labels=["ip", "mac", "node"]
        )
        changed = GaugeMetricFamily(
            "strictarp_watch_last_change_timestamp_seconds", "Verdict or owner changed", labels=["ip"]
        )
        for each in watched:
            if each.verdict is not Verdict.UNKNOWN:
                services = ",".join(context.services(each.ip))
                answerers.add_metric([each.ip, services], len(each.answering))
            if each.owner:
                named = context.name(each.owner)
                owner.add_metric([each.ip, each.owner, named.node if named.sure else ""], 1)
            if each.changed is not None:
                changed.add_metric([each.ip], each.changed)
        yield from (answerers, owner, changed)
        for name, text, fields in _COUNTERS:
            family = CounterMetricFamily(f"strictarp_watch_{name}", text, labels=["ip"])
            for each in watched:
                family.add_metric([each.ip], sum(getattr(each.counts, field) for field in fields))
            yield family
        frames = CounterMetricFamily("strictarp_watch_frames", "ARP frames on the links", labels=["what"])
        timeline = self._timeline
        for what, number in (
            ("heard", timeline.heard_frames),
            ("malformed", timeline.malformed),
            ("foreign", timeline.foreign),
            ("lost", self._lost()),
        ):
            frames.add_metric([what], number)
        yield frames

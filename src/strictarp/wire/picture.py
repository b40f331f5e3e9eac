"""Who answered for one address when, as SVG: a strip of verdicts, and a lane for each MAC. Pure.

Shape and label carry the meaning, colour only helps. Everything from the wire is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import msgspec

from strictarp.arp.probing import Verdict
from strictarp.wire.reporting import printable
from strictarp.wire.watch_text import Context, Stamp, what
from strictarp.wire.watched import Kind, Span, Watched

MOST_LANES = 8
_WIDTH, _LEFT, _RIGHT = 1000.0, 300.0, 990.0
_STRIP, _LANE, _AXIS = 14.0, 20.0, 24.0
_NARROWEST = 3.0
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_MOST_TICKS = 7
_LONGEST_LABEL = 46

_VERDICTS = {
    Kind.ONE: Verdict.ONE,
    Kind.SEVERAL: Verdict.SEVERAL,
    Kind.SILENT: Verdict.NOBODY,
    Kind.BLIND: Verdict.UNKNOWN,
}
WORDS = {
    Verdict.ONE: "exactly one answered",
    Verdict.SEVERAL: "several answered",
    Verdict.NOBODY: "nobody answered",
    Verdict.UNKNOWN: "not asked",
}


class Frame(msgspec.Struct, frozen=True):
    """The time that is drawn, how times are written, and the colour class of each MAC."""

    began: float
    now: float
    stamp: Stamp
    tick: Stamp
    colours: Mapping[str, str]
    most_spans: int

    def x(self, at: float) -> float:
        """Where a time stands."""
        length = max(self.now - self.began, 0.001)
        share = min(max((at - self.began) / length, 0.0), 1.0)
        return _LEFT + share * (_RIGHT - _LEFT)


class Stretch(msgspec.Struct, frozen=True):
    """A verdict held from `first` to `last`."""

    verdict: Verdict
    first: float
    last: float


def stretches(watched: Watched, frame: Frame) -> list[Stretch]:
    """The verdicts one after another, as far back as changes are kept."""
    judged = [(each.at, _VERDICTS[each.kind]) for each in watched.changes if each.kind in _VERDICTS]
    ends = [at for at, _ in judged[1:]] + [frame.now] * bool(judged)
    return [Stretch(verdict, at, max(at, end)) for (at, verdict), end in zip(judged, ends, strict=True)]


def picture(watched: Watched, context: Context, frame: Frame) -> str:
    """The SVG element."""
    spans = [each for each in watched.spans if each.mac][-frame.most_spans :]
    lanes = _lanes(spans)
    bottom = _STRIP + 6 + _LANE * max(1, len(lanes))
    title = escape(printable(f"Who answered for {watched.ip}"))
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:g} {bottom + _AXIS:g}" role="img" aria-label="{title}">',
        *_strip(watched, frame),
        *_lane_rows(lanes, context, frame),
        *_moves(watched, context, frame, bottom),
        *_axis(frame, bottom),
        "</svg>",
    ]
    return "\n".join(parts)


def _strip(watched: Watched, frame: Frame) -> Iterator[str]:
    yield _label("verdict", _STRIP - 3)
    for each in stretches(watched, frame):
        told = f"{WORDS[each.verdict]}, {frame.stamp(each.first)} to {frame.stamp(each.last)}"
        thin = each.verdict is Verdict.ONE
        yield _bar(
            frame,
            (each.first, each.last),
            (5.0, 4.0) if thin else (0.0, _STRIP),
            css=f"v-{each.verdict}",
            title=told,
        )


def _lanes(spans: Sequence[Span]) -> dict[str, list[Span]]:
    """MAC → its spans, in order of appearance; those least heard together under the empty name."""
    heard: dict[str, int] = {}
    for span in spans:
        heard[span.mac] = heard.get(span.mac, 0) + span.heard
    own_lanes = MOST_LANES if len(heard) <= MOST_LANES else MOST_LANES - 1
    kept = set(sorted(heard, key=lambda mac: -heard[mac])[:own_lanes])
    lanes: dict[str, list[Span]] = {}
    for span in spans:
        lanes.setdefault(span.mac if span.mac in kept else "", []).append(span)
    return lanes


def _lane_rows(lanes: Mapping[str, Sequence[Span]], context: Context, frame: Frame) -> Iterator[str]:
    for number, (mac, spans) in enumerate(lanes.items()):
        top = _STRIP + 6 + _LANE * number
        who = context.who(mac) if mac else f"{len({each.mac for each in spans})} other MACs"
        yield _label(who, top + _LANE - 7)
        for span in spans:
            told = (
                f"{context.who(span.mac)}: heard {span.heard} times, {frame.stamp(span.first)} to "
                f"{frame.stamp(span.last)}"
            )
            css = frame.colours.get(mac, "m-other")
            yield _bar(frame, (span.first, span.last), (top + 3, _LANE - 8), css=css, title=told)


def _bar(frame: Frame, when: tuple[float, float], where: tuple[float, float], *, css: str, title: str) -> str:
    left = frame.x(when[0])
    width = max(frame.x(when[1]) - left, _NARROWEST)
    left = min(left, _RIGHT - width) if width <= _NARROWEST else left
    return (
        f'<rect class="{css}" x="{left:.1f}" y="{where[0]:g}" width="{width:.1f}" height="{where[1]:g}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _label(text: str, y: float) -> str:
    short = text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"
    return f'<text x="0" y="{y:g}"><title>{escape(text)}</title>{escape(short)}</text>'


def _moves(watched: Watched, context: Context, frame: Frame, bottom: float) -> Iterator[str]:
    """A line with a triangle where the owner changed."""
    for each in watched.changes:
        if each.kind is Kind.CHANGE:
            x = frame.x(each.at)
            told = escape(f"{frame.stamp(each.at)}: {what(each, context)}")
            yield (f'<path class="move" d="M{x:.1f} {bottom:g}V0m-4 0h8l-4 7z"><title>{told}</title></path>')


def _axis(frame: Frame, bottom: float) -> Iterator[str]:
    length = max(frame.now - frame.began, 0.001)
    step = next((each for each in _STEPS if length / each <= _MOST_TICKS), length / _MOST_TICKS)
    yield f'<path class="axis" d="M{_LEFT:g} {bottom:g}H{_RIGHT:g}"/>'
    at = frame.began - frame.began % step + step
    while at < frame.now:
        x = frame.x(at)
        yield f'<path class="axis" d="M{x:.1f} {bottom:g}v4"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 18:g}">{escape(frame.tick(at))}</text>'
        at += step

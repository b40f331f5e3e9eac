"""The page of `strictarp watch --html`: pictures, legend and changes in one self-contained file. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from strictarp.arp.probing import Verdict
from strictarp.wire.picture import MOST_LANES, WORDS, Frame, picture
from strictarp.wire.reporting import printable
from strictarp.wire.timeline import Timeline
from strictarp.wire.watch_text import Context, Stamp, what
from strictarp.wire.watched import Watched

MOST_SPANS = 20_000
"""Bars on the whole page."""
MOST_CHANGES = 2_000
_FEWEST_SPANS = 50
_COLOURS = 7

_STYLE = """
:root{color-scheme:light dark;--text:#1b1f24;--soft:#57606a;--back:#fff;--line:#c8ccd1;--blind:#8b949e}
@media(prefers-color-scheme:dark){:root{--text:#e6e8ea;--soft:#9aa4af;--back:#15181c;--line:#454b53}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:75rem;
margin:0 auto;padding:1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .3rem}p,dd{margin:.2rem 0}
figure{margin:0;overflow-x:auto}svg{width:100%;min-width:44rem;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--text)}svg .tick{text-anchor:middle;fill:var(--soft)}
.axis{stroke:var(--line);fill:none}.move{stroke:var(--text);fill:var(--text);stroke-width:1.2}
.v-one{fill:#009e73}.v-several{fill:#d55e00}.v-nobody{fill:url(#hatch)}
.v-unknown{fill:none;stroke:var(--blind);stroke-dasharray:3 3}
.m-0{fill:#0072b2}.m-1{fill:#e69f00}.m-2{fill:#cc79a7}.m-3{fill:#56b4e9}.m-4{fill:#009e73}
.m-5{fill:#d55e00}.m-6{fill:#b8a800}.m-other{fill:var(--blind)}
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.3rem 1.5rem}
.legend svg{display:inline-block;width:34px;min-width:0;height:14px;vertical-align:-2px;margin-right:.4rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top;
border-bottom:1px solid var(--line)}
td:first-child{white-space:nowrap;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
"""
_HATCH = (
    '<svg width="0" height="0" style="position:absolute;min-width:0" aria-hidden="true"><defs>'
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#e69f00" fill-opacity=".25"/>'
    '<rect width="2.5" height="6" fill="#e69f00"/></pattern></defs></svg>'
)


def page(timeline: Timeline, context: Context, *, began: float, now: float, stamp: Stamp, tick: Stamp) -> str:
    """The whole page. stamp: a time as date and time, tick: as a label of the axis."""
    watched = list(timeline.watched.values())
    colours = _colours(watched)
    most = max(_FEWEST_SPANS, MOST_SPANS // max(1, len(watched)))
    frame = Frame(began, now, stamp, tick, colours, most)
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width,initial-scale=1"/>',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "style-src 'unsafe-inline'\"/>",
            f"<title>Who answered when: {len(watched)} address(es)</title>",
            f"<style>{_STYLE}</style></head><body>",
            _HATCH,
            "<h1>Who answered when</h1>",
            f"<p>{_text(f'{stamp(began)} to {stamp(now)}; each address was asked for at most once in')} "
            f"{timeline.limits.interval:g} s.</p>",
            *_legend(frame, context),
            *(part for each in watched for part in _address(each, context, frame)),
            *_changes(watched, context, frame),
            "</body></html>\n",
        )
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _colours(watched: list[Watched]) -> dict[str, str]:
    """A colour class for the MACs that were heard most; the same on the whole page."""
    heard: dict[str, int] = {}
    for each in watched:
        for span in each.spans:
            if span.mac:
                heard[span.mac] = heard.get(span.mac, 0) + span.heard
    most = sorted(heard, key=lambda mac: (-heard[mac], mac))[:_COLOURS]
    return {mac: f"m-{number}" for number, mac in enumerate(most)}


def _legend(frame: Frame, context: Context) -> Iterator[str]:
    yield '<ul class="legend">'
    for verdict, word in WORDS.items():
        shape = (
            '<rect y="5" width="34" height="4"' if verdict is Verdict.ONE else '<rect width="34" height="14"'
        )
        yield f'<li><svg viewBox="0 0 34 14">{shape} class="v-{verdict}"/></svg>{word}</li>'
    move = '<path class="move" d="M17 14V0m-4 0h8l-4 7z"/>'
    yield f'<li><svg viewBox="0 0 34 14">{move}</svg>owner changed</li>'
    for mac, css in frame.colours.items():
        shape = f'<rect y="1" width="34" height="12" class="{css}"/>'
        yield f'<li><svg viewBox="0 0 34 14">{shape}</svg>{_text(context.who(mac))}</li>'
    yield "</ul>"
    yield (
        "<p>Each lane below is one MAC address: a bar where it was heard, without a question that it missed. "
        f"Beyond {MOST_LANES} MACs the least heard share a lane. Point at a bar for its times.</p>"
    )


def _address(watched: Watched, context: Context, frame: Frame) -> Iterator[str]:
    services = ", ".join(context.services(watched.ip))
    counts = watched.counts
    yield f"<h2>{_text(watched.ip + (f' ({services})' if services else ''))}</h2>"
    yield (
        f"<p>Now: {_text(WORDS[watched.verdict])}; owner {_text(context.who(watched.owner))}. "
        f"Asked {counts.asked} times: unanswered {counts.unanswered}, several answered {counts.several}. "
        f"Owner changes: {counts.flaps}, in the last hour {watched.flaps_in_hour(frame.now)}."
        f"{_untold(watched, frame)}</p>"
    )
    yield f"<figure>{picture(watched, context, frame)}</figure>"


def _untold(watched: Watched, frame: Frame) -> str:
    told = []
    if watched.counts.crowded or watched.counts.suppressed:
        number = watched.counts.crowded + watched.counts.suppressed
        told.append(f"{number} frames or changes came faster than they are told apart")
    spans = sum(bool(each.mac) for each in watched.spans)
    if spans > frame.most_spans:
        told.append(f"the oldest {spans - frame.most_spans} bars are not drawn")
    return f" Note: {'; '.join(told)}." if told else ""


def _changes(watched: list[Watched], context: Context, frame: Frame) -> Iterator[str]:
    changes = sorted((each for one in watched for each in one.changes), key=lambda each: each.at)
    left_out = len(changes) - MOST_CHANGES
    yield "<h2>Changes</h2>"
    if left_out > 0:
        yield f"<p>The latest {MOST_CHANGES}; {left_out} before them are left out.</p>"
    yield '<div class="scroll"><table>'
    yield "<thead><tr><th>when</th><th>address</th><th>what</th></tr></thead><tbody>"
    for each in changes[-MOST_CHANGES:]:
        yield (
            f"<tr><td>{_text(frame.stamp(each.at))}</td><td>{_text(each.ip)}</td>"
            f"<td>{_text(what(each, context))}</td></tr>"
        )
    yield "</tbody></table></div>"

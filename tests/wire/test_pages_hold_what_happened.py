"""Pictures, pages, lines and tables from a timeline; whatever strangers wrote is harmless in them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp import frames
from strictarp.arp.facts import Device, Host
from strictarp.kube.model import Metadata
from strictarp.kube.objects import Node, NodeAddress, NodeStatus
from strictarp.wire.culprits import evidence
from strictarp.wire.naming import GivenFacts
from strictarp.wire.page import page
from strictarp.wire.picture import MOST_LANES
from strictarp.wire.timeline import Timeline
from strictarp.wire.watch_metrics import Figures
from strictarp.wire.watch_text import Context, blame_lines, event, line, row, summary
from strictarp.wire.watched import Asker, Change, Limits
from support.wire_objects import answers_of_nodes, mac, node, raw

IP = IPv4Address("192.0.2.100")
ASKER = Asker(bytes.fromhex("02000000aaaa"))
QUESTION = frames.decode(frames.probe(ASKER.mac, IP.packed))
CONTEXT = Context(
    evidence(nodes=[node(1), node(2)], answered=answers_of_nodes(1, 2)), {IP: ("default/web",)}, {}
)


def stamp(at: float) -> str:
    return f"T{at:08.3f}"


def told(*rounds: set[int], limits: Limits | None = None) -> tuple[Timeline, list[Change]]:
    """One round each ten seconds; the numbers of the nodes that answer it."""
    timeline = Timeline(limits or Limits())
    timeline.follow([IP], 0.0)
    changes: list[Change] = []
    for number, answering in enumerate(rounds):
        now = 10.0 * number
        assert timeline.due(now) == IP
        changes += timeline.asked(IP, now, ASKER)
        for each in sorted(answering):
            frame = frames.reply(raw(each), QUESTION)
            changes += timeline.heard(frame, now + each / 1000, {IP.packed})
        changes += timeline.expire(now + 2)
    return timeline, changes


STORY, CHANGES = told({1}, {1}, {1, 2}, {2}, set(), {2})


def drawn(timeline: Timeline, context: Context = CONTEXT, now: float = 60.0) -> tuple[str, ET.Element]:
    text = page(timeline, context, began=0.0, now=now, stamp=stamp, tick=stamp)
    return text, ET.fromstring(text)  # noqa: S314 - made here


def titles(root: ET.Element, css: str) -> list[str]:
    figures = [each for figure in root.iter("figure") for each in figure.iter()]
    return [each.findtext("title") or "" for each in figures if each.get("class") == css]


def test_the_page_is_well_formed_and_asks_for_nothing_from_elsewhere() -> None:
    text, root = drawn(STORY)
    assert root.tag == "html"
    assert not re.search(r"https?:|//|@import|url\((?!#)", text)
    assert {each.tag for each in root.iter()}.isdisjoint({"script", "link", "img", "iframe", "object"})
    policy = [each.get("content") for each in root.iter("meta")]
    assert "default-src 'none'; style-src 'unsafe-inline'" in policy
    assert "prefers-color-scheme:dark" in text


def test_verdicts_lanes_and_moves_are_drawn_with_their_times() -> None:
    _, root = drawn(STORY)
    assert titles(root, "v-one") == [
        "exactly one answered, T0000.001 to T0020.002",
        "exactly one answered, T0030.002 to T0040.000",
        "exactly one answered, T0050.002 to T0060.000",
    ]
    assert titles(root, "v-several") == ["several answered, T0020.002 to T0030.002"]
    assert titles(root, "v-nobody") == ["nobody answered, T0040.000 to T0050.002"]
    assert titles(root, "m-0") + titles(root, "m-1") == [
        f"n1 ({mac(1)}): heard 3 times, T0000.001 to T0020.001",
        f"n2 ({mac(2)}): heard 2 times, T0020.002 to T0030.002",
        f"n2 ({mac(2)}): heard 1 times, T0050.002 to T0050.002",
    ]
    assert titles(root, "move") == [
        f"T0030.002: owner changed: n1 ({mac(1)}) -> n2 ({mac(2)}); seen by its answer"
    ]


def test_bars_stand_where_their_times_are() -> None:
    _, root = drawn(STORY)
    figure = next(root.iter("figure"))
    several = next(each for each in figure.iter("rect") if each.get("class") == "v-several")
    assert abs(float(several.get("x", 0)) - (300 + 690 * 20.002 / 60)) < 0.1
    assert abs(float(several.get("width", 0)) - 690 * 10 / 60) < 0.1
    ticks = [each.text for each in figure.iter("text") if each.get("class") == "tick"]
    assert ticks == ["T0010.000", "T0020.000", "T0030.000", "T0040.000", "T0050.000"]


def test_every_change_stands_in_the_table() -> None:
    _, root = drawn(STORY)
    rows = [[cell.text for cell in each.iter("td")] for each in root.iter("tr")][1:]
    assert len(rows) == len(CHANGES) == 6
    assert rows[1] == ["T0020.002", "192.0.2.100", f"SEVERAL ANSWER: n1 ({mac(1)}), n2 ({mac(2)})"]


def test_many_macs_share_a_lane_and_many_bars_are_cut_and_told() -> None:
    rounds = [{number} for number in range(1, 40)] * 4
    timeline, _ = told(*rounds)
    _, root = drawn(timeline, now=2000.0)
    labels = [each for each in next(root.iter("figure")).iter("text") if each.get("class") is None]
    assert len(labels) == 1 + MOST_LANES
    timeline.follow([IP, *(IP + number for number in range(1, 500))], 2000.0)
    text, _ = drawn(timeline, now=2000.0)
    assert "the oldest 106 bars are not drawn" in text


HOSTILE = '<script>alert(1)</script>"&\x1b[31m\x00\u202e'


def test_names_of_strangers_are_harmless() -> None:
    address = NodeAddress("InternalIP", "192.0.2.11")
    hostile = Node(metadata=Metadata(name=HOSTILE), status=NodeStatus(addresses=(address,)))
    known = evidence(
        nodes=[hostile],
        answered=answers_of_nodes(1),
        facts=GivenFacts({"n2": Host((Device(HOSTILE, raw(2)),))}),
    )
    context = Context(known, {IP: (HOSTILE,)}, {})
    text, root = drawn(STORY, context)
    assert "<script" not in text
    assert "\x1b" not in text
    assert {each.tag for each in root.iter()}.isdisjoint({"script"})
    for change in CHANGES:
        made = event(change, STORY, context, stamp)
        assert all(each.isprintable() for each in [line(made, context), *blame_lines(made)])
    assert all(cell.isprintable() for cell in row(STORY.watched[IP], context, 60.0, stamp))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(1, 12), max_size=10), max_size=12), st.floats(0.0, 1e6))
def test_any_story_can_be_drawn(rounds: list[set[int]], later: float) -> None:
    timeline, _ = told(*rounds)
    drawn(timeline, now=10.0 * len(rounds) + later)


def test_an_event_names_services_nodes_and_culprits() -> None:
    known = evidence(nodes=[node(1)], answered=answers_of_nodes(1))
    context = Context(known, {IP: ("default/web",)}, {})
    several = next(each for each in CHANGES if each.kind == "several")
    timeline, _ = told({1}, {1, 2})
    made = event(several, timeline, context, stamp)
    assert made.services == ("default/web",)
    assert {each: made.names[each].text for each in made.names} == {mac(1): "n1", mac(2): "no known node"}
    assert [each.fault for each in made.culprits] == ["foreign-host"]
    assert line(made, context) == (
        f"T0020.002  192.0.2.100 (default/web)  SEVERAL ANSWER: n1 ({mac(1)}), no known node ({mac(2)})"
    )
    assert blame_lines(made)[0].startswith(f"    likely culprit: no known node ({mac(2)}), foreign-host")


def test_the_table_and_the_summary_show_the_present() -> None:
    watched = STORY.watched[IP]
    assert row(watched, CONTEXT, 60.0, stamp) == (
        "192.0.2.100",
        "default/web",
        "one",
        f"n2 ({mac(2)})",
        "n2",
        "T0050.002",
        "1",
        "6",
        "1",
    )
    assert summary([watched], CONTEXT) == [
        f"192.0.2.100: asked 6 times, unanswered 1, several 1, owner changes 1; last owner n2 ({mac(2)})"
    ]


def test_metrics_show_what_was_counted() -> None:
    collected = {
        sample.name: sample.value
        for family in Figures(STORY, lambda: CONTEXT, lambda: 7).collect()
        for sample in family.samples
        if sample.labels.get("what", "lost") == "lost"
    }
    assert collected == {
        "strictarp_watch_answerers": 1,
        "strictarp_watch_owner_info": 1,
        "strictarp_watch_last_change_timestamp_seconds": 50.002,
        "strictarp_watch_asked_total": 6,
        "strictarp_watch_unanswered_total": 1,
        "strictarp_watch_several_total": 1,
        "strictarp_watch_owner_changes_total": 1,
        "strictarp_watch_late_answers_total": 0,
        "strictarp_watch_untold_total": 0,
        "strictarp_watch_frames_total": 7,
    }

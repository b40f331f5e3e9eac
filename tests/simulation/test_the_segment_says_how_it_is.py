"""What the judge is told of the segment is so for every frame on it."""

import random

from simulation.clock import Clock
from simulation.segment import Segment
from simulation.trace import Trace
from strictarp.speaker.settings import MS


def test_a_slow_segment_stays_slow_until_its_last_frame_has_arrived() -> None:
    clock = Clock()
    segment = Segment(clock, random.Random(1), Trace(), (MS, MS), half_claim=40 * MS)
    arrived: list[int] = []
    one = segment.plug("one", b"\2\0\0\0\0\1", lambda data: None, speaks=True)
    other = segment.plug("other", b"\2\0\0\0\0\2", lambda data: arrived.append(clock.now), speaks=True)
    segment.slow_down("slow", [(one, other)], 120 * MS, until=200 * MS)
    hello = b"\3SARP\1" + b"\2\0\0\0\0\1" + b"\x88\xb5"
    clock.at(199 * MS, segment.transmit, one, hello)
    clock.run(319 * MS)
    assert not arrived
    assert segment.conditions.bad == {(one, other)}
    clock.run(320 * MS)
    assert arrived == [320 * MS]
    assert not segment.conditions.bad


def test_what_is_sent_after_a_slow_time_takes_the_usual_one() -> None:
    clock = Clock()
    segment = Segment(clock, random.Random(1), Trace(), (MS, MS), half_claim=40 * MS)
    arrived: list[int] = []
    one = segment.plug("one", b"\2\0\0\0\0\1", lambda data: None, speaks=True)
    other = segment.plug("other", b"\2\0\0\0\0\2", lambda data: arrived.append(clock.now), speaks=True)
    segment.slow_down("slow", [(one, other)], 120 * MS, until=200 * MS)
    clock.at(201 * MS, segment.transmit, one, b"\3SARP\1" + b"\2\0\0\0\0\1" + b"\x88\xb5")
    clock.run(500 * MS)
    assert arrived == [202 * MS]

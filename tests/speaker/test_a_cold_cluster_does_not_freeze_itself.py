"""A hundred nodes start with thousands of addresses that nobody owns: each hello must still come in time."""

import random
import time

from strictarp.speaker.actions import Kind, Report
from strictarp.speaker.events import LinkChanged, TimerDue, ViewChanged
from strictarp.speaker.machine import Machine
from strictarp.speaker.settings import MS, SECOND
from strictarp.speaker.view import Candidate, Member, View, Vip
from support.speakers import CLUSTER, KEYS, SETTINGS

NODES = [f"node{number}" for number in range(100)]
VIPS = 2000


def test_thousands_of_addresses_that_wait_cost_a_tick_less_than_a_hello_interval() -> None:
    machine = Machine("node99", CLUSTER, SETTINGS, keys=KEYS, chance=random.Random(1))
    candidates = tuple(map(Candidate, NODES))
    vips = [bytes((203, 0, number >> 8, number & 255)) for number in range(VIPS)]
    view = View({each: Vip(each, candidates, True) for each in vips}, {name: Member(name) for name in NODES})
    machine.step(LinkChanged(b"\x02\0\0\0\0\x01", up=True), 0)
    machine.step(ViewChanged(view), 1)
    now, worst = 1, 0.0
    while now < 3 * SECOND:
        now = max(now, machine.next_deadline() or now)
        began = time.process_time()
        told = machine.step(TimerDue(), now)
        worst = max(worst, time.process_time() - began)
        assert not any(isinstance(each, Report) and each.kind is Kind.FROZEN for each in told)
    assert machine.owned == {}  # those that go first live by the API
    assert worst < SETTINGS.hello / SECOND, f"{worst * SECOND / MS:.0f} ms"

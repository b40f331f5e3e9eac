"""Owner and runner-up ask for each IP now and then, and count who answers."""

from __future__ import annotations

import msgspec
import pytest

from strictarp.speaker.actions import Kind
from strictarp.speaker.events import DrainRequested
from strictarp.speaker.latency import Latency
from strictarp.speaker.settings import MS, SECOND
from support.speakers import SETTINGS, VIP, VIP6, Table, address

PERIOD = 5 * SECOND
AUDITED = msgspec.structs.replace(SETTINGS, audit=PERIOD)


def settled(*names: str, vips: tuple[bytes, ...] = (VIP, VIP6)) -> Table:
    table = Table(names or ("a", "b", "c"), vips=vips, settings=AUDITED).settled()
    table.after(2 * PERIOD)
    return table


def counts(table: Table, vip: bytes) -> dict[str, int]:
    return {
        name: machine.answerers[vip] for name, machine in table.machines.items() if vip in machine.answerers
    }


def test_owner_and_runner_up_count_one_answer_and_others_do_not_ask() -> None:
    table = settled()
    for vip in (VIP, VIP6):
        first, second, _ = table.first(vip)
        assert counts(table, vip) == {first: 1, second: 1}
    assert table.reported(Kind.SEVERAL_ANSWER) == table.reported(Kind.NOBODY_ANSWERS) == []


def test_a_kernel_that_answers_is_counted_and_told_once() -> None:
    table = settled(vips=(VIP,))
    first, second, third = table.first()
    table.kernels.add(third)
    table.after(4 * PERIOD)
    assert counts(table, VIP) == {first: 2, second: 2}
    for name in (first, second):
        (report,) = table.reported(Kind.SEVERAL_ANSWER, name)
        assert report.detail == ", ".join(sorted(table.macs[each].hex(":") for each in (first, third)))
    assert table.owners() == [first]
    table.kernels.clear()
    table.after(2 * PERIOD)
    assert counts(table, VIP) == {first: 1, second: 1}


def test_an_owner_that_says_hello_and_does_not_answer_is_told_of() -> None:
    table = settled(vips=(VIP,))
    first, second, _ = table.first()
    table.cut.add((second, first))
    table.after(3 * PERIOD)
    assert counts(table, VIP)[second] == 0
    (report,) = table.reported(Kind.NOBODY_ANSWERS, second)
    assert report.node == first
    assert table.owners() == [first], "an event only"


def test_a_question_that_is_lost_is_asked_again_before_anything_is_said() -> None:
    table = settled(vips=(VIP,))
    first, second, _ = table.first()
    for _ in range(20):
        table.cut.add((second, first))
        table.after(300 * MS)
        table.cut.clear()
        table.after(700 * MS)
    assert table.reported(Kind.NOBODY_ANSWERS) == []
    assert counts(table, VIP)[second] == 1


def test_a_takeover_amid_an_audit_is_no_second_answer() -> None:
    vips = tuple(address(f"203.0.113.{number}") for number in range(1, 41))
    table = settled(vips=vips)
    owner = table.owners(vips[0])[0]
    table.feed(owner, DrainRequested(leave=True))
    table.after(2 * PERIOD)
    assert table.reported(Kind.SEVERAL_ANSWER) == []
    assert table.reported(Kind.NOBODY_ANSWERS) == []


def test_questions_are_spread_over_the_period() -> None:
    vips = tuple(address(f"203.0.113.{number}") for number in range(1, 101))
    table = settled("a", vips=vips)
    times: list[int] = []
    for _ in range(50):
        before = len(table.sent)
        table.after(100 * MS)
        times.append(sum(data[28:32] == bytes(4) for data in table.sent[before:] if data[38:42] in vips))
    assert sum(times) >= 90
    assert max(times) <= 6


def test_zero_audits_nothing() -> None:
    table = Table(vips=(VIP,), settings=msgspec.structs.replace(SETTINGS, audit=0)).settled()
    table.after(2 * PERIOD)
    assert counts(table, VIP) == {}


def test_how_long_nobody_answered_is_measured_by_the_runner_up() -> None:
    table = settled(vips=(VIP,))
    first, second, _ = table.first()
    owner, watcher = table.machines[first], table.machines[second]
    owner._core.owned.clear()  # it says hello, lists the IP, and answers nobody
    table.after(2 * PERIOD)
    assert watcher.answerers == {VIP: 0}
    before = watcher.unanswered[VIP]
    assert PERIOD // 2 < before <= 2 * PERIOD
    table.after(SECOND)
    since = watcher.unanswered[VIP] - before
    assert abs(since - SECOND) <= 2 * SETTINGS.hello, "the present outage counts"
    owner._core.owned[VIP] = owner._core.by_address[VIP]
    table.after(2 * SECOND)
    assert watcher.answerers == {VIP: 1}
    over = watcher.unanswered[VIP]
    assert before + SECOND <= over <= before + 2 * SECOND, "it was asked for again and again"
    table.after(2 * PERIOD)
    assert watcher.unanswered == {VIP: over}
    assert len(table.reported(Kind.NOBODY_ANSWERS, second)) == 1
    assert owner.unanswered == {}


@pytest.mark.parametrize(
    ("micros", "bucket"), [(-5, 0), (0, 0), (50, 0), (51, 1), (1_000_000, 11), (10**7, 12)]
)
def test_answer_times_fall_into_buckets(micros: int, bucket: int) -> None:
    latency = Latency()
    latency.add(micros)
    assert latency.counts.index(1) == bucket
    assert latency.total == max(0, micros)
    bounds = latency.buckets()
    assert bounds[0][0] == "5e-05"
    assert bounds[-1] == ("+Inf", 1.0)
    assert [count for _, count in bounds] == [0.0] * bucket + [1.0] * (13 - bucket)

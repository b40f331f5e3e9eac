"""Rules 7, 8, 10: a partition heals, an owner is isolated."""

from __future__ import annotations

import itertools

from strictarp.arp import frames as arp
from strictarp.hello.messages import Hello, Offer
from strictarp.speaker.actions import Kind
from strictarp.speaker.events import MoveRequested
from strictarp.speaker.settings import MS, SECOND
from support.speakers import SETTINGS, VIP, WAY, Table

T, P, S = SETTINGS.silence, SETTINGS.claim, SETTINGS.slot


def _parted() -> tuple[Table, str, str]:
    """The owner alone on one side; the other side has made another."""
    table = Table().settled()
    first, second, third = table.first()
    table.separate([first], [second, third, "gateway", "client"])
    table.after(700 * MS)
    assert set(table.owners()) == {first, second}
    return table, first, second


def test_when_a_partition_heals_the_higher_epoch_goes_on_within_a_hello() -> None:
    table, first, second = _parted()
    table.cut.clear()
    table.after(SETTINGS.hello * 105 // 100 + 5 * MS)
    assert table.owners() == [second]
    assert table.reported(Kind.YIELDED, first)


def test_the_loser_lets_all_others_go_first_for_a_while() -> None:
    table, _, second = _parted()
    third = table.first()[2]
    table.cut.clear()
    table.after(200 * MS)
    table.kill(second)
    table.after(T + P + 2 * S)
    assert table.owners() == [third]


def test_a_peer_that_is_heard_again_is_greeted_at_once() -> None:
    table, _, _ = _parted()
    table.cut.clear()
    heal = table.now
    while not table.reported(Kind.PEER_HEARD, since=heal):
        table.after(MS)
    heard = next(name for at, name, report in table.reports if report.kind is Kind.PEER_HEARD and at >= heal)
    at = table.reports[-1][0]
    assert any(
        name == heard and isinstance(said, Hello) for time, name, said in table.said if time >= at - MS
    )


def test_an_owner_does_not_yield_to_arp() -> None:
    table = Table().settled()
    first = table.first()[0]
    for form in (arp.gratuitous_request, arp.gratuitous_reply):
        table.inject(first, form(b"\x02\0\0\0\0\x66", VIP))
        table.inject(first, form(table.macs[table.first()[1]], VIP))
    table.after(SECOND)
    assert table.owners() == [first]
    assert len(table.reported(Kind.ADDRESS_CONFLICT, first)) == 1
    assert len(table.reported(Kind.KERNEL_ANSWERS, first)) == 1


def test_an_owner_that_hears_nothing_says_so_and_another_takes_over() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.cut |= {(each, first) for each in (second, third, "gateway", "client")}
    table.after(SETTINGS.isolation + 2 * SETTINGS.hello)
    assert table.reported(Kind.ISOLATED, first)
    assert first in table.owners()
    table.after(3 * SETTINGS.hello + P + S)
    assert second in table.owners()
    table.cut.clear()
    table.after(200 * MS)
    assert table.owners() == [second]


def test_joining_nodes_do_not_wait_for_a_seasoned_one_that_is_isolated() -> None:
    table = Table().settled()
    first, second, third = table.first()
    for name in (second, third):
        table.stop(name)
    table.after(500 * MS)
    for name in (second, third):
        table.wake(name)
    table.cut |= {(each, first) for each in (second, third, "gateway", "client")}
    table.after(SETTINGS.isolation + 4 * SETTINGS.hello + 2 * SETTINGS.settle)
    assert [name for name in table.owners() if name != first] == [second]


def test_the_client_gets_one_answer_from_the_owner() -> None:
    table = Table().settled()
    before = len(table.answers)
    table.ask()
    table.after(5 * MS)
    assert [name for _, name, _ in table.answers[before:]] == table.first()[:1]


def _three_owners_of_what_is_wished_to_the_first() -> Table:
    """Each in a part of the segment that is by itself, the last with the highest epoch."""
    table = Table("abcd").settled()
    first, second, third, fourth = table.first()
    parts = ([first], [second], [third, fourth])
    for one, other in itertools.combinations(parts, 2):
        table.separate(one, other)
    table.after(700 * MS)
    for giver, to in ((third, fourth), (fourth, third)):
        table.feed(giver, MoveRequested(VIP, to))
        table.after(20 * MS)
    table.show(wish=first)
    table.after(20 * MS)
    assert sorted(table.owners()) == sorted((first, second, third))
    return table


def test_a_planned_move_waits_until_there_is_one_owner() -> None:
    for later in range(0, SETTINGS.hello, 5 * MS):
        table = _three_owners_of_what_is_wished_to_the_first()
        first, second, _, _ = table.first()
        heal = table.now
        table.cut -= {(first, second), (second, first)}
        table.after(later)
        table.cut.clear()
        table.after(4 * SETTINGS.hello)
        assert table.owners() == [first]
        assert len(table.reported(Kind.HANDED_OVER, since=heal)) == 1


def test_an_offer_that_can_wait_is_called_off_when_another_owner_is_met() -> None:
    table, first, second = _parted()
    third = table.first()[2]
    table.stop(first)
    table.cut.discard((first, second))
    table.after(SETTINGS.hello * 3 // 2)
    table.loses[third] = Offer
    table.show(second, wish=third)
    table.after(MS)
    assert table.messages(Offer, second)
    table.wake(first)
    table.after(2 * WAY)
    table.loses.clear()
    met = table.now
    table.after(2 * SETTINGS.hello - 4 * WAY)
    assert table.reported(Kind.CONTESTED, second)
    assert not table.messages(Offer, second, since=met)
    table.cut.clear()
    table.after(4 * SETTINGS.hello)
    assert table.owners() == [third]
    assert len(table.reported(Kind.HANDED_OVER, since=met)) == 1

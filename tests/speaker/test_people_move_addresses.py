"""Wishes and drained nodes, as the machine sees them in its view: handed over when somebody is ready."""

from __future__ import annotations

import pytest

from strictarp.hello.messages import Claim, Offer
from strictarp.speaker.actions import Kind
from strictarp.speaker.events import DrainRequested
from strictarp.speaker.settings import MS, SECOND
from support.speakers import SETTINGS, VIP, VIP6, WAY, Table


def test_a_wish_hands_the_ip_over_with_the_gap_of_one_way() -> None:
    table = Table().settled()
    _, _, third = table.first()
    before = table.now
    table.show(wish=third)
    table.after(20 * MS)
    assert table.owners() == [third]
    (given,) = [at for at, _, report in table.reports if report.kind is Kind.HANDED_OVER and at >= before]
    (taken,) = [at for at, _, report in table.reports if report.kind is Kind.TOOK_OVER and at >= before]
    assert taken - given == WAY
    assert not table.messages(Claim, since=before)
    table.after(40 * SECOND)
    assert table.owners() == [third], "the order alone takes nothing back"
    table.show()
    table.after(40 * SECOND)
    assert table.owners() == [third], "nor does the end of the wish"


def test_a_wish_waits_until_its_node_is_seasoned() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.kill(second)
    table.after(SECOND)
    table.start(second, seed="again")
    table.show(wish=second)
    before = table.now
    table.after(SECOND)
    assert table.owners() == [first]
    assert not table.messages(Offer, since=before), "it is not asked before it can say yes"
    table.after(2 * SECOND)
    assert table.owners() == [second]


def test_a_new_wish_is_served_at_once_also_by_who_has_just_taken_over() -> None:
    table = Table().settled()
    first, second, third = table.first()
    for node in (second, third, first):
        table.show(wish=node)
        table.after(50 * MS)
        assert table.owners() == [node]


def test_nodes_that_see_different_wishes_do_not_hand_an_ip_to_and_fro() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.show(second, wish=third)
    table.show(first, third, wish=second)
    before = table.now
    table.after(SETTINGS.season - 100 * MS)
    assert len(table.reported(Kind.HANDED_OVER, since=before)) == 1
    assert table.owners() == [second]


def test_a_wish_survives_the_owner_and_is_served_by_the_next_one() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.cut |= {(first, third), (third, first)}  # it cannot be offered
    table.show(wish=third)
    table.after(50 * MS)
    table.kill(first)
    table.cut.clear()
    table.after(SETTINGS.move_retry + SECOND)
    assert table.owners() == [third]
    assert second


def test_both_addresses_of_a_service_go_where_it_is_wished() -> None:
    table = Table(vips=[VIP, VIP6])
    table.beside = {VIP6: VIP}
    table.settled()
    _, second, _ = table.first()
    table.show(wish=second)
    table.after(20 * MS)
    assert table.owners(VIP) == table.owners(VIP6) == [second]


def test_a_drained_node_gives_everything_away_and_takes_nothing_while_others_can() -> None:
    vips = [VIP, bytes((203, 0, 113, 2)), bytes((203, 0, 113, 3))]
    table = Table(vips=vips).settled()
    before = table.now
    table.show(drained=["a"])
    table.after(100 * MS)
    assert not table.owned["a"]
    assert all(len(table.owners(vip)) == 1 for vip in vips)
    assert not table.messages(Claim, since=before)
    table.kill("b")
    table.after(SECOND)
    assert not table.owned["a"]
    assert all(table.owners(vip) == ["c"] for vip in vips)


def test_a_drained_node_is_the_last_resort_and_gives_back() -> None:
    table = Table(("a", "b")).settled()
    table.show(drained=["a"])
    table.after(100 * MS)
    assert table.owners() == ["b"]
    table.kill("b")
    table.after(SECOND)
    assert table.owners() == ["a"], "answering is better than silence"
    table.start("b", seed="again", view=table.view("b", drained=["a"]))
    table.after(SETTINGS.season + 2 * SECOND)
    assert table.owners() == ["b"]


def test_the_only_node_keeps_what_it_has_although_it_is_drained() -> None:
    table = Table(("a",)).settled()
    table.show(drained=["a"])
    table.after(SETTINGS.drain_grace + 5 * SECOND)
    assert table.owners() == ["a"]


@pytest.mark.parametrize("leaver", ["a", "b"])
def test_where_all_are_drained_nothing_moves_until_one_leaves(leaver: str) -> None:
    table = Table(("a", "b")).settled()
    (owner,) = table.owners()
    table.show(drained=["a", "b"])
    table.after(10 * SECOND)
    assert table.owners() == [owner]
    before = table.now
    table.feed(leaver, DrainRequested())
    table.after(100 * MS)
    assert table.owners() == ["b" if leaver == "a" else "a"]
    assert not table.messages(Claim, since=before)


def test_a_drained_node_refuses_an_offer_that_another_can_take() -> None:
    """The giver has not seen yet that it is drained."""
    table = Table().settled()
    first, second, third = table.first()
    table.show(second, drained=[second])
    table.feed(first, DrainRequested())
    table.after(200 * MS)
    assert table.owners() == [third]


def test_the_end_of_a_drain_moves_nothing() -> None:
    table = Table().settled()
    first, _, _ = table.first()
    table.show(drained=[first])
    table.after(SECOND)
    owner = table.owners()
    assert owner != [first]
    table.show()
    table.after(40 * SECOND)
    assert table.owners() == owner


def test_a_node_that_is_preferred_gets_it_back_when_its_drain_ends() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.show(scores={third: 5})
    table.after(SECOND)
    assert table.owners() == [third]
    table.show(scores={third: 5}, drained=[third])
    table.after(SECOND)
    assert table.owners() == [first]
    table.show(scores={third: 5})
    table.after(SETTINGS.season + SECOND)
    assert table.owners() == [third]
    assert second

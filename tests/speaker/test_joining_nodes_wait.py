"""Rules 4 and the state of a node: seasoning, settling, a cold cluster."""

from __future__ import annotations

import msgspec
import pytest

from strictarp.arp import frames as arp
from strictarp.hello.messages import State
from strictarp.speaker.actions import Kind
from strictarp.speaker.settings import MS, SECOND
from support.speakers import SETTINGS, VIP, Table

T, P, S = SETTINGS.silence, SETTINGS.claim, SETTINGS.slot


def test_a_cold_cluster_claims_nothing_before_it_has_settled_and_then_in_order() -> None:
    table = Table()
    table.show()
    table.after(SETTINGS.settle)
    assert table.owners() == []
    table.after(SETTINGS.hello * 2 + P)
    assert table.owners() == table.first()[:1]


@pytest.mark.parametrize("apart", [4, 19, 43, 300])
@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_a_cold_cluster_whose_nodes_start_one_after_another_still_begins_in_order(
    apart: int, seed: str
) -> None:
    """apart: ms; also less than a slot, where each must begin at its time and not at its next hello."""
    table = Table()
    order = table.first()
    late = Table(())
    for name in ("a", "b", "c"):
        late.macs[name] = table.macs[name]
    for name in reversed(order):
        late.start(name, seed=seed, view=late.view(name, members=order))
        late.after(apart * MS)
    late.after(2 * SETTINGS.settle + 2 * SETTINGS.hello)
    assert late.owners() == order[:1]


def test_a_node_that_starts_again_and_again_is_not_waited_for() -> None:
    table = Table(("a", "b"))
    first, second = table.first()
    table.show()
    for attempt in range(8):
        table.after(400 * MS)
        table.start(first, seed=str(attempt), view=table.view(first))
    assert table.owners() == [second]


def test_a_joining_node_leaves_an_ip_to_a_seasoned_one() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.kill(second)
    table.after(SECOND)
    table.start(second, seed="again", view=table.view(second))
    table.after(SETTINGS.settle + 200 * MS)
    table.kill(first)
    table.after(T + P + S + 20 * MS)
    assert table.owners() == [third]


def test_a_joining_node_takes_over_where_no_seasoned_one_is_left() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.kill(second)
    table.kill(third)
    table.after(SECOND)
    table.start(second, seed="again", view=table.view(second))
    table.after(SETTINGS.settle + 200 * MS)
    table.kill(first)
    table.after(T + P + S + 20 * MS)
    assert table.owners() == [second]


def test_a_restarted_owner_does_not_take_its_ip_back() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.kill(first)
    table.after(SECOND)
    table.start(first, seed="again", view=table.view(first))
    table.after(SETTINGS.season + SECOND)
    assert list(table.hellos(first))[-1].state is State.SEASONED
    assert table.owners(VIP) == [second]


def test_a_node_whose_hellos_are_provoked_all_the_time_still_gets_seasoned_and_claims() -> None:
    """Urgent hellos put the regular one off; the work that goes with it must not be put off with it."""
    table = Table(("a",))
    table.show()
    provoking = arp.gratuitous_request(b"\x02\0\0\0\0\x99", VIP)
    end = table.now + 3 * SECOND
    while table.now < end:
        table.inject("a", provoking)
        table.after(5 * MS)
    assert table.owners() == ["a"]
    assert list(table.hellos("a"))[-1].state is State.SEASONED


@pytest.mark.parametrize("offset", range(0, 120, 20))
def test_a_joining_node_ends_its_claim_although_another_becomes_seasoned_in_its_midst(offset: int) -> None:
    """The other one does not want the IP. offset: ms by which the claim begins earlier or later."""
    table = Table(())
    table.macs |= {"claimant": b"\x02\0\0\1\0\1", "other": b"\x02\0\0\1\0\2"}
    both = ("claimant", "other")
    table.start("other", view=table.view("other", members=both, eligible=False))
    table.after(SETTINGS.season - SETTINGS.settle - P - S + offset * MS)
    table.start("claimant", view=table.view("claimant", members=both))
    table.after(SETTINGS.settle + P + 3 * S)
    begun = table.reported(Kind.CLAIM_STARTED, "claimant")
    assert len(table.reported(Kind.TOOK_OVER, "claimant")) == len(begun)
    assert not table.reported(Kind.CLAIM_LOST)
    assert begun or offset > 60


@pytest.mark.parametrize("phase", range(0, 100, 25))
def test_a_joining_node_claims_as_soon_as_the_last_seasoned_one_is_silent(phase: int) -> None:
    """Also what another node owned, which fell silent before. phase: of the hellos, ms."""
    table = Table(settings=msgspec.structs.replace(SETTINGS, season=20 * SECOND)).settled()
    table.after(20 * SECOND)
    (owner,) = table.owners()
    joining, last = (name for name in table.first() if name != owner)
    table.kill(joining)
    table.after(SECOND)
    table.start(joining, seed=str(phase), view=table.view(joining))
    table.after(2 * SETTINGS.settle + phase * MS)
    table.separate([owner], [joining])
    table.after(60 * MS)
    table.separate([last], [joining])
    table.after(T + SECOND)
    (silent,) = [
        at
        for at, name, each in table.reports
        if each.node == last and name == joining and each.kind is Kind.PEER_SILENT
    ]
    (taken,) = [at for at, name, each in table.reports if name == joining and each.kind is Kind.TOOK_OVER]
    assert taken - silent <= P + S

"""Rules 4 and the state of a node: seasoning, settling, a cold cluster."""

from __future__ import annotations

import pytest

from strictarp.hello.messages import State
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

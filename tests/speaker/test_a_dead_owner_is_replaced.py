"""Rules 3 to 6: who claims, when, and what stops a claim."""

from __future__ import annotations

import pytest

from strictarp.arp import frames as arp
from strictarp.hello.messages import Claim, Hello, Witness
from strictarp.speaker.actions import Kind
from strictarp.speaker.events import DrainRequested, ViewChanged
from strictarp.speaker.settings import MS, SECOND
from support.speakers import GATEWAY, SETTINGS, VIP, WAY, Table, address

T, P, S = SETTINGS.silence, SETTINGS.claim, SETTINGS.slot


def test_the_first_of_the_order_owns_an_ip_that_has_no_owner() -> None:
    table = Table().settled()
    assert table.owners() == table.first()[:1]


def test_a_dead_owner_is_replaced_within_the_failure_bound() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.kill(first)
    table.after(T + P + 2 * WAY + 2 * MS)
    assert table.owners() == [second]


def test_what_was_claimed_is_listed_in_a_hello_of_the_same_moment() -> None:
    for pause in range(0, 100, 10):  # the hello before may be of any age
        table = Table().settled()
        first, second, _ = table.first()
        table.after(pause * MS)
        table.kill(first)
        table.after(T + P + 2 * WAY + 2 * MS)
        (taken,) = [at for at, who, each in table.reports if each.kind is Kind.TOOK_OVER and who == second]
        said = [each for at, who, each in table.said if (at, who) == (taken, second)]
        assert any(isinstance(each, Hello) and each.owned == 1 for each in said), pause


def test_a_live_owner_is_left_alone_whatever_the_order_says() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.kill(first)
    table.after(SECOND)
    table.start(first, seed="again", view=table.view(first))
    table.after(4 * SECOND)
    assert next(reversed(list(table.hellos(first)))).state.name == "SEASONED"
    assert table.owners() == [second]
    assert not table.owned[third]


def test_a_claim_asks_three_times_for_the_ip_and_for_the_gateway() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.kill(first)
    before, sent = table.now, len(table.sent)
    table.after(T + P + 5 * MS)
    times = [at - before for at, name, said in table.said if name == second and isinstance(said, Claim)]
    times = [time for time in times if time > 0]
    assert [time - times[0] for time in times] == [0, 30 * MS, 60 * MS]
    probes = [
        frame.target_ip
        for data in table.sent[sent:]
        if data[12:14] == b"\x08\x06" and (frame := arp.decode(data)).is_probe
    ]
    assert probes.count(VIP) == 3
    assert probes.count(GATEWAY) == 3


def test_each_claim_has_a_higher_epoch() -> None:
    table = Table().settled()
    first, second, third = table.first()
    before = table.machines[first].owned[VIP]
    table.kill(first)
    table.after(SECOND)
    middle = table.machines[second].owned[VIP]
    table.kill(second)
    table.after(SECOND)
    assert before < middle < table.machines[third].owned[VIP]


def test_a_candidate_leaves_a_slot_to_each_live_one_before_it() -> None:
    """The first that is left does not want the IP by its own view: the next one takes it a slot later."""
    table = Table().settled()
    first, second, third = table.first()
    table.show(second, eligible=False)
    table.kill(first)
    before = table.now
    table.after(T + P + S + 2 * WAY + 2 * MS)
    assert table.owners() == [third]
    (report,) = table.reported(Kind.TOOK_OVER, third, since=before)
    assert S + P <= report.micros <= S + P + 2 * MS


def test_a_hello_of_the_owner_ends_the_claim() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.cut.add((first, second))
    table.after(T - 20 * MS)
    while not table.reported(Kind.CLAIM_STARTED, second, since=1_500 * MS):
        table.after(2 * MS)
    table.cut.clear()
    table.after(SECOND)
    assert table.owners() == [first]
    assert table.reported(Kind.CLAIM_LOST, second)


def test_a_witness_with_a_newer_hello_ends_the_claim_and_an_equal_one_does_not() -> None:
    """One node misses the owner's hellos, and the probes' answers: the third node has heard it since."""
    table = Table().settled()
    first, second, third = table.first()
    table.cut |= {(first, second), (second, first)}
    table.after(2 * SECOND)
    assert table.owners() == [first]
    assert table.messages(Witness, third)
    assert table.reported(Kind.WITNESSED, second)
    said = len(table.messages(Witness))
    table.kill(first)
    table.after(T + P + 3 * S)
    assert table.owners() == [second]
    assert len(table.messages(Witness)) - said <= 2


def test_of_two_claims_only_the_better_one_ends() -> None:
    """The views disagree about who is first, so that both begin at once."""
    table = Table().settled()
    first, second, third = table.first()
    table.show(third, scores={third: 5})
    table.kill(first)
    table.after(T + P + 2 * S)
    assert len(table.reported(Kind.CLAIM_STARTED, since=3 * SECOND)) == 2
    assert len(table.owners()) == 1
    assert {second, third} >= set(table.owners())


def test_a_claim_is_dropped_when_the_view_takes_the_right_to_it() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.kill(first)
    while not table.reported(Kind.CLAIM_STARTED, second, since=3 * SECOND):
        table.after(MS)
    table.show(second, eligible=False)
    table.after(3 * (P + S))
    assert table.owners() == [third]
    assert "no longer eligible" in {report.detail for report in table.reported(Kind.CLAIM_LOST, second)}


def test_a_claim_whose_end_comes_late_starts_again() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.kill(third)
    table.kill(first)
    while not table.reported(Kind.CLAIM_STARTED, second, since=3 * SECOND):
        table.after(MS)
    table.after(70 * MS)
    table.stop(second)
    table.after(80 * MS)
    table.wake(second)
    assert table.reported(Kind.CLAIM_LATE, second)
    assert table.owners() == []
    table.after(P + 5 * MS)
    assert table.owners() == [second]


def test_a_lone_node_claims_only_while_its_gateway_answers() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.gateway_answers = False
    table.kill(first)
    table.kill(third)
    table.after(2 * SECOND)
    assert table.owners() == []
    assert table.reported(Kind.CLAIM_ALONE, second)
    table.gateway_answers = True
    table.after(2 * (P + SETTINGS.hello))
    assert table.owners() == [second]


@pytest.mark.parametrize("deaf", [0, 1])
def test_who_hears_nothing_any_more_is_not_alone_because_no_lease_but_its_own_is_left(deaf: int) -> None:
    table = Table().settled()
    name = table.first()[deaf]
    table.feed(name, ViewChanged(table.view(name, members=[name])))
    table.cut |= {(other, name) for other in (*table.machines, "gateway", "client") if other != name}
    began = table.now
    table.after(3 * SECOND)
    assert not table.reported(Kind.TOOK_OVER, name, since=began)
    assert len(table.owners()) == (2 if deaf == 0 else 1), "an owner keeps it, and says that it is isolated"
    assert list(table.hellos(name))[-1].isolated


def test_who_was_left_alone_with_a_goodbye_needs_no_gateway() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.gateway_answers = False
    for name in (first, third):
        table.feed(name, DrainRequested(leave=True))
        table.after(2 * SECOND)
        table.kill(name)
    assert table.owners() == [second]
    table.feed(second, ViewChanged(table.view(second, members=[second], eligible=False)))
    table.after(SECOND)
    assert table.owners() == []
    table.feed(second, ViewChanged(table.view(second, members=[second])))
    table.after(3 * SECOND)
    assert table.owners() == [second]


def test_a_foreign_host_that_has_the_ip_stops_the_claim_and_is_reported() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    mac = b"\x02\0\0\0\0\x66"
    table.foreign[VIP] = mac
    table.kill(first)
    table.after(SECOND)
    assert table.owners() == []
    assert {report.mac for report in table.reported(Kind.ADDRESS_CONFLICT, second)} == {mac}
    table.foreign.clear()
    table.after(SETTINGS.foreign + SECOND)
    assert len(table.owners()) == 1


def test_a_kernel_of_the_cluster_that_answers_is_ignored_and_reported() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.kernels.add(third)
    table.kill(first)
    table.after(T + P + 2 * WAY + 5 * MS)
    assert table.owners() == [second]
    assert table.reported(Kind.KERNEL_ANSWERS, second)


def test_the_kernel_of_a_node_without_a_speaker_is_recognised_by_the_node_s_own_address() -> None:
    """Nobody tells its MAC: all nodes are asked for theirs, once, and the claims are made again."""
    other = address("203.0.113.2")
    table = Table(vips=(VIP, other))
    own, mac = bytes((192, 0, 2, 99)), b"\x02\0\0\0\0\x77"
    table.node_addresses[own] = "bare"
    table.foreign |= {VIP: mac, other: mac, own: mac}
    table.settled()
    assert len(table.owners()) == len(table.owners(other)) == 1
    assert {report.node for report in table.reported(Kind.KERNEL_ANSWERS)} == {"bare"}
    assert not table.reported(Kind.ADDRESS_CONFLICT)
    asked = [arp.decode(data).target_ip for data in table.sent if data[12:14] == b"\x08\x06"]
    assert asked.count(own) <= len(table.machines)


def test_a_foreign_host_is_no_node_even_where_all_nodes_were_asked() -> None:
    table = Table()
    table.node_addresses[bytes((192, 0, 2, 99))] = "bare"
    table.foreign[VIP] = b"\x02\0\0\0\0\x66"
    table.show()
    table.after(10 * SECOND)
    assert table.owners() == []
    assert table.reported(Kind.ADDRESS_CONFLICT)


def test_an_owner_whose_hellos_are_filtered_is_found_by_its_mark() -> None:
    table = Table().settled()
    first, *others = table.first()
    table.deaf_to_hellos |= {(first, other) for other in others} | {(other, first) for other in others}
    table.after(4 * SECOND)
    assert table.owners() == [first]
    assert "a speaker answers for it" in {report.detail for report in table.reported(Kind.CLAIM_LOST)}


def test_a_peer_that_was_never_heard_is_not_silent_until_its_lease_has_expired() -> None:
    table = Table(("a", "b"))
    first, second = table.first()
    table.kill(first)
    table.show(second)
    table.after(3 * SECOND)
    assert table.owners() == []
    table.feed(second, ViewChanged(table.view(second, members=[second])))
    table.after(SECOND)
    assert table.owners() == [second]


def test_a_claim_of_an_isolated_peer_stops_nobody() -> None:
    """A node with a dead receive path claims again and again; it must not keep the others from it."""
    table = Table().settled()
    first, second, third = table.first()
    table.cut |= {(each, second) for each in (first, third, "gateway", "client")}
    table.after(2 * SECOND)
    table.kill(first)
    table.after(T + P + S + SECOND // 10)
    assert table.owners() == [third]
    assert table.messages(Claim, second)

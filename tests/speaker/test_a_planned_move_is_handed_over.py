"""Rule 9: the successor is named and ready before the owner stops."""

from __future__ import annotations

import msgspec

from strictarp.hello.messages import Accept, Claim, Offer, Release, State
from strictarp.speaker.actions import Kind, Taking
from strictarp.speaker.events import DrainEnded, DrainRequested, MoveRequested, ViewChanged
from strictarp.speaker.settings import MS, SECOND
from support.speakers import SETTINGS, VIP, WAY, Table, address

SECOND_VIP = address("203.0.113.2")


def _handed_over(table: Table, since: int) -> tuple[int, int]:
    """When the old owner stopped and when the new one began."""
    (given,) = [at for at, _, report in table.reports if report.kind is Kind.HANDED_OVER and at >= since]
    (taken,) = [at for at, _, report in table.reports if report.kind is Kind.TOOK_OVER and at >= since]
    return given, taken


def test_a_move_goes_to_the_node_that_was_named_with_the_gap_of_one_way() -> None:
    table = Table().settled()
    first, _, third = table.first()
    before = table.now
    table.feed(first, MoveRequested(VIP, third))
    table.after(20 * MS)
    given, taken = _handed_over(table, before)
    assert taken - given == WAY
    assert table.owners() == [third]
    assert not table.messages(Claim, since=before)


def test_a_move_without_a_name_goes_to_the_next_of_the_order() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.feed(first, MoveRequested(VIP))
    table.after(20 * MS)
    assert table.owners() == [second]


def test_the_target_answers_only_after_release() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.feed(first, MoveRequested(VIP, second))
    table.after(2 * WAY - 1)
    assert table.messages(Accept, second)
    assert table.owners() == [first]


def test_an_offer_is_repeated_and_goes_to_the_next_candidate_when_nobody_accepts() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.cut.add((first, second))
    before = table.now
    table.feed(first, MoveRequested(VIP))
    table.after(SETTINGS.offer * 3 + 2 * WAY + MS)
    assert len(table.messages(Offer, first, since=before)) == 4
    assert table.owners() == [third]


def test_an_owner_that_finds_nobody_keeps_the_ip() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.cut |= {(first, second), (first, third)}
    table.feed(first, MoveRequested(VIP))
    table.after(SETTINGS.offer * 7)
    assert table.owners() == [first]
    assert table.reported(Kind.NOT_TAKEN, first)


def test_an_offer_whose_reason_is_gone_is_called_off_before_it_is_accepted() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.after(SETTINGS.season)
    for beginning, end in (
        (lambda: table.show(scores={second: 9}), table.show),
        (lambda: table.show(first, eligible=False), table.show),
        (
            lambda: table.feed(first, DrainRequested(leave=False)),
            lambda: table.feed(first, DrainEnded()),
        ),
    ):
        before = table.now
        beginning()
        table.after(WAY)
        end()
        table.after(SETTINGS.offer * 4)
        assert table.messages(Offer, first, since=before)
        assert table.messages(Accept, second, since=before)
        assert not table.messages(Release, since=before)
        assert table.owners() == [first]


def test_a_release_that_is_lost_is_said_again() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    before = table.now
    table.feed(first, MoveRequested(VIP, second))
    table.after(2 * WAY - 1)
    table.cut.add((first, second))
    table.after(4 * MS)
    assert table.owners() == []
    table.cut.clear()
    table.after(12 * MS)
    assert table.owners() == [second]
    assert len(table.messages(Release, first, since=before)) >= 2


def test_a_bystander_that_misses_the_release_leaves_room_for_its_repetition() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.feed(first, MoveRequested(VIP, second))
    table.after(SETTINGS.penalty + SECOND)
    before = table.now
    table.loses[first] = Release
    table.feed(second, MoveRequested(VIP, third))
    table.after(2 * WAY - 1)
    table.cut.add((second, third))
    table.after(30 * MS)
    table.cut.clear()
    table.after(20 * MS)
    assert not table.messages(Claim, since=before)
    assert table.owners() == [third]


def test_who_took_an_ip_and_is_stopped_before_a_hello_tells_is_waited_for_as_any_owner() -> None:
    table = Table(vips=[VIP, SECOND_VIP]).settled()
    (owner,) = table.owners()
    assert table.owners(SECOND_VIP) == [owner]
    _, heir, third = [owner, *(name for name in table.first() if name != owner)]
    for vip in (VIP, SECOND_VIP):
        table.feed(owner, MoveRequested(vip, heir))
    table.after(10 * MS)
    assert table.owners() == table.owners(SECOND_VIP) == [heir]
    assert [len(hello.entries) for hello in table.hellos(heir)][-1] == 1  # the next may follow in 20 ms
    table.stop(heir)
    since = table.now
    table.after(SETTINGS.silence - 20 * MS)
    assert not table.messages(Claim, since=since)
    table.after(SETTINGS.claim + 4 * SETTINGS.slot)
    for vip in (VIP, SECOND_VIP):
        (successor,) = {*table.owners(vip)} - {heir}
        assert successor in (owner, third)


def test_an_heir_that_has_not_taken_the_ip_is_not_waited_for() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.feed(first, MoveRequested(VIP, second))
    table.after(2 * WAY - 1)
    table.cut.add((first, second))  # no RELEASE gets there
    began = table.now
    table.after(3 * SETTINGS.hello + SETTINGS.claim + SETTINGS.slot)
    assert len(table.owners()) == 1
    assert table.now - began < SETTINGS.silence + 2 * SETTINGS.claim


def test_what_goes_without_any_release_heard_is_claimed_all_the_same() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.loses |= {second: Release, third: Release}
    table.feed(first, MoveRequested(VIP, second))
    table.after(300 * MS)
    assert len(table.owners()) == 1
    assert table.owners() != [first]


def test_an_offer_is_taken_by_who_has_seen_higher_epochs_of_claims_that_came_to_nothing() -> None:
    table = Table().settled()
    first, second, third = table.first()
    # The third hears neither owner nor gateway: it claims without end, each time with a higher epoch.
    table.cut |= {(name, third) for name in (first, second, "gateway")} | {(third, first)}
    table.after(3 * SECOND)
    assert len({message.entries[0].epoch for message in table.messages(Claim, third)}) > 3
    table.cut.clear()
    table.cut |= {(third, first), (third, second)}
    table.after(SECOND)
    before = table.now
    table.feed(first, MoveRequested(VIP, second))
    table.after(20 * MS)
    _handed_over(table, before)
    assert table.owners() == [second]
    assert table.machines[second].owned[VIP] > table.messages(Offer, first, since=before)[0].epoch


def test_a_release_that_comes_too_late_leads_to_an_ordinary_claim() -> None:
    table = Table().settled()
    first, second, third = table.first()
    before = table.now
    table.feed(first, MoveRequested(VIP, second))
    table.after(2 * WAY - 1)
    table.cut |= {(first, second), (first, third)}
    table.after(SETTINGS.accept + 20 * MS)
    assert table.owners() == []
    table.cut.clear()
    table.after(SECOND)
    assert len(table.owners()) == 1
    assert table.messages(Claim, since=before)


def test_an_offer_that_a_stopped_target_reads_late_does_not_prolong_its_acceptance() -> None:
    """OFFER, said again, and RELEASE waited in its socket; by now others may claim what was released."""
    table = Table().settled()
    first, second, _ = table.first()
    table.cut.add((second, first))
    table.feed(first, MoveRequested(VIP, second))
    table.after(2 * WAY)
    table.cut.clear()
    table.stop(second)
    table.after(SETTINGS.offer)
    accept = [data for data in table.sent if data[12:14] == b"\x88\xb5" and data[19] == 5]
    table.inject(first, accept[0])
    assert table.owners() == []
    table.after(SETTINGS.accept + 5 * MS)
    before = table.now
    table.wake(second)
    assert len(table.messages(Offer, first)) == 2
    assert not table.reported(Kind.TOOK_OVER, second, since=before)


def test_a_giver_that_was_stopped_reads_an_acceptance_late_and_offers_anew() -> None:
    """The target's time is over: to stop and say RELEASE now would leave the IP to nobody for a claim."""
    table = Table().settled()
    first, second, _ = table.first()
    before = table.now
    table.feed(first, MoveRequested(VIP, second))
    table.after(WAY)
    table.stop(first)
    table.after(SETTINGS.accept + 20 * MS)
    woken = table.now
    table.wake(first)
    assert table.owners() == [first]
    table.after(10 * MS)
    assert table.owners() == [second]
    given, taken = _handed_over(table, woken)
    assert taken - given == WAY
    assert not table.messages(Claim, since=before)


def test_acceptances_that_always_come_late_end_the_offer() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.cut |= {(second, first), (third, first)}
    before = table.now
    table.feed(first, MoveRequested(VIP, second))
    for _ in range(2):
        table.after(2 * MS)
        accept = next(data for data in reversed(table.sent) if data[12:14] == b"\x88\xb5" and data[19] == 5)
        table.stop(first)
        table.after(SETTINGS.accept)
        table.inject(first, accept)
        table.wake(first)
    table.after(SETTINGS.offer * 4)
    assert table.owners() == [first]
    assert not table.reported(Kind.HANDED_OVER, since=before)
    assert len(table.messages(Offer, first, since=before)) <= 2 * SETTINGS.offers_each


def test_a_node_that_is_not_seasoned_accepts_nothing() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.kill(second)
    table.after(SECOND)
    table.start(second, seed="again", view=table.view(second))
    table.after(SECOND)
    before = table.now
    table.feed(first, MoveRequested(VIP, second))
    table.after(100 * MS)
    assert table.owners() == [first]
    assert not table.messages(Accept, since=before)


def test_a_node_of_higher_score_gets_the_ip_once_it_is_seasoned() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.kill(second)
    table.after(SECOND)
    table.start(second, seed="again")
    table.show(scores={second: 7})
    table.after(SECOND)
    assert table.owners() == [first]
    table.after(2 * SECOND)
    assert table.owners() == [second]


def test_nodes_that_see_different_scores_do_not_hand_an_ip_to_and_fro() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.show(first, third, scores={second: 5})
    table.show(second, scores={first: 5})
    before = table.now
    table.after(SETTINGS.season - 100 * MS)
    assert len(table.reported(Kind.HANDED_OVER, since=before)) == 1
    assert table.owners() == [second]


def test_what_was_offered_and_had_to_be_claimed_is_not_given_back_at_once() -> None:
    table = Table(("a", "b")).settled()
    first, second = table.first()
    table.show(second, scores={first: 5})
    table.loses[second] = Release
    table.feed(first, MoveRequested(VIP, second))
    table.after(SETTINGS.season - SECOND)
    assert table.owners() == [second]
    assert table.reported(Kind.TOOK_OVER, second)[-1].detail == Taking.RELEASED.value
    table.after(2 * SECOND)
    assert table.owners() == [first]


def test_a_drain_hands_everything_over_and_the_node_owns_nothing_until_it_ends() -> None:
    table = Table(vips=[VIP, bytes((203, 0, 113, 2)), bytes((203, 0, 113, 3))]).settled()
    table.feed("a", DrainRequested(leave=False))
    table.after(100 * MS)
    assert not table.owned["a"]
    assert all(len(table.owners(vip)) == 1 for vip in table.vips)
    assert list(table.hellos("a"))[-1].state is State.DRAINING
    table.feed("a", DrainEnded())
    table.after(SETTINGS.season + SECOND)
    assert list(table.hellos("a"))[-1].state is State.SEASONED


def test_a_node_that_leaves_says_so_and_is_not_waited_for() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.feed(second, DrainRequested())
    table.after(10 * MS)
    assert list(table.hellos(second))[-1].state is State.LEAVING
    before = table.now
    table.kill(second)
    table.kill(first)
    table.after(SECOND)
    assert table.owners() == [third]
    (report,) = table.reported(Kind.TOOK_OVER, third, since=before)
    assert report.micros <= SETTINGS.claim + 2 * MS


def test_a_node_that_is_told_to_leave_takes_what_it_has_accepted_and_hands_it_on() -> None:
    """Its giver stops when it hears the ACCEPT: nobody else would answer before a claim."""
    table = Table().settled()
    first, second, _ = table.first()
    before = table.now
    table.feed(first, MoveRequested(VIP, second))
    table.after(2 * WAY - 1)
    assert table.messages(Accept, second)
    table.feed(second, DrainRequested())
    table.after(20 * MS)
    assert table.reported(Kind.TOOK_OVER, second, since=before)
    assert table.owners() not in ([], [second])
    table.after(200 * MS)
    assert not table.messages(Claim, since=before)
    assert list(table.hellos(second))[-1].state is State.LEAVING


def test_a_node_that_leaves_waits_for_what_it_has_accepted_no_longer_than_it_may_take_it() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.feed(first, MoveRequested(VIP, second))
    table.after(2 * WAY - 1)
    table.cut |= {(first, second), (second, first)}
    table.feed(second, DrainRequested())
    table.after(SETTINGS.accept - 5 * MS)
    assert list(table.hellos(second))[-1].state is State.DRAINING
    table.after(10 * MS)
    assert list(table.hellos(second))[-1].state is State.LEAVING


def test_epochs_are_known_of_ips_that_were_of_no_interest_when_they_were_heard() -> None:
    """Else a claim of an IP whose owner is isolated would begin below it and yield to it."""
    table = Table().settled()
    first, second, third = table.first()
    table.show(first, eligible=False)
    table.after(20 * MS)
    assert table.owners() == [second]
    epoch = table.machines[second].owned[VIP]
    view = table.view(third)
    table.feed(third, ViewChanged(msgspec.structs.replace(view, vips={})))
    table.after(SECOND)
    table.kill(second)
    table.after(SECOND)
    before = table.now
    table.feed(third, ViewChanged(view))
    table.after(2 * SECOND)
    assert table.owners() == [third]
    assert {
        entry.epoch for claim in table.messages(Claim, third, since=before) for entry in claim.entries
    } == {epoch + 1}


def test_a_draining_owner_that_nobody_relieves_answers_until_its_grace_is_over() -> None:
    table = Table(("a",)).settled()
    table.feed("a", DrainRequested(leave=False))
    table.after(SETTINGS.drain_grace - 100 * MS)
    assert table.owners() == ["a"]
    table.after(200 * MS)
    assert table.owners() == []


def test_an_owner_that_is_no_longer_eligible_gives_the_ip_to_another() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.show(first, eligible=False)
    table.after(20 * MS)
    assert table.owners() == [second]


def test_an_owner_that_is_no_longer_eligible_and_finds_nobody_stops() -> None:
    table = Table(("a", "b")).settled()
    first, second = table.first()
    table.kill(second)
    table.after(SECOND)
    table.show(first, eligible=False)
    table.after(SECOND)
    assert table.owners() == []
    assert table.reported(Kind.RELEASED, first)


def test_a_target_refuses_an_ip_that_another_live_peer_lists_too() -> None:
    """Two owners that do not hear each other, but the target hears both: it would leave one of them."""
    table = Table().settled()
    first, second, third = table.first()
    table.separate([first], [second, third, "gateway", "client"])
    table.after(SECOND)
    assert set(table.owners()) == {first, second}
    table.cut = {(first, second), (second, first)}
    table.after(200 * MS)
    before = table.now
    table.feed(second, MoveRequested(VIP, third))
    table.after(100 * MS)
    assert table.messages(Offer, second, since=before)
    assert not table.messages(Accept, third, since=before)


def _restarted(name: str, table: Table) -> None:
    """The process drains, is gone, and another one is there a moment later."""
    table.feed(name, DrainRequested(leave=True))
    table.after(SETTINGS.drain_grace + SETTINGS.hello)
    table.kill(name)
    table.start(name, seed=f"again at {table.now}", view=table.view(name))


def test_an_owner_that_must_go_hands_over_to_a_joining_node_where_nobody_is_seasoned() -> None:
    table = Table(("a", "b"), settings=msgspec.structs.replace(SETTINGS, season=60 * SECOND)).settled()
    table.after(60 * SECOND)
    (owner,) = table.owners()
    (other,) = {"a", "b"} - {owner}
    _restarted(other, table)
    before = table.now
    table.after(SETTINGS.settle // 2)
    table.feed(owner, DrainRequested(leave=True))
    table.after(SETTINGS.settle // 4)
    assert table.owners() == [owner], "it keeps the IP while nobody has listened long enough"
    table.after(SETTINGS.settle // 2)
    assert table.owners() == [other]
    assert list(table.hellos(other))[-1].state is State.JOINING
    assert not table.messages(Claim, since=before)


def test_a_joining_node_takes_no_offer_while_a_seasoned_node_lives() -> None:
    table = Table(settings=msgspec.structs.replace(SETTINGS, season=60 * SECOND)).settled()
    table.after(60 * SECOND)
    (owner,) = table.owners()
    first, second = (name for name in table.first() if name != owner)
    _restarted(first, table)
    table.after(2 * SETTINGS.settle)
    table.feed(owner, DrainRequested(leave=True))
    table.after(100 * MS)
    assert table.owners() == [second]


def test_an_owner_that_may_stay_offers_nothing_to_a_joining_node() -> None:
    table = Table(("a", "b"), settings=msgspec.structs.replace(SETTINGS, season=60 * SECOND)).settled()
    table.after(60 * SECOND)
    (owner,) = table.owners()
    (other,) = {"a", "b"} - {owner}
    _restarted(other, table)
    table.after(2 * SETTINGS.settle)
    table.feed(owner, MoveRequested(VIP, other))
    table.after(100 * MS)
    assert not table.messages(Offer)
    assert table.owners() == [owner]


def _with_a_deaf_third() -> Table:
    """The third node hears no hello any more; it claims again and again, with a higher epoch each time."""
    table = Table().settled()
    first, second, third = table.first()
    table.deaf_to_hellos |= {(first, third), (second, third)}
    table.after(SETTINGS.silence)
    return table


def test_a_claim_that_names_the_epoch_of_an_offer_has_it_offered_anew() -> None:
    """Its target has heard that claim as well, and would not take what is released with this epoch."""
    table = _with_a_deaf_third()
    first, second, third = table.first()
    before = table.now
    table.after(SETTINGS.claim)
    claimed = next(
        at
        for at, name, report in table.reports
        if (name, report.kind) == (third, Kind.CLAIM_STARTED) and at >= before
    )
    table = _with_a_deaf_third()
    table.after(claimed - WAY // 2 - table.now)
    before = table.now
    table.feed(first, MoveRequested(VIP, second))
    table.after(10 * WAY)
    given, taken = _handed_over(table, before)
    assert taken - given == WAY
    assert table.owners() == [second]
    assert len(table.messages(Offer, first, since=before)) == 2

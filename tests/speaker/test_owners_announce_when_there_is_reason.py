"""Announcements: a burst at takeover, a refresh by option, nothing because objects were read again."""

from __future__ import annotations

import itertools

import msgspec

from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.speaker.actions import Kind, Taking
from strictarp.speaker.events import DrainRequested, MoveRequested
from strictarp.speaker.settings import MS, SECOND
from strictarp.speaker.view import Member
from support.speakers import SETTINGS, VIP, VIP6, Table, address

BURST = 6 * SECOND
PERIOD = 20 * SECOND


def announced(table: Table, since: int) -> list[bytes]:
    """The VIPs announced to all in frames sent after the first `since`; ARP's two forms count once."""
    found = []
    for data in table.sent[since:]:
        if data[:6] == arp.BROADCAST_MAC and data[12:14] == b"\x08\x06":
            frame = arp.decode(data)
            if frame.is_gratuitous and frame.operation == arp.REQUEST:
                found.append(frame.target_ip)
        elif data[:6] == ndp.ALL_NODES_MAC and not ndp.decode(data).solicited:
            found.append(ndp.decode(data).target)
    return found


def test_nothing_is_announced_because_objects_are_read_again_or_others_come_and_go() -> None:
    table = Table(vips=(VIP, VIP6)).settled()
    table.after(BURST)
    start = len(table.sent)
    for name in table.machines:
        view = table.view(name)
        table.feed(name, _view_changed(view, api_alive=False))
        table.feed(name, _view_changed(view, members={**view.members, "d": Member("d")}))
    table.show()
    table.after(60 * SECOND)
    assert announced(table, start) == []


def _view_changed(view: object, **fields: object) -> object:
    from strictarp.speaker.events import ViewChanged

    return ViewChanged(msgspec.structs.replace(view, **fields))


def test_a_refresh_announces_each_own_address_once_a_period_spread_over_it() -> None:
    vips = [address(f"203.0.113.{number}") for number in range(1, 5)] + [VIP6]
    table = Table(("a",), vips=vips, settings=msgspec.structs.replace(SETTINGS, refresh=PERIOD))
    table.settled()
    table.after(PERIOD)  # the first one begins; the bursts are over
    start, sent = table.now, len(table.sent)
    table.after(3 * PERIOD)
    found = announced(table, sent)
    assert sorted(found) == sorted(vips * 3)
    times = [at for at, _, _ in table.answers if at > start]
    assert max(b - a for a, b in itertools.pairwise(times)) <= PERIOD // len(vips) + SECOND


def test_nothing_is_announced_in_the_moment_in_which_it_is_given_up() -> None:
    """A busy owner finds that an announcement is due, and that nobody takes what it offers."""
    table = Table(("a", "b")).settled()
    first, second = table.first()
    table.feed(first, MoveRequested(VIP, second))
    table.after(20 * MS)
    (taken,) = [at for at, name, report in table.reports if (name, report.kind) == (second, Kind.TOOK_OVER)]
    due = taken + next(offset for offset in SETTINGS.announce if offset >= SECOND)
    table.after(due + MS - SETTINGS.offers_each * SETTINGS.offer - table.now)
    table.cut |= {(first, second), (second, first)}
    table.show(second, eligible=False)
    table.after(due - MS - table.now)
    table.stop(second)
    table.after(3 * MS)
    start = len(table.sent)
    assert table.owners() == [second]
    table.wake(second)
    assert table.owners() == []
    assert announced(table, start) == []


def test_who_owns_no_more_refreshes_no_more() -> None:
    table = Table(settings=msgspec.structs.replace(SETTINGS, refresh=PERIOD)).settled()
    (owner,) = table.owners()
    table.feed(owner, DrainRequested(leave=False))
    table.after(3 * SECOND)
    start = table.now
    table.after(2 * PERIOD)
    assert {name for at, name, _ in table.answers if at > start} == set(table.owners()) != {owner}


def test_a_takeover_names_its_cause_and_how_long_nobody_owned_it() -> None:
    table = Table().settled()
    first, second, third = table.first()
    (report,) = table.reported(Kind.TOOK_OVER)
    assert report.detail == Taking.NEW
    table.kill(first)
    table.after(SECOND)
    (report,) = table.reported(Kind.TOOK_OVER, second)
    assert (report.detail, report.node) == (Taking.SILENCE, first)
    assert 90 * MS <= report.micros <= 200 * MS, "since its silence was noticed"
    table.feed(second, DrainRequested(leave=True))
    table.after(SECOND)
    (report,) = table.reported(Kind.TOOK_OVER, third)
    assert (report.detail, report.node) == (Taking.HANDED_OVER, second)


def test_lost_hellos_are_counted_by_peer() -> None:
    table = Table(("a", "b")).settled()
    table.after(2 * SECOND)
    before = {sight.node: sight for sight in table.machines["b"].sights}["a"]
    assert before.live
    assert before.hellos > 40
    assert before.lost == 0
    table.cut.add(("a", "b"))
    table.after(250 * MS)
    table.cut.clear()
    table.after(SECOND)
    (sight,) = table.machines["b"].sights
    assert sight.lost in (2, 3)
    (other,) = table.machines["a"].sights
    assert other.lost == 0, "it heard all of them"
    table.kill("a")
    table.after(2 * SECOND)
    (sight,) = table.machines["b"].sights
    assert not sight.live


def test_candidates_that_were_never_heard_are_named() -> None:
    table = Table(("a", "b", "c"))
    table.separate("a", "b")
    table.show()
    assert table.machines["a"].unheard == [], "it has not listened long enough"
    table.after(2 * SECOND)
    assert table.machines["a"].unheard == ["b"]
    assert table.machines["c"].unheard == []
    table.cut.clear()
    table.after(SECOND)
    assert table.machines["a"].unheard == []

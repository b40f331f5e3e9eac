"""What the judge says of moves, by traces written by hand."""

from __future__ import annotations

from typing import Any

from simulation.answerers import Answerers
from simulation.bounds import Bounds
from simulation.moves import Moves
from simulation.picture import Disturbances, Picture
from simulation.schedule import QUICK
from simulation.trace import Conditions, Entry, Member, What
from strictarp.hello.messages import State
from strictarp.speaker.actions import Kind, Report
from strictarp.speaker.settings import MS, SECOND
from strictarp.speaker.view import Candidate, View, Vip

VIP = bytes((203, 0, 113, 1))
OTHER = bytes((203, 0, 113, 2))
_CANDIDATES = (Candidate("a"), Candidate("b"))
_VIEW = View(
    {
        VIP: Vip(VIP, _CANDIDATES, eligible=True),
        OTHER: Vip(OTHER, _CANDIDATES, eligible=True, beside=VIP),
    },
    {},
)


class Judged:
    """Nodes that see the same view, with two addresses of one Service; `a` owns the first, the VIP.
    slowest: the largest one-way delay.
    """

    def __init__(self, *, slowest: int = MS, names: str = "ab") -> None:
        members = [Member(name, name, 0, port, 0) for port, name in enumerate(names)]
        self.picture = Picture(members, QUICK, {"client": 9})
        bounds = Bounds(QUICK, lag=MS, slowest=slowest, nodes=len(names), vips=1)
        self.moves = Moves(self.picture, Disturbances(QUICK), bounds)
        self.answerers = Answerers(self.picture, bounds)
        self.sees(0, What.LINKS, info=Conditions(slowest=slowest))
        for name in names:
            self.sees(0, What.STARTED, name)
            self.sees(0, What.SEES, name, info=_VIEW)
        self.hello(0, "a", State.JOINING)
        self.sees(MS, What.OWNS, "a", VIP, 1)

    def sees(self, at: int, what: What, who: str = "", address: bytes = b"", info: Any = None) -> None:  # noqa: ANN401
        """The judge is shown an entry."""
        entry = Entry(at, what, who, address, info)
        for check in (self.answerers, self.moves):
            check.before(entry)
        self.picture.apply(entry)
        for check in (self.answerers, self.moves):
            check.after(entry)

    def hello(self, at: int, who: str, state: State) -> None:
        """A hello of incarnation 1."""
        self.sees(at, What.HELLO, who, info=(state, False, 1, at))

    def hands_over(self, at: int, giver: str = "a", to: str = "b") -> list[str]:
        """The giver hands the VIP over; the promises that are broken by then."""
        self.sees(at, What.DISOWNS, giver, VIP)
        self.sees(at, What.REPORTS, giver, info=Report(Kind.HANDED_OVER, VIP, to))
        return self.broken()

    def broken(self) -> list[str]:
        """The promises that have been broken."""
        return [violation.promise for violation in (*self.answerers.found, *self.moves.found)]


def test_what_was_ordered_of_a_stopped_joining_node_it_does_after_its_hello_of_waking_up() -> None:
    judged = Judged()
    judged.sees(10 * MS, What.STOPPED, "a")
    judged.sees(20 * MS, What.PLAN, "a", info="drain")
    judged.sees(300 * MS, What.WOKE, "a")
    judged.hello(300 * MS, "a", State.JOINING)
    judged.hello(300 * MS, "a", State.DRAINING)
    assert not judged.hands_over(305 * MS)


def test_a_drain_that_is_over_is_no_reason_any_more() -> None:
    judged = Judged()
    judged.sees(20 * MS, What.PLAN, "a", info="drain")
    judged.hello(20 * MS, "a", State.DRAINING)
    judged.hello(120 * MS, "a", State.JOINING)
    assert judged.hands_over(130 * MS) == ["I3"]


def test_a_release_that_became_slower_than_its_offer_is_not_promised_to_be_in_time() -> None:
    for slowest, changed, broken in (
        (27 * MS, SECOND - 10 * MS, ["I4"]),
        (29 * MS, SECOND - 10 * MS, []),
        (29 * MS, SECOND - 70 * MS, ["I4"]),
    ):
        judged = Judged(slowest=slowest)
        judged.sees(changed, What.LINKS, info=Conditions(slowest=slowest))
        judged.sees(SECOND, What.PLAN, "a", VIP, "move")
        assert not judged.hands_over(SECOND)
        judged.hello(SECOND + 90 * MS, "b", State.JOINING)
        assert judged.broken() == broken


def test_a_claim_before_a_release_may_end_what_was_accepted() -> None:
    for claimed, broken in ((SECOND - 5 * MS, []), (100 * MS, ["I4"])):
        judged = Judged()
        judged.sees(claimed, What.REPORTS, "b", info=Report(Kind.CLAIM_STARTED, VIP))
        judged.sees(SECOND, What.PLAN, "a", VIP, "move")
        assert not judged.hands_over(SECOND)
        judged.hello(SECOND + 90 * MS, "b", State.JOINING)
        assert judged.broken() == broken


def test_addresses_of_a_service_are_together_once_a_refused_move_was_due_again() -> None:
    for moved, broken in ((4 * SECOND, []), (SECOND, ["together"])):
        judged = Judged()
        judged.sees(2 * MS, What.OWNS, "a", OTHER, 1)
        for name in "ba":
            judged.hello(10 * MS, name, State.SEASONED)
        judged.sees(moved, What.DISOWNS, "a", VIP)
        judged.sees(moved + MS, What.OWNS, "b", VIP, 2)
        judged.moves.end(9 * SECOND)
        assert judged.broken() == broken


def test_who_accepted_before_it_was_to_leave_may_take_and_hand_on() -> None:
    for drained, broken in ((SECOND - 20 * MS, []), (SECOND - 100 * MS, ["I3"])):
        judged = Judged()
        judged.sees(500 * MS, What.PLAN, "a", VIP, "move")
        judged.sees(drained, What.PLAN, "b", info="drain")
        assert not judged.hands_over(SECOND)
        judged.sees(SECOND, What.OWNS, "b", VIP, 2)
        judged.hands_over(SECOND + 10 * MS, "b", "a")
        judged.sees(SECOND + 11 * MS, What.OWNS, "a", VIP, 3)
        assert judged.broken() == broken


def test_both_parts_of_a_divided_segment_may_hand_it_over_at_one_moment() -> None:
    judged = Judged(names="abcd")
    apart = frozenset({(x, y) for x in (0, 1) for y in (2, 3)} | {(y, x) for x in (0, 1) for y in (2, 3)})
    judged.sees(100 * MS, What.LINKS, info=Conditions(down=apart, bad=apart, slowest=MS))
    judged.sees(SECOND, What.OWNS, "c", VIP, 2)
    for giver in "ac":
        judged.sees(SECOND, What.PLAN, giver, VIP, "move")
    judged.hands_over(SECOND + 10 * MS, "a", "b")
    judged.hands_over(SECOND + 11 * MS, "c", "d")
    judged.sees(SECOND + 12 * MS, What.OWNS, "b", VIP, 3)
    judged.sees(SECOND + 13 * MS, What.OWNS, "d", VIP, 3)
    assert not judged.broken()


def test_who_takes_over_from_one_of_two_owners_makes_no_second_one() -> None:
    """Those two could not hear each other, which excuses them; their successor hears both."""
    for taken, broken in ((SECOND + 11 * MS, []), (SECOND + 200 * MS, ["I1"])):
        judged = Judged(names="abc")
        for name in "ac":
            judged.hello(SECOND - MS, name, State.SEASONED)
        filtered = frozenset({(0, 2)})
        judged.sees(100 * MS, What.LINKS, info=Conditions(bad=filtered, unclean=True, slowest=MS))
        judged.sees(SECOND, What.OWNS, "c", VIP, 2)
        judged.sees(SECOND, What.PLAN, "a", VIP, "move")
        judged.hands_over(SECOND + 10 * MS)
        judged.sees(taken, What.OWNS, "b", VIP, 3)
        assert judged.broken() == broken


def test_a_move_that_a_claim_hampers_is_the_same_move_when_its_target_claims_instead() -> None:
    for claimed, broken in ((SECOND - 5 * MS, []), (500 * MS, ["I4", "I3"])):
        judged = Judged(names="abc")
        judged.sees(claimed, What.REPORTS, "c", info=Report(Kind.CLAIM_STARTED, VIP))
        judged.sees(SECOND, What.PLAN, "a", VIP, "move")
        judged.hands_over(SECOND + MS)
        judged.sees(SECOND + 40 * MS, What.REPORTS, "b", info=Report(Kind.CLAIM_STARTED, VIP))
        judged.sees(SECOND + 141 * MS, What.OWNS, "b", VIP, 2)
        assert judged.broken() == broken


def test_owners_that_could_not_hear_each_other_may_both_hand_it_to_the_same_node() -> None:
    for healed, broken in ((SECOND - 5 * MS, []), (500 * MS, ["I3"])):
        judged = Judged(names="abc")
        apart = frozenset({(0, 2), (2, 0)})
        judged.sees(100 * MS, What.LINKS, info=Conditions(down=apart, bad=apart, slowest=MS))
        judged.sees(300 * MS, What.OWNS, "c", VIP, 2)
        judged.sees(healed, What.LINKS, info=Conditions(slowest=MS))
        for giver in "ac":
            judged.sees(SECOND, What.PLAN, giver, VIP, "move")
        judged.hands_over(SECOND + MS, "a", "b")
        judged.sees(SECOND + 2 * MS, What.OWNS, "b", VIP, 3)
        judged.sees(SECOND + 3 * MS, What.DISOWNS, "b", VIP)
        judged.hands_over(SECOND + 4 * MS, "c", "b")
        judged.sees(SECOND + 5 * MS, What.OWNS, "b", VIP, 4)
        assert [promise for promise in judged.broken() if promise == "I3"] == broken


def test_a_hampered_move_that_its_release_ended_in_time_counts_as_any_planned_move() -> None:
    judged = Judged()
    judged.sees(SECOND - 5 * MS, What.REPORTS, "b", info=Report(Kind.CLAIM_STARTED, VIP))
    for giver in "ab":
        judged.sees(SECOND, What.PLAN, giver, VIP, "move")
    judged.hands_over(SECOND + MS, "a", "b")
    judged.sees(SECOND + 2 * MS, What.OWNS, "b", VIP, 2)
    assert not judged.broken()
    judged.hands_over(SECOND + 10 * MS, "b", "a")
    judged.sees(SECOND + 11 * MS, What.OWNS, "a", VIP, 3)
    assert judged.broken() == ["I3"]

"""Rule 1: a node that was silent for its lease owns nothing, knows nobody, and is somebody new."""

from __future__ import annotations

import pytest

from strictarp.hello.messages import State
from strictarp.speaker.actions import Answer, DiscardQueued, Kind, Send
from strictarp.speaker.events import Event, FrameReceived, Resumed, TimerDue, ViewChanged
from strictarp.speaker.settings import MS, SECOND
from support.speakers import SETTINGS, VIP, Table, address

L = SETTINGS.silence


def _stopped_owner(micros: int) -> tuple[Table, str]:
    table = Table().settled()
    first = table.first()[0]
    table.stop(first)
    table.after(micros)
    table.stopped.discard(first)
    return table, first


@pytest.mark.parametrize("event", [TimerDue(), FrameReceived(b"\0" * 60), ViewChanged(Table().view("a"))])
def test_any_event_after_the_lease_finds_a_node_that_owns_nothing(event: Event) -> None:
    table, first = _stopped_owner(L + 101 * MS)
    actions = table.machines[first].step(event, table.now)
    assert isinstance(actions[0], DiscardQueued)
    assert not table.machines[first].owned
    assert not any(isinstance(each, Answer) for each in actions)


def test_questions_that_waited_while_it_was_frozen_are_not_answered() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.stop(first)
    for _ in range(8):
        table.ask()
        table.after(100 * MS)
    before = len(table.answers)
    table.wake(first)
    table.after(50 * MS)
    assert first not in {name for _, name, _ in table.answers[before:]}
    assert table.owners() == [second]


def test_it_is_joining_and_another_incarnation_and_its_seasoning_takes_twice_as_long() -> None:
    table, first = _stopped_owner(SECOND)
    table.feed(first, TimerDue())
    assert list(table.hellos(first))[-1].state is State.JOINING
    table.after(SETTINGS.season + SECOND)
    assert list(table.hellos(first))[-1].state is State.JOINING
    table.after(SETTINGS.season)
    assert list(table.hellos(first))[-1].state is State.SEASONED


def test_a_pause_shorter_than_the_lease_changes_nothing() -> None:
    table = Table().settled()
    first = table.first()[0]
    table.stop(first)
    table.after(230 * MS)
    table.wake(first)
    table.after(SECOND)
    assert table.owners() == [first]
    assert not table.reported(Kind.FROZEN)


def test_it_may_not_answer_after_its_lease_even_before_the_next_step() -> None:
    table, first = _stopped_owner(L + 101 * MS)
    assert not table.machines[first].may_answer(table.now)
    assert table.machines[first].answer(b"\0" * 60, table.now) is None


def test_a_process_stopped_between_a_step_and_its_frames_says_none_of_them_and_starts_over() -> None:
    """Its hello counts as said in the machine, but nobody has heard it."""
    table = Table().settled()
    first = table.first()[0]
    machine = table.machines[first]
    due, actions = 0, machine.step(TimerDue(), table.now)
    while not any(isinstance(each, Send) for each in actions):
        due = machine.next_deadline() or 0
        table.clock.run(due - 1)
        actions = machine.step(TimerDue(), due)
    assert machine.may_answer(due + SETTINGS.stall)
    assert not machine.may_answer(due + SETTINGS.stall + 1)
    after = machine.step(FrameReceived(b"\0" * 60), due + SETTINGS.stall + 2)
    assert isinstance(after[0], DiscardQueued)
    assert not machine.owned


def test_a_resume_that_the_clock_does_not_show_starts_it_over() -> None:
    table = Table().settled()
    first = table.first()[0]
    table.feed(first, Resumed())
    assert not table.machines[first].owned
    assert table.reported(Kind.FROZEN, first)


def test_what_was_free_when_it_was_frozen_it_claims_when_it_has_settled() -> None:
    """Nothing else happens to the IP that would make it look again."""
    table = Table(("a",), vips=[VIP, address("203.0.113.2")]).settled()
    table.stop("a")
    table.after(SECOND)
    table.wake("a")
    table.after(SETTINGS.settle + SECOND)
    assert table.owners() == ["a"]

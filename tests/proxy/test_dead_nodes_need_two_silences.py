"""A node is given up when neither its speaker nor its kernel is heard, and never too many of them."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.hello.frames import Beat
from strictarp.hello.messages import State
from strictarp.proxy.hearing import READ_EVERY
from strictarp.proxy.liveness import PATIENT_ASK, Ask, Member, Nodes
from strictarp.proxy.settings import Liveness

LIMITS = Liveness(silence=3.5, asks=3, ask_interval=0.04)
H = 0.1
DEATH = 3.5 * H + 3 * 0.04


def member(number: int) -> Member:
    """node1 has IPv4, node2 IPv6, node3 both, and so on."""
    four = bytes([192, 0, 2, 10 + number]) if number % 3 != 2 else b""
    six = bytes.fromhex("20010db8") + bytes([*[0] * 11, number]) if number % 3 != 1 else b""
    return Member(f"node{number}", four, six)


def beat(number: int, seq: int, incarnation: int = 1) -> Beat:
    return Beat(b"\2\0\0\0\0\1", number, incarnation, seq, int(H * 1000), State.SEASONED)


class Segment:
    """Peers 1 to `count` and a clock of its own. `speaking` and `answering` name who does.

    `unreachable`: whom this node has no address to ask from.
    """

    def __init__(self, count: int, limits: Liveness = LIMITS) -> None:
        self.nodes = Nodes(limits)
        self.nodes.know({number: member(number) for number in range(1, count + 1)})
        self.now = 0.0
        self.timer = 0.0
        self.seq = 0
        self.incarnation = dict.fromkeys(range(1, count + 1), 1)
        self.speaking = set(range(1, count + 1))
        self.answering = set(self.speaking)
        self.unreachable: set[int] = set()
        self.asked: list[Ask] = []

    def run(self, seconds: float, tick: float = 0.02) -> None:
        """Time passes: hellos every 0.1 s, timers as the shell sets them but for the coarseness of `tick`."""
        for _ in range(round(seconds / tick)):
            self.now += tick
            if round(self.now / tick) % round(H / tick) == 0:
                self.seq += 1
                for number in self.speaking:
                    self.nodes.hear(beat(number, self.seq, self.incarnation[number]), 7, self.now)
            if self.timer <= self.now:
                self.timer = math.inf
                for ask in self.nodes.expire(self.now):
                    number = int(ask.member.name[4:])
                    if number in self.unreachable:
                        self.nodes.not_asked(ask, self.now)
                        continue
                    self.asked.append(ask)
                    if number in self.answering:
                        assert self.nodes.answered(ask.member.addresses[-1], self.now)
                self.follow()

    def follow(self) -> None:
        """As the shell does: it looks every so often, and a timer that runs is only put forward."""
        due = self.nodes.next_at()
        self.timer = min(self.timer, self.now + READ_EVERY, math.inf if due is None else due)

    def lose(self, *numbers: int) -> None:
        self.speaking -= set(numbers)
        self.answering -= set(numbers)


def test_a_silent_node_whose_kernel_is_silent_too_is_dead_within_half_a_second() -> None:
    segment = Segment(3)
    segment.run(1.0)
    segment.lose(2)
    segment.run(3.5 * H)
    assert segment.nodes.dead == frozenset()
    segment.run(DEATH - 3.5 * H + 0.1)
    assert segment.nodes.dead == {"node2"}
    assert segment.asked[:3] == [Ask(7, member(2))] * 3


def test_either_address_of_a_node_is_awaited_and_shows_that_its_kernel_lives() -> None:
    nodes = Nodes(LIMITS)
    nodes.know({number: member(number) for number in (1, 2, 3)})
    for number in (1, 2, 3):
        nodes.hear(beat(number, 1), 7, 0.0)
        nodes.hear(beat(number, 2), 7, 0.0)
    nodes.expire(1.0)
    one, two, three = (member(number) for number in (1, 2, 3))
    assert nodes.asking() == {one.address, two.address6, three.address, three.address6}
    assert not nodes.answered(b"", 1.0)
    for address in (one.address, two.address6, three.address6):
        assert nodes.answered(address, 1.0)
        assert not nodes.answered(address, 1.0), "nothing is awaited any more"
    assert nodes.asking() == frozenset()


def test_a_node_that_cannot_be_asked_is_not_judged_and_is_when_it_can() -> None:
    segment = Segment(3)
    segment.run(1.0)
    segment.unreachable = {2}
    segment.lose(2)
    segment.run(20.0)
    assert (segment.nodes.dead, segment.asked) == (frozenset(), [])
    segment.unreachable = set()
    segment.run(PATIENT_ASK + 0.2)
    assert segment.nodes.dead == {"node2"}
    segment.unreachable = {2}
    segment.run(PATIENT_ASK + 0.2)
    assert segment.nodes.dead == frozenset()


def test_switched_off_nobody_is_asked_nor_given_up() -> None:
    segment = Segment(3, msgspec.structs.replace(LIMITS, enabled=False))
    segment.run(1.0)
    segment.lose(1, 2, 3)
    segment.run(10.0)
    assert (segment.nodes.dead, segment.asked) == (frozenset(), [])


def test_a_node_whose_speaker_merely_stopped_is_asked_now_and_then_and_kept() -> None:
    segment = Segment(3)
    segment.run(1.0)
    segment.speaking.discard(2)
    segment.run(3 * PATIENT_ASK)
    assert segment.nodes.dead == frozenset()
    assert 1 <= len(segment.asked) <= 4


def test_a_node_that_speaks_again_after_its_kernel_answered_is_given_up_as_fast_as_before() -> None:
    segment = Segment(1)  # no other peer whose timer would do
    segment.run(1.0)
    segment.speaking.discard(1)
    segment.run(1.0)  # asked, answered: it would be asked again after 5 s
    segment.speaking.add(1)
    segment.run(1.0)
    segment.lose(1)
    segment.run(DEATH + 0.1)
    assert segment.nodes.dead == {"node1"}


def test_a_node_that_begins_to_speak_more_often_is_given_up_sooner() -> None:
    nodes = Nodes(LIMITS)
    nodes.know({1: member(1)})
    for seq in (1, 2):
        nodes.hear(msgspec.structs.replace(beat(1, seq), hello_ms=10_000), 7, 0.0)
    nodes.hear(beat(1, 3), 7, 0.1)
    assert nodes.next_at() == pytest.approx(0.1 + 3.5 * H)


def test_a_dead_node_lives_again_with_its_first_hello() -> None:
    segment = Segment(3)
    segment.run(1.0)
    segment.lose(2)
    segment.run(1.0)
    segment.incarnation[2] = 2
    segment.speaking.add(2)
    segment.run(H)
    assert segment.nodes.dead == frozenset()


def test_a_dead_node_lives_again_when_its_kernel_answers_although_no_speaker_runs() -> None:
    segment = Segment(3)
    segment.run(1.0)
    segment.lose(2)
    segment.run(1.0)
    segment.answering.add(2)
    segment.run(PATIENT_ASK + 0.1)
    assert segment.nodes.dead == frozenset()


def test_at_most_half_of_the_peers_but_at_least_one_are_given_up() -> None:
    for count, most in ((1, 1), (2, 1), (3, 1), (4, 2), (7, 3)):
        segment = Segment(count)
        segment.run(1.0)
        segment.lose(*range(1, count + 1))
        segment.run(20.0)
        assert len(segment.nodes.dead) == most


def test_a_spared_node_is_given_up_when_another_returned() -> None:
    segment = Segment(2)
    segment.run(1.0)
    segment.lose(1, 2)
    segment.run(1.0)
    (dead,) = segment.nodes.dead
    segment.speaking.add(int(dead[-1]))
    segment.run(PATIENT_ASK + 0.2)
    assert len(segment.nodes.dead) == 1
    assert dead not in segment.nodes.dead


def test_a_node_that_was_hardly_heard_or_is_no_member_is_never_given_up() -> None:
    nodes = Nodes(LIMITS)
    nodes.know({1: member(1)})
    nodes.hear(beat(1, 1), 7, 0.0)
    nodes.hear(beat(9, 1), 7, 0.0)
    nodes.hear(beat(9, 2), 7, 0.0)
    assert nodes.next_at() is None
    assert nodes.expire(100.0) == []


def test_recorded_hellos_of_a_dead_node_bring_nobody_to_life() -> None:
    segment = Segment(3)
    segment.run(1.0)
    segment.incarnation[2] = 2
    segment.run(1.0)
    segment.lose(2)
    segment.run(1.0)
    assert segment.nodes.dead == {"node2"}
    for old in (beat(2, 10**6, incarnation=1), beat(2, 1, incarnation=2)):
        segment.nodes.hear(old, 7, segment.now)
    assert segment.nodes.dead == {"node2"}
    assert segment.nodes.replayed == 2


def test_a_node_that_left_the_cluster_is_forgotten() -> None:
    segment = Segment(3)
    segment.run(1.0)
    segment.lose(2)
    segment.run(1.0)
    segment.nodes.know({1: member(1), 3: member(3)})
    assert segment.nodes.dead == frozenset()
    assert segment.nodes.next_at() is not None


def test_a_longer_interval_that_a_node_tells_is_waited_for() -> None:
    nodes = Nodes(LIMITS)
    nodes.know({1: member(1)})
    for seq in (1, 2):
        nodes.hear(msgspec.structs.replace(beat(1, seq), hello_ms=1000), 7, 0.0)
    assert nodes.next_at() == 3.5


@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(
            st.sampled_from(["lose", "speak", "answer", "run", "late", "cut", "join"]), st.integers(1, 5)
        ),
        max_size=20,
    ),
)
def test_guards_hold_in_any_history(count: int, history: list[tuple[str, int]]) -> None:
    segment = Segment(count)
    segment.run(0.5)
    for what, number in history:
        if what == "run":
            segment.run(number * 0.2)
        elif what == "late":
            segment.now += number
        elif number <= count:
            if what == "lose":
                segment.lose(number)
            elif what == "speak":
                segment.speaking.add(number)
            elif what == "answer":
                segment.answering.add(number)
            elif what == "join":
                segment.unreachable.discard(number)
            elif f"node{number}" not in segment.nodes.dead:
                segment.unreachable.add(number)
        assert len(segment.nodes.dead) <= max(1, count // 2)
        assert not segment.nodes.dead & {f"node{number}" for number in segment.unreachable}
    segment.speaking = set(range(1, count + 1))
    segment.run(0.3)
    assert segment.nodes.dead == frozenset()

"""The machine of `strictarp watch`, on a virtual clock."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp import frames
from strictarp.arp.probing import Verdict, exit_code
from strictarp.wire.timeline import Timeline
from strictarp.wire.watched import Asker, Change, How, Kind, Limits

IP = IPv4Address("192.0.2.100")
OTHER = IPv4Address("192.0.2.101")
ASKER = Asker(bytes.fromhex("02000000aaaa"))
HERE = frozenset({IP.packed, OTHER.packed})
LIMITS = Limits(interval=10.0, wait=1.0)


def mac(number: int) -> bytes:
    return b"\x02\0\0" + number.to_bytes(3, "big")


def text(number: int) -> str:
    return frames.mac_text(mac(number))


class Driver:
    """Drives a timeline as the shell does: `answering` are the hosts that answer each question."""

    def __init__(self, *ips: IPv4Address, limits: Limits = LIMITS) -> None:
        self.timeline = Timeline(limits)
        self.timeline.follow(ips or (IP,), 0.0)
        self.answering: set[int] = {1}
        self.asked: list[tuple[float, IPv4Address]] = []
        self.now = 0.0
        self.changes: list[Change] = []

    def run(self, until: float) -> Driver:
        while (wakes := self.timeline.wakes_at()) is not None and wakes <= until:
            self.now = max(self.now, wakes)
            self.changes += self.timeline.expire(self.now)
            while (ip := self.timeline.due(self.now)) is not None:
                self.asked.append((self.now, ip))
                self.changes += self.timeline.asked(ip, self.now, ASKER)
                question = frames.decode(frames.probe(ASKER.mac, ip.packed))
                for number in sorted(self.answering):
                    self.hear(frames.reply(mac(number), question), self.now + number / 1000)
        self.now = until
        return self

    def hear(self, data: bytes, at: float) -> None:
        self.changes += self.timeline.heard(data, at, HERE)

    def announce(self, number: int, at: float, ip: IPv4Address = IP) -> None:
        self.run(at)
        self.hear(frames.gratuitous_request(mac(number), ip.packed), at)

    @property
    def told(self) -> list[tuple[float, str]]:
        return [(round(each.at, 3), str(each.kind)) for each in self.changes]


def test_one_answerer_is_told_once_and_stays() -> None:
    driver = Driver().run(100.0)
    assert driver.told == [(0.001, "one")]
    watched = driver.timeline.watched[IP]
    assert (watched.owner, watched.answering, watched.verdict) == (text(1), (text(1),), Verdict.ONE)
    assert [(span.mac, span.heard) for span in watched.spans] == [(text(1), 11)]
    assert exit_code(driver.timeline.verdicts()) == 0


def test_an_owner_that_moves_with_an_announcement_is_one_flap_at_its_time() -> None:
    driver = Driver().run(25.0)
    driver.answering = {2}
    driver.announce(2, 25.5)
    driver.run(60.0)
    assert driver.told == [(0.001, "one"), (25.5, "change")]
    change = driver.changes[-1]
    assert (change.before, change.macs, change.how) == (text(1), (text(2),), How.ANNOUNCEMENT)
    watched = driver.timeline.watched[IP]
    assert (watched.counts.flaps, watched.flaps_in_hour(60.0), watched.changed) == (1, 1, 25.5)
    first, second = watched.spans
    assert (first.first, first.last) == (0.001, 20.001)
    assert (second.mac, second.first, round(second.last, 3)) == (text(2), 25.5, 60.002)
    assert exit_code(driver.timeline.verdicts()) == 0


def test_an_owner_that_moves_in_silence_is_noticed_by_the_next_question() -> None:
    driver = Driver().run(25.0)
    driver.answering = {2}
    driver.run(60.0)
    assert driver.told == [(0.001, "one"), (30.002, "change")]
    assert driver.changes[-1].how is How.ANSWER


def test_a_move_within_a_round_is_no_second_answerer() -> None:
    driver = Driver().run(30.1)  # host 1 has answered the question of 30.0
    driver.answering = {2}
    driver.announce(2, 30.4)
    driver.run(60.0)
    assert driver.told == [(0.001, "one"), (30.4, "change")]


def test_who_announces_while_nobody_answers_is_the_answerer() -> None:
    driver = Driver().run(25.0)
    driver.answering = set()
    driver.announce(2, 30.3)
    driver.answering = {2}
    driver.run(60.0)
    assert driver.told == [(0.001, "one"), (30.3, "change")]


def test_several_answers_to_one_question_are_told_with_all_macs_and_are_no_flap() -> None:
    driver = Driver().run(15.0)
    driver.answering = {1, 2, 3}
    driver.run(35.0)
    driver.answering = {1}
    driver.run(60.0)
    assert driver.told == [(0.001, "one"), (20.002, "several"), (40.001, "one")]
    assert driver.changes[1].macs == (text(1), text(2), text(3))
    watched = driver.timeline.watched[IP]
    assert (watched.counts.flaps, watched.counts.several) == (0, 2)
    assert exit_code(driver.timeline.verdicts()) == 2


def test_silence_is_told_from_the_question_that_nobody_answered() -> None:
    driver = Driver().run(15.0)
    driver.answering = set()
    driver.run(35.0)
    driver.answering = {1}
    driver.run(60.0)
    assert driver.told == [(0.001, "one"), (20.0, "silent"), (40.001, "one")]
    watched = driver.timeline.watched[IP]
    assert [(span.mac, span.first, span.last, span.heard) for span in watched.spans][1] == ("", 20.0, 31.0, 2)
    assert exit_code(driver.timeline.verdicts()) == 1


def test_another_owner_after_silence_is_a_flap() -> None:
    driver = Driver().run(15.0)
    driver.answering = set()
    driver.run(25.0)
    driver.answering = {2}
    driver.run(45.0)
    assert driver.told == [(0.001, "one"), (20.0, "silent"), (30.002, "change"), (30.002, "one")]


def test_two_that_announce_in_turn_flap_each_time() -> None:
    driver = Driver().run(5.0)
    for turn in range(6):
        driver.announce(1 + turn % 2, 5.0 + turn)
    assert driver.timeline.watched[IP].counts.flaps == 5
    assert driver.timeline.watched[IP].flaps_in_hour(11.0) == 5
    assert driver.timeline.watched[IP].flaps_in_hour(11.0 + 3700) == 0


def test_a_late_answer_changes_nothing_and_is_counted() -> None:
    driver = Driver().run(12.0)
    question = frames.decode(frames.probe(ASKER.mac, IP.packed))
    driver.hear(frames.reply(mac(9), question), 12.5)
    driver.run(40.0)
    assert driver.told == [(0.001, "one")]
    assert driver.timeline.watched[IP].counts.late == 1


def test_an_address_that_cannot_be_asked_for_is_told_once_and_counts() -> None:
    timeline = Timeline(LIMITS)
    timeline.follow([IP], 0.0)
    told = []
    for now in (0.0, 10.0, 20.0):
        assert timeline.due(now) == IP
        told += timeline.blind(IP, now, "no carrier")
    assert [(each.at, each.kind, each.reason) for each in told] == [(0.0, Kind.BLIND, "no carrier")]
    assert exit_code(timeline.verdicts()) == 3
    assert timeline.watched[IP].reason == "no carrier"


def test_addresses_come_and_go_and_those_that_stay_keep_their_past() -> None:
    driver = Driver(IP, OTHER).run(15.0)
    driver.timeline.follow([OTHER], 15.0)
    driver.run(25.0)
    driver.timeline.follow([OTHER, IP], 25.0)
    driver.run(60.0)
    assert driver.timeline.watched[OTHER].counts.asked == 7
    assert [at for at, ip in driver.asked if ip == IP] == [0.0, 10.0, 25.0, 35.0, 45.0, 55.0]


moves = st.lists(
    st.tuples(
        st.floats(0.01, 30.0),
        st.one_of(
            st.tuples(st.just("answering"), st.sets(st.integers(1, 4), max_size=3)),
            st.tuples(st.just("announce"), st.integers(1, 4)),
        ),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(moves)
def test_it_never_asks_too_often_and_its_books_are_right(
    steps: list[tuple[float, tuple[str, object]]],
) -> None:
    driver = Driver(IP, OTHER)
    for wait, (verb, what) in steps:
        if verb == "answering":
            assert isinstance(what, set)
            driver.run(driver.now + wait)
            driver.answering = what
        else:
            assert isinstance(what, int)
            driver.announce(what, driver.now + wait)
    driver.run(driver.now + 25.0)
    for ip in (IP, OTHER):
        times = [at for at, each in driver.asked if each == ip]
        assert all(after - before >= LIMITS.interval for before, after in itertools.pairwise(times))
        watched = driver.timeline.watched[ip]
        told = [each for each in driver.changes if each.ip == str(ip)]
        flaps = [each for each in told if each.kind is Kind.CHANGE]
        assert watched.counts.flaps == len(flaps) + watched.counts.suppressed
        assert all(each.before != each.macs[0] for each in flaps)
        for before, after in itertools.pairwise(flaps):
            assert after.before == before.macs[0] or watched.counts.suppressed
        judged = [each for each in told if each.kind is not Kind.CHANGE]
        assert all(
            (one.kind, set(one.macs)) != (two.kind, set(two.macs)) or one.kind is Kind.ONE
            for one, two in itertools.pairwise(judged)
        )
        assert watched.verdict is {0: Verdict.NOBODY, 1: Verdict.ONE}.get(
            len(driver.answering), Verdict.SEVERAL
        )
        assert set(watched.answering) == {text(number) for number in driver.answering}
        assert all(span.first <= span.last for span in watched.spans)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_flood_of_forged_announcements_stays_within_bounds(seed: int) -> None:
    limits = Limits(changes=50, spans=100, macs=8)
    driver = Driver(limits=limits).run(0.5)
    for number in range(2000):
        forged = (seed + number) % 0xFFFFFF
        driver.hear(frames.gratuitous_reply(mac(forged), IP.packed), 0.5 + number / 1000)
    driver.run(60.0)
    watched = driver.timeline.watched[IP]
    assert len(driver.changes) <= 60
    assert len(watched.changes) <= limits.changes
    assert len(watched.spans) <= limits.spans
    assert watched.counts.crowded + watched.counts.suppressed > 1900
    assert watched.owner == text(1)
    assert watched.verdict is Verdict.ONE


@given(st.binary(max_size=64))
def test_bytes_from_anywhere_raise_nothing(data: bytes) -> None:
    driver = Driver().run(5.0)
    driver.hear(data, 5.5)
    assert driver.timeline.heard_frames == 2


@given(st.integers(0, 63), st.integers(1, 255))
def test_mutilated_answers_raise_nothing(place: int, change: int) -> None:
    driver = Driver().run(5.0)
    question = frames.decode(frames.probe(ASKER.mac, IP.packed))
    data = bytearray(frames.reply(mac(1), question).ljust(64, b"\0"))
    data[place] ^= change
    for length in range(len(data)):
        driver.hear(bytes(data[:length]), 5.5)
    driver.run(30.0)


@pytest.mark.parametrize("sender", [IP, IPv4Address("192.0.2.7")])
def test_only_frames_that_carry_the_address_as_sender_are_claims(sender: IPv4Address) -> None:
    driver = Driver().run(5.0)
    driver.hear(frames.request(mac(2), sender.packed, OTHER.packed), 6.0)
    flapped = [(6.0, "change")] if sender == IP else []
    assert driver.told[1:] == flapped
    assert not flapped or driver.changes[-1].how is How.TRAFFIC


def test_a_frame_of_another_link_says_nothing_about_the_address() -> None:
    driver = Driver().run(5.0)
    assert driver.timeline.heard(frames.gratuitous_request(mac(2), IP.packed), 6.0, frozenset()) == []
    assert driver.timeline.foreign == 1
    assert driver.timeline.watched[IP].owner == text(1)

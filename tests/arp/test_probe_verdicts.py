"""From answers to a verdict, an exit code and a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp import frames, probing
from strictarp.arp.frames import ArpFrame
from strictarp.arp.probing import Answer, Findings, Verdict

ASKER = bytes.fromhex("020000000009")
IP = bytes([192, 0, 2, 100])


def answer(mac: bytes, after_us: int = 1000) -> Answer:
    asked = frames.decode(frames.probe(ASKER, IP))
    return Answer(frames.decode(frames.reply(mac, asked)), after_us)


def mac(number: int) -> bytes:
    return b"\x02\0\0\0\0" + bytes([number])


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 10**6))))
def test_a_mac_counts_once_however_often_it_answers(given_answers: list[tuple[int, int]]) -> None:
    found = probing.answerers(answer(mac(number), after) for number, after in given_answers)
    assert {each.mac for each in found} == {frames.mac_text(mac(number)) for number, _ in given_answers}
    assert sum(each.answers for each in found) == len(given_answers)
    assert [each.first_ms for each in found] == sorted(each.first_ms for each in found)


@pytest.mark.parametrize(
    ("macs", "verdict", "code"),
    [([], "nobody", 1), ([1], "one", 0), ([1, 1], "one", 0), ([1, 2], "several", 2)],
)
def test_the_exit_code_follows_the_number_of_macs(macs: list[int], verdict: str, code: int) -> None:
    findings = look([answer(mac(number)) for number in macs])
    assert findings.verdict == verdict
    assert findings.exit_code == code


def look(answers: list[Answer], *, own: bool = False) -> Findings:
    found = probing.answerers(answers)
    return Findings("192.0.2.100", "eth0", "probe", "0.0.0.0", probing.judge(found), found, own, 1.2)


def test_the_sentence_says_when_one_host_answered_twice() -> None:
    assert "one host, 2 answers to one request" in probing.sentence(look([answer(mac(1)), answer(mac(1))]))
    assert probing.sentence(look([])) == "nobody answers for 192.0.2.100 on eth0"
    assert "this host has the address itself" in probing.sentence(look([], own=True))
    assert "2 hosts answer" in probing.sentence(look([answer(mac(1)), answer(mac(2))]))


def test_only_replies_to_this_question_count() -> None:
    good = answer(mac(1)).frame
    assert probing.is_answer(good, ip=IP, asker_mac=ASKER)
    to_someone_else = frames.decode(frames.reply(mac(1), frames.decode(frames.probe(mac(7), IP))))
    other_address = frames.decode(
        frames.reply(mac(1), frames.decode(frames.probe(ASKER, bytes([192, 0, 2, 101]))))
    )
    own_kernels_question = frames.decode(
        frames.reply(mac(1), frames.decode(frames.request(ASKER, bytes([192, 0, 2, 9]), IP)))
    )
    gratuitous = frames.decode(frames.gratuitous_reply(mac(1), IP))
    question = frames.decode(frames.probe(ASKER, IP))
    for frame in (to_someone_else, other_address, own_kernels_question, gratuitous, question):
        assert not probing.is_answer(frame, ip=IP, asker_mac=ASKER)


def test_a_sender_in_the_ethernet_header_that_differs_is_told() -> None:
    frame = answer(mac(1)).frame
    moved = ArpFrame(
        frame.destination,
        mac(5),
        frame.operation,
        frame.sender_mac,
        frame.sender_ip,
        frame.target_mac,
        frame.target_ip,
    )
    (found,) = probing.answerers([Answer(moved, 10)])
    assert found.ethernet_source == "02:00:00:00:00:05"
    assert found.mac == "02:00:00:00:00:01"
    assert probing.judge((found,)) is Verdict.ONE

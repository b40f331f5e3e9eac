"""The program at the link's ingress on the running kernel: it answers what the process would, with the same
bytes, and every frame goes on as it came.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator

import pytest

from strictarp.arp import answering, bpf, frames
from strictarp.arp.rawsocket import RawSocket
from strictarp.lab import namespaces
from strictarp.speaker import resolution
from strictarp.speaker.kernel_answers import KernelAnswers
from strictarp.speaker.segment import now
from support.answering import needs_kernel_answers
from support.segment import QUIET, needs_root, write_sysctls

pytestmark = [pytest.mark.netns, needs_root, needs_kernel_answers]

MAC, CLIENT, OTHER = (bytes.fromhex(f"02000000000{last}") for last in "7ce")
GROUP = bytes.fromhex("01005e000001")
OWNED = (bytes([192, 0, 2, 100]), bytes([192, 0, 2, 101]), bytes([198, 51, 100, 1]))
FOREIGN = (bytes([192, 0, 2, 102]), bytes(4), bytes([127, 0, 0, 1]), bytes([224, 0, 0, 1]))
SENDER = bytes([192, 0, 2, 11])
LAST = frames.request(CLIENT, bytes([192, 0, 2, 12]), OWNED[0])
"""Its answer comes after that of whatever was asked before."""
SECOND = 1_000_000
EVERY_TYPE = 3
"""ETH_P_ALL: such a socket, as tcpdump has, is served before the program, and read after it."""


class Cable:
    """A node's end of a cable, where the kernel answers, and the client's."""

    def __init__(self) -> None:
        node, client = self.spaces = namespaces.create("node"), namespaces.create("client")
        for space in self.spaces:
            write_sysctls(space, QUIET)
        ends = (node, "eth0"), (client, "eth0")
        namespaces.veth(*ends, mac_a=frames.mac_text(MAC), mac_b=frames.mac_text(CLIENT))
        every = bpf.arp(everybodys=True)
        answered = bpf.marked(answering.ANSWERED, bpf.arp())
        with namespaces.entered(client):
            self.client = RawSocket(socket.if_nametoindex("eth0"), frames.ETHERTYPE_ARP, every)
        with namespaces.entered(node):
            self.index = socket.if_nametoindex("eth0")
            self.heard = RawSocket(self.index, frames.ETHERTYPE_ARP, every)
            self.tap = RawSocket(self.index, EVERY_TYPE, every)
            self.answered = RawSocket(self.index, frames.ETHERTYPE_ARP, answered)
            self.kernel = KernelAnswers(60 * SECOND)
            self.kernel.open(self.index, MAC, OWNED)
        self.kernel.said(now())

    def close(self) -> None:
        self.kernel.close()
        for each in (self.client, self.heard, self.tap, self.answered, *self.spaces):
            each.close()

    def answers(self, asked: bytes) -> list[bytes]:
        """What comes back for a frame; `LAST` must be answered at present."""
        self.client.send(asked)
        self.client.send(LAST)
        found = []
        while (data := _soon(self.client)) != EXPECTED_LAST:
            found.append(data)
        return found

    def answers_at_all(self, wait: float = 0.05) -> bool:
        self.client.send(LAST)
        time.sleep(wait)
        found = self.client.receive() is not None
        self.client.discard()
        return found


EXPECTED_LAST = frames.reply(MAC, frames.decode(LAST))


def _soon(sock: RawSocket) -> bytes:
    limit = time.monotonic() + 5
    while time.monotonic() < limit:
        data = sock.receive()
        if data is not None:
            return data
    raise AssertionError("nothing comes")


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # one processor, one queue: answers come in the order of questions
    made = Cable()
    try:
        yield made
    finally:
        made.close()
        os.sched_setaffinity(0, before)


def by_process(data: bytes) -> bytes | None:
    """What the process answers, of what is not left to it alone."""
    if resolution.asked_for(data) not in OWNED or data[12:14] != resolution.ARP:
        return None
    found = resolution.answer(data, MAC, lambda nonce: b"12345678")
    if found is None or not found.client or frames.decode(data).mark:
        return None
    if data[14:16] != b"\0\1" or len(data) > frames.MINIMUM_LENGTH:
        return None
    return found.data


def draw(chance: random.Random) -> bytes:
    """Mostly a good question, with a few things that are not, and anything in its padding or behind it."""

    def pick(usual: bytes, *rare: bytes) -> bytes:
        return usual if chance.random() < 0.85 else chance.choice(rare)

    asker = pick(CLIENT, OTHER, MAC, GROUP)
    data = b"".join(
        (
            pick(frames.BROADCAST_MAC, MAC, MAC, OTHER, GROUP),
            pick(asker, OTHER, MAC, GROUP),
            pick(b"\x08\x06", b"\x08\x00", b"\x08\x35"),
            pick(b"\0\1", b"\0\6", b"\0\x0f"),
            pick(b"\x08\0", b"\x86\xdd"),
            pick(b"\6\4", b"\4\6", b"\0\0"),
            pick(b"\0\1", b"\0\2", b"\0\x08", b"\1\0"),
            asker,
            pick(SENDER, bytes(4), OWNED[0], b"\xff\xff\xff\xff"),
            pick(bytes(6), MAC, frames.BROADCAST_MAC),
            pick(chance.choice(OWNED), *FOREIGN),
        )
    )
    padding = chance.choice((bytes(18), bytes(8) + chance.randbytes(10), chance.randbytes(18)))
    data = (data + padding + bytes(4))[: chance.choice((42, 45, 49, 50, 60, 60, 60, 61, 64, 41, 30))]
    if chance.random() < 0.2:
        place = chance.randrange(len(data))
        data = data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]
    return data


def test_it_answers_exactly_what_the_process_answers_with_the_same_bytes(cable: Cable) -> None:
    chance = random.Random(20261126)
    answered = 0
    for number in range(20_000):
        asked = draw(chance)
        expected = by_process(asked)
        found = cable.answers(asked)
        assert found == ([] if expected is None else [expected]), f"frame {number}: {asked.hex()}"
        answered += expected is not None
    assert 2_000 < answered < 16_000, "the frames are neither all good nor all bad"


def test_every_frame_goes_on_as_it_came_and_the_mark_tells_which_was_answered(cable: Cable) -> None:
    chance = random.Random(7)
    for _ in range(500):
        for each in (cable.heard, cable.tap, cable.answered):
            each.discard()
        asked = draw(chance)
        if asked[12:14] != b"\x08\x06":
            continue
        cable.answers(asked)
        for each in (cable.heard, cable.tap):
            assert each.receive() == asked
            assert each.receive() == LAST
        if by_process(asked) is not None:
            assert cable.answered.receive() == asked
        assert cable.answered.receive() == LAST
        assert cable.answered.receive() is None


@pytest.mark.parametrize("tag", [0, 5])
def test_frames_with_a_vlan_tag_are_left_to_others(cable: Cable, tag: int) -> None:
    assert cable.answers(LAST[:12] + b"\x81\0" + tag.to_bytes(2, "big") + LAST[12:]) == []


def test_a_mark_of_the_program_before_says_nothing_of_this_one(cable: Cable) -> None:
    other = KernelAnswers(60 * SECOND)
    with namespaces.entered(cable.spaces[0]):
        other.open(cable.index, MAC, ())
    cable.kernel, first = other, cable.kernel
    try:
        other.said(now())
        cable.answered.discard()
        cable.client.send(LAST)
        assert _soon(cable.client) == EXPECTED_LAST, "the first program answers"
        time.sleep(0.02)
        assert cable.answered.receive() is None, "the second one, which sees it last, has not answered it"
    finally:
        other.close()
        cable.kernel = first
    cable.client.discard()


def test_it_answers_until_the_end_of_the_lease_and_for_what_is_owned_only(cable: Cable) -> None:
    kernel = cable.kernel
    assert cable.answers_at_all()
    kernel.cut()
    assert not cable.answers_at_all()
    kernel.said(now() - 59_900_000)
    assert cable.answers_at_all(0.01)
    time.sleep(0.1)
    assert not cable.answers_at_all()
    kernel.said(now())
    kernel.disown(OWNED[0])
    assert not cable.answers_at_all()
    kernel.own(OWNED[0])
    assert not cable.answers_at_all(), "not before a hello has told it"
    kernel.said(now())
    assert cable.answers_at_all()
    assert not kernel.broken


def test_what_does_not_fit_is_left_to_the_process(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strictarp.speaker.kernel_answers.MOST_ADDRESSES", 2)
    small = KernelAnswers(60 * SECOND)
    with namespaces.entered(cable.spaces[0]):
        small.open(cable.index, MAC, OWNED)
    try:
        small.said(now())
        assert small.active
        assert len(small._answered) == 2
        for each in OWNED:
            small.disown(each)
        assert not small.broken
    finally:
        small.close()

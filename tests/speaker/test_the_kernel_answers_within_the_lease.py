"""A speaker for which the kernel answers: stopped, killed, with another MAC, handing over, without
permission.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ipaddress
import os
import random
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from strictarp.arp.frames import parse_mac
from strictarp.errors import UserError
from strictarp.hello.auth import Keys
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.speaker import election
from strictarp.speaker.actions import Kind, Report
from strictarp.speaker.events import DrainRequested
from strictarp.speaker.exposition import Figures
from strictarp.speaker.kernel_answers import Who, usable
from strictarp.speaker.links import Place
from strictarp.speaker.machine import Machine
from strictarp.speaker.segment import Segment, Told
from strictarp.speaker.settings import MS, Settings
from strictarp.speaker.view import Member, View, Vip
from support import forked
from support.answering import needs_kernel_answers
from support.api import until
from support.forked import Child
from support.segment import VIP, build, needs_root
from support.segment import Segment as Wire
from support.speaker_processes import Listener, kubeconfig

pytestmark = [pytest.mark.netns, needs_root, needs_kernel_answers]

ADDRESS = ipaddress.IPv4Address(VIP)
SETTINGS = Settings(
    hello=100 * MS, claim=120 * MS, late=90 * MS, accept=90 * MS, settle=500 * MS, season=600 * MS
)
LEASE = SETTINGS.silence / 1e6
"""Seconds."""
KEYS = Keys(b"0123456789abcdef0123456789abcdef")
CAP_SYS_ADMIN, CAP_BPF = 21, 39


def speak(
    wire: Wire,
    node: str,
    *members: str,
    lease: int = SETTINGS.silence,
    told: list[Told] | None = None,
    inside: bool = False,
) -> Segment:
    """The shell of a node on its link, in its namespace (inside: that of this process), in the loop."""
    macs = {each: (parse_mac(wire.mac(each)),) for each in (node, *members)}
    with contextlib.nullcontext() if inside else namespaces.entered(wire.hosts[node]):
        subnets = ((ipaddress.ip_address(wire.address(node)).packed, 24),)
        place = Place(socket.if_nametoindex("eth0"), "eth0", macs[node][0], True, subnets)
        machine = Machine(node, 1, SETTINGS, keys=KEYS, chance=random.SystemRandom())
        heard = told if told is not None else []
        segment = Segment(place, machine, lambda _, each: heard.append(each), kernel_lease=lease)
        order = election.order(dict.fromkeys(macs, 0), VIP)
        members_there = {name: Member(name, mac) for name, mac in macs.items()}
        segment.show(View({ADDRESS.packed: Vip(ADDRESS.packed, order, True)}, members_there))
    return segment


async def until_killed(wire: Wire, node: str) -> None:
    segment = speak(wire, node)
    await asyncio.Event().wait()
    segment.close()


def drop(*capabilities: int) -> None:
    """Give capabilities up for good (capset(2), version 3)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    held = ctypes.create_string_buffer(24)
    assert libc.capget(header, held) == 0
    words = list(struct.unpack("=6I", held.raw))
    for number in capabilities:
        for field in range(3):
            words[3 * (number // 32) + field] &= ~(1 << number % 32)
    assert libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", *words), 24)) == 0


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with build(["node1", "node2", "client"]) as made:
        yield made


@contextlib.contextmanager
def listening(wire: Wire) -> Iterator[Listener]:
    made = Listener(wire, (VIP,), every=0.01)
    try:
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def process(wire: Wire, folder: Path) -> Iterator[Child]:
    child = Child(wire.hosts["node1"], lambda: asyncio.run(until_killed(wire, "node1")), str(folder / "log"))
    try:
        yield child
    finally:
        child.kill()


def heard(listener: Listener, seconds: float) -> int:
    """How many answers come within a time from now."""
    before = len(listener.heard)
    time.sleep(seconds)
    return len(listener.heard) - before


def test_who_is_stopped_answers_to_the_end_of_its_lease_and_who_is_killed_no_more(
    wire: Wire, tmp_path: Path
) -> None:
    with process(wire, tmp_path) as child, listening(wire) as listener:
        forked.until(lambda: len(listener.heard) > 20, 10, "answers")
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(0.02)
        assert heard(listener, 0.15) > 5, "the kernel goes on for what is left of the lease"
        time.sleep(LEASE)
        assert heard(listener, 0.2) == 0
        os.kill(child.pid, signal.SIGCONT)
        assert heard(listener, 0.3) == 0, "it has to claim anew"
        alive = len(listener.heard) + 20
        forked.until(lambda: len(listener.heard) > alive, 10, "answers of its next life")
        child.kill(signal.SIGKILL)
        time.sleep(0.03)
        assert heard(listener, 0.2) == 0, "though its lease would go on"


async def test_the_kernel_answers_and_everything_is_counted(wire: Wire) -> None:
    segment = speak(wire, "node1")
    try:
        await until(lambda: segment.machine.owned)
        await asyncio.sleep(0.15)
        with listening(wire) as listener:
            await asyncio.sleep(0.3)
        assert len(listener.heard) == listener.asked
        await until(lambda: segment.counts["answers"] >= listener.asked)
        assert segment.kernel_answers
        by_kernel = segment.counts["answers_of_kernel"]
        assert by_kernel > listener.asked / 2, (
            "a hello that is late on a busy machine leaves some to the process"
        )
        assert segment.counts["answers"] == listener.asked
        traffic = segment.traffic[ADDRESS.packed]
        assert (traffic.requests, traffic.answers) == (listener.asked, listener.asked)
        (slot,) = segment.machine._core.owned.values()
        assert ipaddress.ip_address(wire.address("client")).packed in dict(slot.askers)
        figures = Figures("node1", dict)
        figures.segments = (segment,)
        samples = {
            (each.name, *each.labels.values()): each.value
            for one in figures.collect()
            for each in one.samples
        }
        assert samples["strictarp_speaker_kernel_answers", "eth0"] == 1
        assert samples["strictarp_speaker_frames_total", "eth0", "answers_of_kernel"] == by_kernel
        assert samples["metallb_layer2_responses_sent", VIP] == listener.asked
    finally:
        segment.close()


async def test_another_mac_is_answered_with_and_the_old_one_no_more(wire: Wire) -> None:
    segment = speak(wire, "node1")
    space, old = wire.hosts["node1"], wire.mac("node1")
    try:
        await until(lambda: segment.machine.owned)
        new = "02:00:00:00:00:77"
        with listening(wire) as listener:
            await asyncio.sleep(0.1)
            namespaces.ip(space, f"link set eth0 address {new}")
            with namespaces.entered(space):
                place = segment.place
                segment.move(Place(place.index, place.name, parse_mac(new), True, place.subnets))
            await asyncio.sleep(0.3)
        assert listener.turns(VIP) == [old, new]
        assert segment.kernel_answers
    finally:
        segment.close()
        namespaces.ip(space, f"link set eth0 address {old}")


async def test_a_hand_over_is_never_answered_twice(wire: Wire) -> None:
    told: list[Told] = []
    segments = {
        "node1": speak(wire, "node1", "node2", told=told),
        "node2": speak(wire, "node2", "node1", told=told),
    }
    try:
        await until(lambda: any(each.machine.owned for each in segments.values()))
        first = next(name for name, each in segments.items() if each.machine.owned)
        second = "node2" if first == "node1" else "node1"

        def seasoned() -> int:
            return sum(isinstance(each, Report) and each.kind is Kind.SEASONED for each in told)

        await until(lambda: seasoned() == 2)
        with listening(wire) as listener:
            await asyncio.sleep(0.2)
            segments[first].feed(DrainRequested(leave=True))
            async with asyncio.timeout(5):
                await segments[first].finished.wait()
            await asyncio.sleep(0.3)
        assert listener.turns(VIP) == [wire.mac(first), wire.mac(second)]
        assert len(listener.heard) <= listener.asked
        assert all(each.counts["answers_of_kernel"] > 5 for each in segments.values())
    finally:
        for each in segments.values():
            each.close()


async def test_the_process_answers_where_it_is_to(wire: Wire) -> None:
    segment = speak(wire, "node1", lease=0)
    try:
        await until(lambda: segment.machine.owned)
        with listening(wire) as listener:
            await asyncio.sleep(0.2)
        assert listener.turns(VIP) == [wire.mac("node1")]
        assert not segment.kernel_answers
        assert segment.counts["answers_of_kernel"] == 0
    finally:
        segment.close()


def in_child(space: Namespace, work: object, folder: Path) -> tuple[int, str]:
    log = folder / "child.log"
    code = Child(space, work, str(log)).wait()  # type: ignore[arg-type]
    return code, log.read_text()


def test_the_process_answers_where_the_kernel_may_not(wire: Wire, tmp_path: Path) -> None:
    async def answer() -> int:
        segment = speak(wire, "node1", inside=True)
        await until(lambda: segment.counts["answers"] > 10)
        return 0 if not segment.kernel_answers else 9

    def work() -> int:
        drop(CAP_BPF, CAP_SYS_ADMIN)
        return asyncio.run(answer())

    with listening(wire):
        code, log = in_child(wire.hosts["node1"], work, tmp_path)
    assert code == 0, log


def test_who_insists_on_the_kernel_is_told_what_is_missing(wire: Wire, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(kubeconfig("http://192.0.2.1:1"))

    def work() -> int:
        from strictarp.cli.main import main

        drop(CAP_BPF, CAP_SYS_ADMIN)
        assert not usable(Who.AUTO)
        return main(["speaker", "--kubeconfig", str(config), "--port", "0", "--answer", "kernel"])

    code, log = in_child(wire.hosts["node1"], work, tmp_path)
    assert code == 1, log
    assert "error: --answer kernel: it needs the capabilities BPF and NET_ADMIN" in log
    assert "Traceback" not in log


def test_a_clock_of_its_own_leaves_the_answers_to_the_process(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets = tmp_path / "offsets"
    monkeypatch.setattr("strictarp.speaker.kernel_answers._OFFSETS", offsets)
    with namespaces.entered(wire.hosts["node1"]):
        offsets.write_text("monotonic           0         0\nboottime            0         0\n")
        assert usable(Who.KERNEL)
        assert not usable(Who.PROCESS)
        offsets.write_text("monotonic           0         0\nboottime       86400         0\n")
        assert not usable(Who.AUTO)
        with pytest.raises(UserError, match="time namespace"):
            usable(Who.KERNEL)

"""Machines in their shells on a segment of the running kernel: one answers, and another goes on."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from fuzzing.frames import Surroundings, draw
from strictarp.arp import bpf
from strictarp.arp.frames import ETHERTYPE_ARP, REPLY, decode, parse_mac, request
from strictarp.arp.rawsocket import RawSocket
from strictarp.hello import ids
from strictarp.hello.auth import Keys
from strictarp.hello.frames import Sender, encode
from strictarp.hello.messages import Hello, State
from strictarp.lab import namespaces
from strictarp.netlink import look
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from strictarp.speaker import election
from strictarp.speaker.actions import Kind, Owning, Report
from strictarp.speaker.events import DrainRequested
from strictarp.speaker.host import Host
from strictarp.speaker.links import Place, places
from strictarp.speaker.machine import Machine
from strictarp.speaker.segment import Segment, Told
from strictarp.speaker.settings import MS, Settings
from strictarp.speaker.view import Member, View, Vip
from strictarp.wire import asking
from support.api import until
from support.segment import VIP, bind_vip, build, needs_root, write_sysctls
from support.segment import Segment as Wire

pytestmark = [pytest.mark.netns, needs_root]

NODES = ("node1", "node2", "node3")
ADDRESS = ipaddress.IPv4Address(VIP)
# Wide enough for two busy cores; joining nodes may claim early, so that the test need not wait for seasoning.
SETTINGS = Settings(
    hello=200 * MS, claim=200 * MS, late=90 * MS, accept=120 * MS, settle=1_000 * MS, season=1_200 * MS
)
KEYS = Keys(b"0123456789abcdef0123456789abcdef")
STRICT = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}


@pytest.fixture
def wire() -> Iterator[Wire]:
    with build([*NODES, "client"]) as made:
        for name in NODES:
            bind_vip(made.hosts[name])
            write_sysctls(made.hosts[name], STRICT)
        yield made


class Speakers:
    """A segment a node, and what they told."""

    def __init__(self, wire: Wire, members: tuple[str, ...]) -> None:
        self.wire = wire
        self.segments: dict[str, Segment] = {}
        self.told: list[tuple[str, Told]] = []
        order = election.order(dict.fromkeys(members, 0), VIP)
        known = {
            name: Member(name, (parse_mac(wire.mac(name)),), ipaddress.ip_address(wire.address(name)).packed)
            for name in members
        }
        self.view = View({ADDRESS.packed: Vip(ADDRESS.packed, order, True)}, known)

    async def start(self, name: str) -> None:
        with namespaces.entered(self.wire.hosts[name]):
            place = await place_there()
            machine = Machine(name, 1, SETTINGS, keys=KEYS, chance=random.SystemRandom())
            segment = Segment(place, machine, lambda _, told: self.told.append((name, told)))
        self.segments[name] = segment
        segment.show(self.view)

    def stop(self, name: str) -> None:
        self.segments.pop(name).close()

    @property
    def owners(self) -> list[str]:
        return [name for name, segment in self.segments.items() if ADDRESS.packed in segment.machine.owned]

    def reported(self, kind: Kind) -> list[str]:
        return [name for name, each in self.told if isinstance(each, Report) and each.kind is kind]

    async def owned(self, *, other_than: str = "") -> str:
        await until(lambda: self.owners and self.owners != [other_than], 15)
        (owner,) = self.owners
        return owner

    async def answering(self) -> list[str]:
        with namespaces.entered(self.wire.hosts["client"]):
            async with asyncio.timeout(10):
                findings = await asyncio.to_thread(self._probe)
        return [each.mac for each in findings.answerers]

    def _probe(self) -> object:
        with namespaces.entered(self.wire.hosts["client"]):
            return asking.probe_blocking(ADDRESS, "eth0", wait=0.4)


async def place_there() -> Place:
    async with Netlink(NETLINK_ROUTE) as route:
        found = places(await look.links(route), await look.addresses(route), await look.routes(route))
    return next(place for place in found if place.name == "eth0")


@asynccontextmanager
async def speakers(wire: Wire, *names: str) -> AsyncIterator[Speakers]:
    made = Speakers(wire, names)
    try:
        for name in names:
            await made.start(name)
        yield made
    finally:
        for segment in made.segments.values():
            segment.close()


async def test_one_answers_and_when_it_falls_silent_another_goes_on(wire: Wire) -> None:
    async with speakers(wire, *NODES) as made:
        first = await made.owned()
        assert await made.answering() == [wire.mac(first)]
        made.stop(first)
        second = await made.owned(other_than=first)
        assert second != first
        assert await made.answering() == [wire.mac(second)]
        await made.start(first)
        await asyncio.sleep(2)
        assert made.owners == [second], "a node that comes back moves nothing"


async def test_a_drain_hands_over_without_two_answers(wire: Wire) -> None:
    async with speakers(wire, *NODES) as made:
        first = await made.owned()
        await until(lambda: set(made.reported(Kind.SEASONED)) == set(NODES), 10)
        made.segments[first].feed(DrainRequested(leave=True))
        async with asyncio.timeout(8):
            await made.segments[first].finished.wait()
        second = await made.owned(other_than=first)
        assert made.reported(Kind.HANDED_OVER) == [first]
        owning = [(name, each.previous) for name, each in made.told if isinstance(each, Owning)]
        assert owning[-1] == (second, first)
        assert await made.answering() == [wire.mac(second)]


async def test_a_question_from_before_a_hand_over_is_not_answered_again_by_who_reads_it_late(
    wire: Wire,
) -> None:
    loop = asyncio.get_running_loop()
    async with speakers(wire, *NODES) as made:
        first = await made.owned()
        await until(lambda: set(made.reported(Kind.SEASONED)) == set(NODES), 10)
        with namespaces.entered(wire.hosts["client"]):
            client = RawSocket((await place_there()).index, ETHERTYPE_ARP, bpf.arp())
        with contextlib.closing(client):
            for name in NODES:
                if name != first:  # it has other things to do, and reads questions with its timer only
                    made.segments[name]._questions.unwatch(loop)
            mac, own = parse_mac(wire.mac("client")), ipaddress.ip_address(wire.address("client")).packed
            client.send(request(mac, own, ADDRESS.packed))
            made.segments[first].feed(DrainRequested(leave=True))
            await made.owned(other_than=first)
            await asyncio.sleep(0.5)
            heard = [decode(frame) for frame in iter(client.receive, None)]
    answers = [each.sender_mac for each in heard if each.operation == REPLY and each.target_mac == mac]
    assert len(answers) <= 1


async def test_a_kernel_that_answers_is_named_and_takes_nothing(wire: Wire) -> None:
    loud = election.order(dict.fromkeys(NODES, 0), VIP)[-1].node
    write_sysctls(wire.hosts[loud], {"net/ipv4/conf/all/arp_ignore": 0})
    async with speakers(wire, *NODES) as made:
        owner = await made.owned()
        assert owner != loud
        assert len(await made.answering()) == 2
        assert made.reported(Kind.KERNEL_ANSWERS) != []
        assert made.owners == [owner]


async def test_a_link_that_changes_its_mac_is_announced_with_the_new_one(wire: Wire) -> None:
    async with speakers(wire, *NODES) as made:
        owner = await made.owned()
        space = wire.hosts[owner]
        with namespaces.entered(space):
            host = Host()
        try:
            changes = host.changes()
            namespaces.ip(space, "link set eth0 address 02:00:00:00:00:77")
            async with asyncio.timeout(5):
                await anext(changes)
                found = await host.look()
            made.segments[owner].move(next(place for place in found if place.name == "eth0"))
            assert await made.answering() == ["02:00:00:00:00:77"]
            assert made.owners == [owner]
        finally:
            host.close()


async def test_a_storm_of_foreign_arp_does_not_reach_the_speaker(wire: Wire) -> None:
    async with speakers(wire, "node1") as made:
        await made.owned()
        questions = made.segments["node1"]._questions
        before = questions.received
        with namespaces.entered(wire.hosts["client"]):
            await asyncio.to_thread(_storm, wire)
        assert questions.received - before < 10
        assert await made.answering() == [wire.mac("node1")]


def _storm(wire: Wire) -> None:
    import socket

    from strictarp.arp import frames

    with namespaces.entered(wire.hosts["client"]):
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        out.bind(("eth0", 0))
        mac = parse_mac(wire.mac("client"))
        for number in range(2000):
            out.send(frames.probe(mac, bytes([192, 0, 2, number % 90])))
        out.close()


async def test_malformed_and_forged_frames_on_the_wire_move_nothing_and_are_counted(wire: Wire) -> None:
    async with speakers(wire, *NODES) as made:
        owner = await made.owned()
        with namespaces.entered(wire.hosts["client"]):
            await asyncio.to_thread(_fire, wire, 2_000)
        await asyncio.sleep(0.5)  # hellos put right what the switch has learnt of forged sources
        assert made.owners == [owner]
        assert await made.answering() == [wire.mac(owner)]
        for segment in made.segments.values():
            assert segment.machine.counters["unproven"] > 20
            assert segment.machine.counters["unauthenticated"] > 20
            assert segment.machine.counters["replayed"] + segment.machine.counters["own-node"] > 0


def _fire(wire: Wire, count: int) -> None:
    import socket
    import time

    macs = [parse_mac(wire.mac(name)) for name in NODES]
    senders = [Sender(1, ids.node_id(name), 77) for name in NODES]
    hello = Hello(State.SEASONED, False, 200, 0, 1, 0)
    recorded = [
        encode(hello, sender, KEYS, seq=number, source=mac)
        for number in range(10)
        for sender, mac in zip(senders, macs, strict=True)
    ]
    addresses = [ADDRESS.packed, ipaddress.IPv6Address("2001:db8::100").packed]
    around = Surroundings(macs, NODES, addresses, cluster=1, keys=KEYS, recorded=recorded)
    chance = random.Random(1)
    with namespaces.entered(wire.hosts["client"]):
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        out.bind(("eth0", 0))
        for _ in range(count):
            data = draw(chance, around)[1]
            if 14 <= len(data) <= 1514:  # what a driver sends at all
                out.send(data)
            time.sleep(0.0003)
        out.close()

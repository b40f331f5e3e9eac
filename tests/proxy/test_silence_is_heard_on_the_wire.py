"""Hellos, ARP and NDP on a real segment: node1 listens, node2 and node3 speak until they do not."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from strictarp.arp import bpf
from strictarp.arp.rawsocket import RawSocket
from strictarp.hello import frames
from strictarp.hello.auth import Keys
from strictarp.hello.frames import ETHERTYPE, Sender
from strictarp.hello.ids import node_id
from strictarp.hello.messages import Challenge, Hello, Message, Release, State
from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from strictarp.proxy import liveness, nftables
from strictarp.proxy.hearing import READ_EVERY, Hearing
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.liveness import Member
from strictarp.proxy.seam import HostLinks
from strictarp.proxy.settings import Liveness
from support import segment

pytestmark = pytest.mark.netns
CLUSTER, KEYS = 77, Keys(b"k" * 32)
HELLO_MS = 100
NAMES = ("node1", "node2", "node3")
IPV4, IPV6 = {"node2": 4, "node3": 4}, {"node2": 16, "node3": 16}
MIXED = {"node2": 16, "node3": 4}


async def host_links(space: namespaces.Namespace) -> HostLinks:
    with entered(space):
        kernel = LinuxKernel(nftables.change_elements)
    with contextlib.closing(kernel):
        return await kernel.host_links()


class World:
    """`dead` follows what the listener says. Each speaker is a task that can be cancelled.

    `widths`: of the one address that the API tells of each of the others.
    """

    def __init__(self, wire: segment.Segment, widths: dict[str, int]) -> None:
        self.wire = wire
        self.members = {node_id(name): self._member(name, width) for name, width in widths.items()}
        self.dead: frozenset[str] = frozenset()
        self.changed = asyncio.Event()
        self.speakers: dict[str, asyncio.Task[None]] = {}
        self.keys = KEYS
        self.pace_ms = HELLO_MS
        self.spoken: list[tuple[Message, int]] = []
        self.hearing = Hearing(
            Liveness(), self._tell, lambda frame, link: self.spoken.append((frame.message, link))
        )

    def _member(self, name: str, width: int) -> Member:
        if width == 4:
            return Member(name, ip_address(self.wire.address(name)).packed)
        return Member(name, address6=ip_address(self.wire.address6(name)).packed)

    def _tell(self, dead: frozenset[str]) -> None:
        self.dead = dead
        self.changed.set()

    async def learn(self, *, carrier: bool = True) -> None:
        """Once the kernel says so of eth0: it may tell a little later."""
        async with asyncio.timeout(5):
            while True:
                host = await host_links(self.wire.hosts["node1"])
                if any(link.name == "eth0" and link.carrier == carrier for link in host.links):
                    break
                await asyncio.sleep(0.01)
        self.hearing.learn(self.members, host, cluster=CLUSTER, keys=KEYS)

    def speak(self, name: str, incarnation: int = 1) -> None:
        self.speakers[name] = asyncio.create_task(self._speak(name, incarnation))

    async def _speak(self, name: str, incarnation: int) -> None:
        host = await host_links(self.wire.hosts[name])
        link = next(link for link in host.links if link.name == "eth0")
        with entered(self.wire.hosts[name]):
            raw = RawSocket(link.index, ETHERTYPE, bpf.nothing())
        sender = Sender(CLUSTER, node_id(name), incarnation)
        message = Hello(State.SEASONED, False, HELLO_MS, 0, 0, 0)
        with contextlib.closing(raw):
            for seq in range(1, 10_000):
                raw.send(frames.encode(message, sender, self.keys, seq=seq, source=link.mac))
                await asyncio.sleep(self.pace_ms / 1000)

    def silence(self, name: str) -> None:
        self.speakers.pop(name).cancel()

    def unplug(self, name: str, *, back: bool = False) -> None:
        namespaces.ip(self.wire.switch, f"link set p-{name} {'up' if back else 'down'}")

    async def until(self, dead: set[str], seconds: float = 2.0) -> None:
        async with asyncio.timeout(seconds):
            while self.dead != dead:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Nodes of the families that somebody needs."""
    widths: dict[str, int] = getattr(request, "param", IPV4)
    with segment.build(NAMES, set(widths.values())) as wire, entered(wire.hosts["node1"]):
        made = World(wire, widths)
        await made.learn()
        made.speak("node2")
        made.speak("node3")
        await asyncio.sleep(0.5)
        yield made
        made.hearing.close()
        for name in list(made.speakers):
            made.silence(name)


@pytest.mark.parametrize("world", [IPV4, IPV6], ids=["IPv4", "IPv6"], indirect=True)
async def test_a_node_off_the_wire_is_dead_within_a_second_and_back_when_it_speaks(world: World) -> None:
    world.silence("node2")
    world.unplug("node2")
    await world.until({"node2"}, 1.0)
    world.unplug("node2", back=True)
    world.speak("node2", incarnation=2)
    await world.until(set())


async def test_a_node_whose_kernel_still_answers_is_kept(world: World) -> None:
    world.silence("node2")
    await asyncio.sleep(1.0)
    assert world.dead == frozenset()


def advertised(space: namespaces.Namespace) -> int:
    """How many neighbour advertisements the kernel of a namespace has sent."""
    with entered(space):
        lines = Path("/proc/thread-self/net/snmp6").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Icmp6OutNeighborAdvertisements "))


@pytest.mark.parametrize("world", [IPV6], ids=["IPv6"], indirect=True)
async def test_a_node_without_ipv4_whose_kernel_advertises_is_kept(world: World) -> None:
    before = advertised(world.wire.hosts["node2"])
    world.silence("node2")
    await asyncio.sleep(1.0)
    assert advertised(world.wire.hosts["node2"]) > before
    assert world.dead == frozenset()


@pytest.mark.parametrize("world", [MIXED], ids=["mixed"], indirect=True)
async def test_without_an_ipv6_address_of_our_own_a_node_is_not_judged_until_there_is_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PATIENT_ASK", 0.3)
    own = world.wire.address6("node1")
    namespaces.ip(world.wire.hosts["node1"], f"addr del {own}/64 dev eth0")
    await world.learn()
    world.silence("node2")
    world.unplug("node2")
    await asyncio.sleep(0.9)
    assert world.dead == frozenset()
    by_dhcp = (f"addr add {own}/128 dev eth0 nodad", "route add 2001:db8::/64 dev eth0 proto ra")
    namespaces.ip(world.wire.hosts["node1"], *by_dhcp)
    await world.learn()
    await world.until({"node2"}, 1.0)
    namespaces.ip(world.wire.hosts["node1"], f"addr del {own}/128 dev eth0")
    await world.learn()
    await world.until(set(), 1.0)


@pytest.mark.parametrize("world", [MIXED], ids=["mixed"], indirect=True)
async def test_only_one_of_two_peers_is_given_up(world: World) -> None:
    for name in ("node2", "node3"):
        world.silence(name)
        world.unplug(name)
    await asyncio.sleep(1.2)
    assert len(world.dead) == 1


async def test_our_own_unplugged_link_gives_nobody_up(world: World) -> None:
    world.unplug("node1")
    await world.learn(carrier=False)
    await asyncio.sleep(1.0)
    assert world.dead == frozenset()
    world.unplug("node1", back=True)
    await world.learn()
    await asyncio.sleep(0.5)
    world.silence("node2")
    world.unplug("node2")
    await world.until({"node2"}, 1.5)


async def test_hellos_under_another_key_and_other_frames_keep_nobody_alive(world: World) -> None:
    world.silence("node2")
    world.unplug("node2")
    await world.until({"node2"}, 1.0)
    world.unplug("node2", back=True)
    namespaces.ip(world.wire.hosts["node2"], "link set eth0 arp off")
    world.keys = Keys(b"x" * 32)
    world.speak("node2", incarnation=2)
    await asyncio.sleep(0.5)
    assert world.dead == {"node2"}
    assert world.hearing.unreadable >= 3


async def test_releases_of_present_incarnations_are_heard_and_other_frames_not(world: World) -> None:
    host = await host_links(world.wire.hosts["node2"])
    link = next(link for link in host.links if link.name == "eth0")
    with entered(world.wire.hosts["node2"]):
        raw = RawSocket(link.index, ETHERTYPE, bpf.nothing())
    before = world.hearing.unreadable
    with contextlib.closing(raw):
        for seq, (message, incarnation) in enumerate(
            [(Challenge(b"12345678"), 1), (Release(1, 1, 1, 1), 2), (Release(2, 1, 1, 1), 1)], 100
        ):
            sender = Sender(CLUSTER, node_id("node2"), incarnation)
            raw.send(frames.encode(message, sender, KEYS, seq=seq, source=link.mac))
    await asyncio.sleep(0.2)
    ((message, index),) = world.spoken
    assert message == Release(2, 1, 1, 1)
    assert world.hearing.unreadable == before
    assert world.hearing.reachable(node_id("node9"), index, bytes(4)) is None
    assert world.hearing.reachable(node_id("node2"), index + 100, bytes(4)) is None


async def test_hellos_are_read_together_ten_times_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[float] = []
    hear = liveness.Nodes.hear

    def note(nodes: liveness.Nodes, beat: frames.Beat, link: int, now: float) -> None:
        read.append(now)
        hear(nodes, beat, link, now)

    monkeypatch.setattr(liveness.Nodes, "hear", note)
    world.pace_ms = 10
    world.silence("node2")
    world.speak("node2", incarnation=2)
    began = time.monotonic()
    await asyncio.sleep(1.0)
    lasted = time.monotonic() - began
    portions = 1 + sum(later - sooner > 0.005 for sooner, later in itertools.pairwise(read))
    assert len(read) > 50
    assert portions <= lasted / READ_EVERY + 2


@pytest.mark.parametrize("world", [MIXED], ids=["mixed"], indirect=True)
async def test_a_node_without_an_address_of_the_ips_family_is_no_next_hop_which_is_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "strictarp.proxy.hearing")
    index = next(
        link.index for link in (await host_links(world.wire.hosts["node1"])).links if link.name == "eth0"
    )
    for _ in range(3):
        for name, width in MIXED.items():
            number = node_id(name)
            assert world.hearing.reachable(number, index, bytes(width)) == world.members[number]
            assert world.hearing.reachable(number, index, bytes(20 - width)) is None
    told = [record.__dict__["fields"] for record in caplog.records]
    assert [(each["node"], each["family"]) for each in told] == [("node2", "IPv4"), ("node3", "IPv6")]

"""A client's kernel and an IPv6 VIP that only a speaker answers for: the nodes bind it elsewhere."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from strictarp.arp import bpf
from strictarp.arp import ndp_frames as ndp
from strictarp.arp.frames import parse_mac
from strictarp.arp.groups import Groups
from strictarp.arp.rawsocket import RawSocket
from strictarp.hello.auth import Keys
from strictarp.lab import namespaces
from strictarp.netlink import look
from strictarp.netlink.rtnl import ADDRESS_DAD_FAILED, NUD_REACHABLE, Neighbour
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from strictarp.speaker import election
from strictarp.speaker.links import Place, places
from strictarp.speaker.machine import Machine
from strictarp.speaker.segment import Segment
from strictarp.speaker.settings import MS, Settings
from strictarp.speaker.view import Member, View, Vip
from support.api import until
from support.segment import Segment as Wire
from support.segment import build, needs_root, write_sysctls

pytestmark = [pytest.mark.netns, needs_root]

T = TypeVar("T")
NODES = ("node1", "node2", "node3")
TEXT = "2001:db8::100"
VIP = ipaddress.IPv6Address(TEXT).packed
SETTINGS = Settings(
    hello=200 * MS,
    claim=200 * MS,
    late=90 * MS,
    accept=120 * MS,
    settle=1_000 * MS,
    season=1_200 * MS,
    announce=(0, 300 * MS),  # so that a test need not wait until it is quiet
)
KEYS = Keys(b"0123456789abcdef0123456789abcdef")


@pytest.fixture
def wire() -> Iterator[Wire]:
    with build([*NODES, "client"]) as made:
        for number, (name, space) in enumerate(made.hosts.items(), 1):
            write_sysctls(space, {"net/ipv6/conf/all/disable_ipv6": 0, "net/ipv6/conf/eth0/disable_ipv6": 0})
            namespaces.ip(space, f"addr add 2001:db8::{number}/64 dev eth0 nodad")
            if name in NODES:
                namespaces.ip(
                    space,
                    "link add vips0 type bridge",
                    "link set vips0 arp off up",
                    f"addr add {TEXT}/128 dev vips0 nodad",
                )
        yield made


class Speakers:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.segments: dict[str, Segment] = {}

    async def start(self, name: str) -> None:
        order = election.order(dict.fromkeys(NODES, 0), TEXT)
        known = {each: Member(each, (parse_mac(self.wire.mac(each)),)) for each in NODES}
        with namespaces.entered(self.wire.hosts[name]):
            machine = Machine(name, 1, SETTINGS, keys=KEYS, chance=random.SystemRandom())
            segment = Segment(await place_there(), machine, lambda _, told: None)
            segment.show(View({VIP: Vip(VIP, order, True)}, known))
        self.segments[name] = segment

    def stop(self, name: str) -> None:
        self.segments.pop(name).close()

    async def owned(self, *, other_than: str = "") -> str:
        def owners() -> list[str]:
            return [name for name, each in self.segments.items() if VIP in each.machine.owned]

        await until(lambda: owners() and owners() != [other_than], 15)
        (owner,) = owners()
        return owner


async def place_there() -> Place:
    async with Netlink(NETLINK_ROUTE) as route:
        async with asyncio.timeout(10):
            while True:
                found = places(await look.links(route), await look.addresses(route), await look.routes(route))
                place = next(place for place in found if place.name == "eth0")
                if place.own6:  # settled: the kernel has tested its link-local address
                    return place
                await asyncio.sleep(0.1)


@asynccontextmanager
async def speakers(wire: Wire) -> AsyncIterator[Speakers]:
    made = Speakers(wire)
    try:
        for name in NODES:
            await made.start(name)
        yield made
    finally:
        for segment in made.segments.values():
            segment.close()


async def on_client(wire: Wire, do: Callable[[], T]) -> T:
    """Done in a thread, in the client's namespace: the speakers go on meanwhile."""

    def there() -> T:
        with namespaces.entered(wire.hosts["client"]):
            return do()

    async with asyncio.timeout(15):
        return await asyncio.to_thread(there)


def reach() -> str:
    """Connect to a port of the VIP where nobody listens: its host says so, if there is one."""
    try:
        socket.create_connection((TEXT, 9), timeout=5).close()
    except ConnectionRefusedError:
        return "reached"
    except OSError as error:
        return f"not reached: {error}"
    return "reached"


async def entry(wire: Wire) -> Neighbour | None:
    with namespaces.entered(wire.hosts["client"]):
        async with Netlink(NETLINK_ROUTE) as route:
            found = await look.neighbours(route, 16)
    return next((each for each in found if each.address == VIP), None)


def answers(*questions: bytes) -> list[ndp.NdpFrame]:
    """Advertisements of the VIP that come within a while of these frames."""
    index = socket.if_nametoindex("eth0")
    prefixes = bpf.aggregate6([VIP])
    raw = RawSocket(index, ndp.ETHERTYPE_IPV6, bpf.ndp_about(prefixes), groups=(ndp.ALL_NODES_MAC,))
    try:
        for each in questions:
            raw.send(each)
        return [ndp.decode(data) for data in _gathered(raw)]
    finally:
        raw.close()


def _gathered(raw: RawSocket) -> list[bytes]:
    import select
    import time

    found, end = [], time.monotonic() + 0.6
    while (left := end - time.monotonic()) > 0:
        select.select([raw], [], [], left)
        while (data := raw.receive()) is not None:
            found.append(data)
    return found


async def test_a_client_reaches_the_vip_by_the_owners_answer_and_then_by_the_next_ones(wire: Wire) -> None:
    question = ndp.solicit(parse_mac(wire.mac("client")), ipaddress.IPv6Address("2001:db8::4").packed, VIP)
    assert await on_client(wire, lambda: answers(question)) == [], "no kernel answers for another link"
    async with speakers(wire) as made:
        first = await made.owned()
        assert await on_client(wire, reach) == "reached"
        known = await entry(wire)
        assert known is not None
        assert known.mac == parse_mac(wire.mac(first))
        made.stop(first)
        second = await made.owned(other_than=first)
        await until(lambda: len(made.segments[second].counts) > 0, 5)
        known = await entry(wire)
        assert known is not None
        assert known.mac == parse_mac(wire.mac(second)), "the client was told, and did not ask"
        assert await on_client(wire, reach) == "reached"


async def test_a_client_that_asks_again_by_unicast_is_answered(wire: Wire) -> None:
    async with speakers(wire) as made:
        owner = await made.owned()
        assert await on_client(wire, reach) == "reached"
        await asyncio.sleep(0.5)  # the announcements are over
        mac = wire.mac(owner)
        namespaces.ip(wire.hosts["client"], f"neigh change {TEXT} lladdr {mac} nud probe dev eth0")

        await asyncio.sleep(1.5)
        known = await entry(wire)
        assert known is not None
        assert known.state == NUD_REACHABLE
        assert made.segments[owner].counts["answers"] >= 1


async def test_a_host_that_tries_to_take_the_vip_gives_it_up(wire: Wire) -> None:
    async with speakers(wire) as made:
        owner = await made.owned()
        client = wire.hosts["client"]
        namespaces.ip(client, f"addr add {TEXT}/64 dev eth0")

        await asyncio.sleep(3)  # the kernel waits up to a second, asks, and waits another
        with namespaces.entered(client):
            async with Netlink(NETLINK_ROUTE) as route:
                found = await look.addresses(route, 16)
        (taken,) = [each for each in found if each.address == VIP]
        assert taken.flags & ADDRESS_DAD_FAILED
        assert await made.owned() == owner


async def test_exactly_the_owner_answers_and_a_probe_of_nobody_too(wire: Wire) -> None:
    async with speakers(wire) as made:
        owner = await made.owned()
        await asyncio.sleep(0.5)
        mac = parse_mac(wire.mac("client"))
        own = ipaddress.IPv6Address("2001:db8::4").packed
        told = await on_client(wire, lambda: answers(ndp.solicit(mac, own, VIP), ndp.probe(mac, VIP)))
        assert [each.source.hex(":") for each in told] == [wire.mac(owner)] * 2
        assert [(each.receiver == own, each.solicited) for each in told] == [(True, True), (False, False)]


async def test_a_storm_of_foreign_solicitations_does_not_reach_the_speaker(wire: Wire) -> None:
    async with speakers(wire) as made:
        owner = await made.owned()
        await asyncio.sleep(0.5)
        heard = made.segments[owner]._solicitations
        before = heard.received
        await on_client(wire, lambda: storm(parse_mac(wire.mac("client")), parse_mac(wire.mac(owner))))
        assert heard.received - before < 10
        assert await on_client(wire, reach) == "reached"


def storm(mac: bytes, owner: bytes) -> None:
    """Questions for other addresses, to their groups and to the owner itself."""
    raw = RawSocket(socket.if_nametoindex("eth0"), ndp.ETHERTYPE_IPV6, bpf.nothing())
    own = ipaddress.IPv6Address("2001:db8::4").packed
    for number in range(1000):
        other = VIP[:13] + bytes((1, *number.to_bytes(2, "big")))
        raw.send(ndp.solicit(mac, own, other))
        raw.send(ndp.solicit(mac, own, other, to=owner))
    raw.close()


async def test_groups_are_joined_so_that_switches_learn_of_them(wire: Wire) -> None:
    group = ndp.solicited_node(VIP).hex()
    async with speakers(wire) as made:
        await made.owned()
        for name in NODES:
            assert group in joined(wire, name)
        made.stop("node1")
        assert group not in joined(wire, "node1")
        again = made.segments["node2"]
        with namespaces.entered(wire.hosts["node2"]):
            again.move(msgspec.structs.replace(again.place, up=False))
            again.move(msgspec.structs.replace(again.place, up=True))
        assert group in joined(wire, "node2"), "its sockets are new"


def joined(wire: Wire, name: str) -> set[str]:
    with namespaces.entered(wire.hosts[name]):
        lines = Path("/proc/thread-self/net/igmp6").read_text().splitlines()
    return {line.split()[2] for line in lines if line.split()[1] == "eth0"}


def test_many_groups_are_joined_and_left_and_a_refusal_is_told(wire: Wire) -> None:
    with namespaces.entered(wire.hosts["node1"]):
        index = socket.if_nametoindex("eth0")
        groups = Groups(index)
        many = [ndp.solicited_node(bytes(13) + number.to_bytes(3, "big")) for number in range(150)]
        assert groups.show(many)
        assert groups.show(many[:2])
        there = joined(wire, "node1")
        assert [each.hex() in there for each in many[:4]] == [True, True, False, False]
        groups.close()
    with namespaces.entered(wire.hosts["node1"]):
        refused = Groups(99)
        assert not refused.show(many[:1])
        refused.close()

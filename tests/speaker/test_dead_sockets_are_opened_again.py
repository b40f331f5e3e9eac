"""Packet sockets die with their link, also when another of the same index took its place unseen."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from strictarp.arp.frames import parse_mac
from strictarp.hello.auth import Keys
from strictarp.lab import namespaces
from strictarp.speaker import election
from strictarp.speaker.links import Place
from strictarp.speaker.machine import Machine
from strictarp.speaker.segment import Segment
from strictarp.speaker.settings import MS, Settings
from strictarp.speaker.view import Member, View, Vip
from strictarp.wire import asking
from support.api import until
from support.segment import VIP, build, needs_root
from support.segment import Segment as Wire

pytestmark = [pytest.mark.netns, needs_root]

INDEX = 77
ADDRESS = ipaddress.IPv4Address(VIP)
SETTINGS = Settings(hello=100 * MS, claim=200 * MS, late=90 * MS, accept=120 * MS, settle=600 * MS)
KEYS = Keys(b"0123456789abcdef0123456789abcdef")


def make_link(wire: Wire) -> None:
    """The node's link, anew, with the index and MAC of the one before it."""
    node, mac = wire.hosts["node1"], wire.mac("node1")
    peer = f"peer name p-node1 netns {wire.switch.path}"
    namespaces.ip(
        node,
        "link del eth0",
        f"link add eth0 index {INDEX} address {mac} type veth {peer}",
        "link set eth0 up",
    )
    namespaces.ip(wire.switch, "link set p-node1 master br0 up")


@contextmanager
def speaking(wire: Wire) -> Iterator[Segment]:
    """A segment on the link with that index, whether there is one or not; nobody looks at the kernel."""
    mac = parse_mac(wire.mac("node1"))
    place = Place(INDEX, "eth0", mac, True, ((ipaddress.ip_address("192.0.2.11").packed, 24),))
    machine = Machine("node1", 1, SETTINGS, keys=KEYS, chance=random.SystemRandom())
    with namespaces.entered(wire.hosts["node1"]):
        segment = Segment(place, machine, lambda _, told: None)
        order = election.order({"node1": 0}, VIP)
        vips = {ADDRESS.packed: Vip(ADDRESS.packed, order, True)}
        segment.show(View(vips, {"node1": Member("node1", (mac,))}))
        try:
            yield segment
        finally:
            segment.close()


async def answering(wire: Wire) -> list[str]:
    def ask() -> list[str]:
        with namespaces.entered(wire.hosts["client"]):
            found = asking.probe_blocking(ADDRESS, "eth0", wait=0.3)
        return [each.mac for each in found.answerers]

    return await asyncio.to_thread(ask)


async def test_a_link_of_the_same_index_is_spoken_on_though_nobody_saw_the_change() -> None:
    with build(["node1", "client"]) as wire:
        make_link(wire)
        with speaking(wire) as segment:
            await until(lambda: segment.machine.owned)
            assert await answering(wire) == [wire.mac("node1")]
            await asyncio.to_thread(make_link, wire)
            for _ in range(10):
                if await answering(wire) == [wire.mac("node1")]:
                    break
            else:
                raise AssertionError("silent ever since")


async def test_whoever_has_no_sockets_owns_nothing_until_it_has() -> None:
    with build(["node1", "client"]) as wire, speaking(wire) as segment:
        await asyncio.sleep(1.5)
        assert segment.machine.owned == {}
        await asyncio.to_thread(make_link, wire)
        await until(lambda: segment.machine.owned)
        assert await answering(wire) == [wire.mac("node1")]

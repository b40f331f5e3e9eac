"""Links that only a stock kernel has: a bond, a VLAN on it, a member of a VRF, each with its own MAC."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import select
import socket
import time
from collections.abc import Iterator

import pytest

from strictarp.arp import bpf, frames
from strictarp.arp.frames import mac_text
from strictarp.arp.rawsocket import RawSocket
from strictarp.hello.auth import Keys
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.speaker import election
from strictarp.speaker.host import Host
from strictarp.speaker.links import Place
from strictarp.speaker.machine import Machine
from strictarp.speaker.segment import Segment
from strictarp.speaker.settings import MS, SECOND, Settings
from strictarp.speaker.view import Member, View, Vip
from support.api import until

pytestmark = [pytest.mark.vm, pytest.mark.timeout(180)]

SETTINGS = Settings(hello=200 * MS, claim=200 * MS, late=150 * MS // 2, accept=120 * MS, settle=SECOND)
KEYS = Keys(b"0123456789abcdef0123456789abcdef")
LINKS = {"bond0": "192.0.2", "bond0.7": "198.51.100", "tenant": "203.0.113"}
"""Link of the node → its network, in which the node has .11, the client .12, and the VIP is .100."""


@pytest.fixture
def spaces() -> Iterator[tuple[Namespace, Namespace]]:
    node, client = namespaces.create("node"), namespaces.create("client")
    for number in (0, 1, 2):
        namespaces.veth((node, f"a{number}"), (client, f"b{number}"))
    namespaces.ip(
        node,
        "link add bond0 type bond mode active-backup miimon 100",
        "link set a0 down",
        "link set a1 down",
        "link set a0 master bond0",
        "link set a1 master bond0",
        "link set bond0 up",
        "link add link bond0 name bond0.7 type vlan id 7",
        "link set bond0.7 up",
        "link add red type vrf table 10",
        "link set red up",
        "link set a2 name tenant",
        "link set tenant master red",
        "link set tenant up",
    )
    namespaces.ip(
        client,
        "link add br0 type bridge forward_delay 0",
        "link set b0 master br0",
        "link set b1 master br0",
        "link set br0 up",
        "link add link br0 name br0.7 type vlan id 7",
        "link set br0.7 up",
    )
    for link, network in LINKS.items():
        namespaces.ip(node, f"addr add {network}.11/24 dev {link}")
    for link, network in zip(("br0", "br0.7", "b2"), LINKS.values(), strict=True):
        namespaces.ip(client, f"addr add {network}.12/24 dev {link}")
    yield node, client
    node.close()
    client.close()


def ask(client: Namespace, link: str, network: str) -> list[str]:
    """The MACs that answer for the VIP of a network."""
    vip, own = (ipaddress.ip_address(f"{network}.{last}").packed for last in (100, 12))
    with namespaces.entered(client):
        raw = RawSocket(
            socket.if_nametoindex(link), frames.ETHERTYPE_ARP, bpf.arp_about(bpf.aggregate([vip]))
        )
    raw.send(frames.request(b"\2\0\0\0\0\x0c", own, vip))
    found, end = set[str](), time.monotonic() + 1.0
    while (left := end - time.monotonic()) > 0:
        select.select([raw], [], [], left)
        while (data := raw.receive()) is not None:
            heard = frames.decode(data)
            if heard.operation == frames.REPLY and heard.sender_ip == vip:
                found.add(mac_text(heard.sender_mac))
    raw.close()
    return sorted(found)


def speak(place: Place) -> Segment:
    vip = ipaddress.ip_address(f"{LINKS[place.name]}.100").packed
    order = election.order({"node1": 0}, str(ipaddress.ip_address(vip)))
    machine = Machine("node1", 1, SETTINGS, keys=KEYS, chance=random.SystemRandom())
    made = Segment(place, machine, lambda _, told: None)
    made.show(View({vip: Vip(vip, order, True)}, {"node1": Member("node1", (place.mac,))}))
    return made


async def test_bond_vlan_and_vrf_member_answer_and_ports_do_not(
    spaces: tuple[Namespace, Namespace],
) -> None:
    node, client = spaces
    with namespaces.entered(node):
        host = Host()
        changes = host.changes()
        places = {place.name: place for place in await host.look()}
        assert set(places) == set(LINKS), "neither the bond's ports nor the VRF's device"
        segments = {name: speak(place) for name, place in places.items()}
    try:
        await until(lambda: all(each.machine.owned for each in segments.values()), 60)
        for link, (name, network) in zip(("br0", "br0.7", "b2"), LINKS.items(), strict=True):
            found = await asyncio.to_thread(ask, client, link, network)
            assert found == [mac_text(places[name].mac)], name

        # The bond gets another MAC, and the VLAN on it with it.
        namespaces.ip(node, "link set bond0 address 02:00:00:00:00:77")
        async with asyncio.timeout(20):
            await anext(changes)
        for place in await host.look():
            with namespaces.entered(node):
                segments[place.name].move(place)
        for link, name in (("br0", "bond0"), ("br0.7", "bond0.7")):
            found = await asyncio.to_thread(ask, client, link, LINKS[name])
            assert found == ["02:00:00:00:00:77"], name
    finally:
        for each in segments.values():
            each.close()
        host.close()

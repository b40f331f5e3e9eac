"""Links that are renamed, made anew, or become ports: the whole daemon of one node goes on."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import select
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from strictarp.arp import bpf
from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.arp.frames import parse_mac
from strictarp.arp.rawsocket import RawSocket
from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS
from strictarp.kube.objects import ENDPOINTSLICES, NODES, SECRETS, SERVICES
from strictarp.lab import namespaces
from strictarp.speaker import resolution
from strictarp.speaker.daemon import Options, Speaker
from strictarp.speaker.settings import MS, SECOND, Settings
from support.api import Api, running_api
from support.segment import Segment, build, needs_root, write_sysctls

pytestmark = [pytest.mark.netns, needs_root]

NS = "metallb-system"
FOUR, SIX = "192.0.2.100", "2001:db8::100"
SETTINGS = Settings(
    hello=200 * MS, claim=200 * MS, late=90 * MS, accept=120 * MS, settle=SECOND, drain_grace=300 * MS
)


async def _furnish(api: Api, interfaces: list[str]) -> None:
    async def make(resource: object, name: str, namespace: str, **rest: object) -> None:
        metadata = {"name": name, "namespace": namespace, **rest.pop("metadata", {})}
        await api.client.create(resource, {"metadata": metadata, **rest}, namespace)

    await make(NODES, "node1", "")
    await make(SECRETS, "strictarp-hello", NS, data={"key": base64.b64encode(b"k" * 32).decode()})
    await make(IPADDRESSPOOLS, "lab", NS, spec={"addresses": [f"{FOUR}/32", f"{SIX}/128"]})
    await make(L2ADVERTISEMENTS, "lab", NS, spec={"interfaces": interfaces} if interfaces else {})
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    await make(SERVICES, "web", "default", spec={"type": "LoadBalancer", "ports": ports})
    status = {"status": {"loadBalancer": {"ingress": [{"ip": FOUR}, {"ip": SIX}]}}}
    await api.client.merge_patch(SERVICES, "web", status, "default", subresource="status")
    labels = {"labels": {"kubernetes.io/service-name": "web"}}
    endpoints = [{"addresses": ["203.0.113.9"], "conditions": {"ready": True}}]
    await make(
        ENDPOINTSLICES,
        "web-1",
        "default",
        metadata=labels,
        addressType="IPv4",
        endpoints=endpoints,
        ports=ports,
    )


@asynccontextmanager
async def node(folder: Path, *interfaces: str) -> AsyncIterator[Segment]:
    """A speaker on node1, whose L2Advertisement names these interfaces."""
    with build(["node1", "client"]) as wire:
        for number, (name, space) in enumerate(wire.hosts.items(), 1):
            write_sysctls(
                space, {f"net/ipv6/conf/{each}/disable_ipv6": 0 for each in ("all", "default", "eth0")}
            )
            if name == "client":
                namespaces.ip(space, f"addr add 2001:db8::{number}/64 dev eth0 nodad")
        namespaces.ip(wire.hosts["node1"], "addr add 2001:db8::1/64 dev eth0 nodad")
        with namespaces.entered(wire.hosts["node1"]):
            async with running_api(folder) as api:
                await _furnish(api, list(interfaces))
                speaker = Speaker(Options(None, "node1", SETTINGS, metrics_port=0), api.client)
                work = asyncio.create_task(speaker.run())
                try:
                    yield wire
                finally:
                    failed = work.done()
                    work.cancel()
                    await asyncio.wait({work})
                    assert not failed, work.exception()


async def answering(wire: Segment, text: str = FOUR) -> list[str]:
    """The MACs that answer a client now."""

    def there() -> list[str]:
        with namespaces.entered(wire.hosts["client"]):
            return _answers(parse_mac(wire.mac("client")), ipaddress.ip_address(text).packed)

    return await asyncio.to_thread(there)


def _answers(mac: bytes, address: bytes) -> list[str]:
    index, found, end = socket.if_nametoindex("eth0"), set[str](), time.monotonic() + 0.25
    if len(address) == 4:
        raw = RawSocket(index, arp.ETHERTYPE_ARP, bpf.arp_about(bpf.aggregate([address])))
        raw.send(arp.request(mac, bytes((192, 0, 2, 12)), address))
    else:
        raw = RawSocket(index, ndp.ETHERTYPE_IPV6, bpf.ndp_about(bpf.aggregate6([address])))
        raw.send(ndp.solicit(mac, ipaddress.ip_address("2001:db8::2").packed, address))
    while (left := end - time.monotonic()) > 0:
        select.select([raw], [], [], left)
        while (data := raw.receive()) is not None:
            heard = resolution.read(data)
            if heard.answers and heard.says == address:
                found.add(arp.mac_text(heard.mac))
    raw.close()
    return sorted(found)


async def until_answering(wire: Segment, *macs: str, text: str = FOUR) -> None:
    for _ in range(30):
        found = await answering(wire, text)
        if found == list(macs):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{text} is answered for by {found}, wanted {macs}")


def joined(wire: Segment, link: str) -> set[str]:
    with namespaces.entered(wire.hosts["node1"]):
        lines = Path("/proc/thread-self/net/igmp6").read_text().splitlines()
    return {line.split()[2] for line in lines if line.split()[1] == link}


async def test_a_link_that_is_renamed_counts_under_its_new_name(tmp_path: Path) -> None:
    async with node(tmp_path, "uplink*") as wire:
        await asyncio.sleep(2.5)
        assert await answering(wire) == [], "eth0 is not named"
        namespaces.ip(
            wire.hosts["node1"], "link set eth0 down", "link set eth0 name uplink0", "link set uplink0 up"
        )
        await until_answering(wire, wire.mac("node1"))
        namespaces.ip(
            wire.hosts["node1"], "link set uplink0 down", "link set uplink0 name eth0", "link set eth0 up"
        )
        await until_answering(wire)


async def test_a_link_that_is_made_anew_is_served_with_its_new_mac_and_its_groups(tmp_path: Path) -> None:
    async with node(tmp_path) as wire:
        await until_answering(wire, wire.mac("node1"))
        space, group = wire.hosts["node1"], ndp.solicited_node(ipaddress.ip_address(SIX).packed).hex()
        assert group in joined(wire, "eth0")
        namespaces.ip(space, "link del eth0")
        namespaces.veth((wire.switch, "p-node1"), (space, "eth0"), mac_b="02:00:00:00:00:aa")
        namespaces.ip(wire.switch, "link set p-node1 master br0")
        namespaces.ip(space, "addr add 192.0.2.11/24 dev eth0", "addr add 2001:db8::1/64 dev eth0 nodad")
        await until_answering(wire, "02:00:00:00:00:aa")
        await until_answering(wire, "02:00:00:00:00:aa", text=SIX)
        assert group in joined(wire, "eth0")
        namespaces.ip(wire.switch, "link set p-node1 down")
        await asyncio.sleep(0.5)
        namespaces.ip(wire.switch, "link set p-node1 up")
        await until_answering(wire, "02:00:00:00:00:aa")


async def test_a_link_that_becomes_a_port_leaves_the_answer_to_its_bridge(tmp_path: Path) -> None:
    async with node(tmp_path) as wire:
        await until_answering(wire, wire.mac("node1"))
        space = wire.hosts["node1"]
        namespaces.ip(
            space,
            "link add lan type bridge forward_delay 0 mcast_snooping 0",
            "link set lan address 02:00:00:00:00:bb up",
            "addr del 192.0.2.11/24 dev eth0",
            "addr del 2001:db8::1/64 dev eth0",
            "link set eth0 master lan",
            "addr add 192.0.2.11/24 dev lan",
            "addr add 2001:db8::1/64 dev lan nodad",
        )
        await until_answering(wire, "02:00:00:00:00:bb")
        await until_answering(wire, "02:00:00:00:00:bb", text=SIX)
        namespaces.ip(space, "link del lan", "addr add 192.0.2.11/24 dev eth0")
        await until_answering(wire, wire.mac("node1"))

"""The whole daemon hears another node: IPs that come are passed on, no longer than told; and its silence."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from strictarp.arp import bpf
from strictarp.arp.rawsocket import RawSocket
from strictarp.hello import frames
from strictarp.hello.auth import Keys
from strictarp.hello.frames import ETHERTYPE, GROUP_MAC, Sender
from strictarp.hello.ids import cluster_id, node_id, vip_id
from strictarp.hello.messages import Accept, Hello, Message, Offer, Release, Spent, State
from strictarp.kube.objects import ENDPOINTSLICES, NAMESPACES, NODES, SECRETS
from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from strictarp.netlink import look
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from strictarp.proxy import given, liveness
from support.daemon_node import Node, build
from support.proxy_objects import slice_body
from support.speaker_daemon import NS, make

pytestmark = pytest.mark.netns
VIP = "203.0.113.140"
IPV4, IPV6 = "198.51.100.66", "2001:db8::66"
OWN = {IPV4: "198.51.100.65", IPV6: "2001:db8::65"}
KEY = b"k" * 32


class Speaker:
    """node2 on a wire to node1: sends as its speaker, or as its proxy, does."""

    def __init__(
        self, space: namespaces.Namespace, address: str, mac: bytes, raw: RawSocket, cluster: int
    ) -> None:
        self.space, self.address, self.mac, self.raw, self.cluster = space, address, mac, raw, cluster
        self.seq = 0

    def say(self, message: Message, incarnation: int = 1, to: bytes = GROUP_MAC) -> None:
        self.seq += 1
        sender = Sender(self.cluster, node_id("node2"), incarnation)
        self.raw.send(frames.encode(message, sender, Keys(KEY), seq=self.seq, source=self.mac, to=to))

    def heard(self) -> list[Message]:
        """What came since the last time."""
        found = []
        while (data := self.raw.receive()) is not None:
            found.append(frames.decode(data, self.cluster, Keys(KEY)).message)
        return found


def _adding(address: str) -> str:
    return f"addr add {address}/64 dev eth0 nodad" if ":" in address else f"addr add {address}/28 dev eth0"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with build(tmp_path) as made:
        yield made


@pytest.fixture
async def speaker(request: pytest.FixtureRequest, node: Node) -> AsyncIterator[Speaker]:
    """Of a node with an InternalIP of one family."""
    address: str = getattr(request, "param", IPV4)
    here, other = namespaces.current(), namespaces.create("node2")
    namespaces.veth((here, "eth0"), (other, "eth0"))
    for space, each in ((here, OWN[address]), (other, address)):
        namespaces.ip(space, _adding(each))
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    await node.client.create(NODES, {"metadata": {"name": "node2"}, "status": status})
    await node.client.merge_patch(NODES, "node2", {"status": status}, subresource="status")
    await make(node.client, NAMESPACES, NS, "")
    await make(node.client, SECRETS, "strictarp-hello", NS, data={"key": base64.b64encode(KEY).decode()})
    uid = (await node.client.get(NAMESPACES, "kube-system")).metadata.uid
    with entered(other):
        async with Netlink(NETLINK_ROUTE) as route:
            link = await look.link(route, "eth0")
        assert link is not None
        raw = RawSocket(link.index, ETHERTYPE, bpf.ethertype(ETHERTYPE))
    with contextlib.closing(raw):
        yield Speaker(other, address, link.mac, raw, cluster_id(uid or ""))
    other.close()


def _listed() -> str:
    argv = ["nft", "list", "table", "ip", "strictarp-moved"]
    return namespaces.run(namespaces.current(), argv, check=False).stdout


async def _passing(wanted: str) -> None:
    """Until the table holds this; with nothing wanted, until the VIP is not in it."""
    for _ in range(200):
        listed = _listed()
        if (wanted in listed) if wanted else (listed and VIP not in listed):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(listed)


async def test_an_ip_that_comes_is_passed_on_until_its_giver_says_enough(
    node: Node, speaker: Speaker
) -> None:
    await node.start()
    await node.until(VIP, 80, {"198.51.100.18": 1})
    number = vip_id(ip_address(VIP).packed)
    for _ in range(100):  # until the daemon knows all that it needs to hear it
        speaker.say(Hello(State.SEASONED, False, 100, 0, 0, 0))
        speaker.say(Offer(number, 5, 9))
        await asyncio.sleep(0.05)
        if "timeout 2s" in _listed():
            break
    speaker.say(Release(number, 5, 9, node_id("node1")))
    await _passing(f"{VIP} timeout 1m")
    await _passing(": 198.51.100.66")
    speaker.say(Spent(number, 5, 8), incarnation=77)
    await asyncio.sleep(0.2)
    await _passing(f"{VIP} timeout 1m")
    speaker.say(Spent(number, 5, 9), incarnation=77)
    await _passing("")


async def test_an_ip_that_went_is_told_as_soon_as_nothing_of_it_is_open(
    node: Node, speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "LOOK_SECONDS", 0.2)
    await node.start()
    await node.until(VIP, 80, {"198.51.100.18": 1})
    async with Netlink(NETLINK_ROUTE) as route:
        link = await look.link(route, "eth0")
    assert link is not None
    number = vip_id(ip_address(VIP).packed)
    told: list[Message] = []
    for _ in range(100):
        speaker.say(Hello(State.SEASONED, False, 100, 0, 0, 0))
        speaker.say(Accept(number, 5, 9), to=link.mac)
        await asyncio.sleep(0.1)
        told += speaker.heard()
        if told:
            break
    assert told[0] == Spent(number, 5, 9)


@pytest.mark.parametrize("speaker", [IPV4, IPV6], ids=["IPv4", "IPv6"], indirect=True)
async def test_endpoints_on_a_node_have_weight_0_while_its_speaker_and_its_kernel_are_silent(
    node: Node, speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PATIENT_ASK", 0.2)
    there, here = "198.51.100.18", "198.51.100.19"
    piece = slice_body("web", [(there, "node2"), (here, "node1")])
    await node.client.merge_patch(ENDPOINTSLICES, "web-1", {"endpoints": piece["endpoints"]}, "default")
    await node.start()
    await node.until(VIP, 80, {there: 1, here: 1})
    namespaces.ip(speaker.space, "addr flush dev eth0")
    for _ in range(20):  # until the daemon knows all that it needs to hear it
        speaker.say(Hello(State.SEASONED, False, 100, 0, 0, 0))
        speaker.say(Hello(State.SEASONED, False, 100, 0, 0, 0))
        await asyncio.sleep(0.8)
        if node.reals(VIP, 80) == {there: 0, here: 1}:
            break
    await node.until(VIP, 80, {there: 0, here: 1})
    namespaces.ip(speaker.space, _adding(speaker.address))
    await node.until(VIP, 80, {there: 1, here: 1})

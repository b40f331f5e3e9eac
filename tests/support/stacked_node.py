"""A node with a bond, a VLAN on it, a bridge and a member of a VRF as segments; its whole speaker; a client.

Real devices of these kinds: for the kernel of the virtual machine.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from strictarp.arp import bpf
from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.arp.frames import mac_text, parse_mac
from strictarp.arp.rawsocket import RawSocket
from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS
from strictarp.kube.objects import NODES, SECRETS
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.netlink import look
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from strictarp.speaker import resolution
from strictarp.speaker.daemon import Options, Speaker
from strictarp.speaker.host import Host
from strictarp.speaker.settings import MS, Settings
from support.api import Api, running_api
from support.segment import write_sysctls
from support.speaker_daemon import NS, make, make_service

SETTINGS = Settings(
    hello=300 * MS,
    claim=300 * MS,
    late=250 * MS,
    accept=200 * MS,
    settle=1_400 * MS,
    isolation=1_500 * MS,
    drain_grace=300 * MS,
)
NETWORKS = {"bond0": 1, "bond0.7": 2, "lan": 3, "lan.9": 4, "tenant": 5}
"""Link of the node → the number of its network."""
ENTRIES = {"bond0": "br0", "bond0.7": "br0.7", "lan": "b2", "lan.9": "b2.9", "tenant": "b3"}
"""Link of the node → the client's link on that segment."""
MACS = {entry: f"02:00:00:00:0c:0{number}" for number, entry in enumerate(ENTRIES.values())}
"""Of the client's links: each another, so that it is seen whom an answer is for."""
PORTS = {f"a{number}": f"02:00:00:00:0a:0{number}" for number in range(4)}
"""a0 and a1 are the bond's, a2 the bridge's, a3 becomes `tenant`."""
WINDOW = 0.3
"""Seconds that answers are waited for: a question takes a few milliseconds there."""

Answers = dict[str, set[tuple[str, str]]]
"""VIP → the links of the client on which it is answered for, and the MACs that do."""


def four(link: str, last: int = 100) -> str:
    """An IPv4 address in a link's network: the VIP."""
    return f"10.0.{NETWORKS[link]}.{last}"


def six(link: str, last: int = 100) -> str:
    """An IPv6 address in a link's network: the VIP."""
    return f"2001:db8:{NETWORKS[link]}::{last}"


def addressed(link: str, last: int = 11) -> tuple[str, str]:
    """Lines of `ip` that give a link its addresses."""
    return (
        f"addr add {four(link, last)}/24 dev {link}",
        f"addr add {six(link, last)}/64 dev {link} nodad",
    )


def six_again(link: str) -> tuple[str, ...]:
    """The line for the IPv6 address, which goes when a link goes down."""
    return addressed(link)[1:]


BOND = (
    "link add bond0 type bond mode active-backup miimon 50 fail_over_mac active",
    *("link set a0 down", "link set a1 down"),
    *("link set a0 master bond0", "link set a1 master bond0"),
    "link set bond0 up",
    *addressed("bond0"),
)
VLAN = ("link add link bond0 name bond0.7 type vlan id 7", "link set bond0.7 up", *addressed("bond0.7"))
BRIDGE = (
    "link add lan type bridge forward_delay 0 mcast_snooping 0",
    "link set a2 master lan",
    "link set lan up",
    *addressed("lan"),
)
BRIDGE_VLAN = ("link add link lan name lan.9 type vlan id 9", "link set lan.9 up", *addressed("lan.9"))
VRF = (
    *("link add red type vrf table 10", "link set red up"),
    *("link set a3 down", "link set a3 name tenant", "link set tenant master red", "link set tenant up"),
    *addressed("tenant"),
)


class Node:
    """The node's namespace, and the client's, where the wires end."""

    def __init__(self, space: Namespace, client: Namespace) -> None:
        self.space = space
        self.client = client

    async def ip(self, *lines: str) -> None:
        """Type these into the node, while its speaker goes on."""
        await asyncio.to_thread(namespaces.ip, self.space, *lines)

    async def macs(self) -> dict[str, str]:
        """Link → its MAC now."""
        with namespaces.entered(self.space):
            route = Netlink(NETLINK_ROUTE)
        try:
            return {link.name: mac_text(link.mac) for link in await look.links(route)}
        finally:
            route.close()

    async def gateways(self) -> dict[str, str]:
        """Link → its IPv4 gateway, as a speaker sees it."""
        with namespaces.entered(self.space):
            host = Host()
        try:
            return {
                place.name: str(ipaddress.ip_address(place.gateway))
                for place in await host.look()
                if place.gateway is not None
            }
        finally:
            host.close()

    def spoken_on(self) -> set[str]:
        """The links that packet sockets of the node are bound to."""
        with namespaces.entered(self.space):
            lines = Path("/proc/thread-self/net/packet").read_text().splitlines()[1:]
            return {socket.if_indextoname(int(line.split()[4])) for line in lines if int(line.split()[4]) > 0}

    async def answers(self) -> Answers:
        """Who answers for any VIP on any link of the client."""
        return await asyncio.to_thread(_answers, self.client)

    async def settled(self, links: Mapping[str, str]) -> None:
        """Wait until each VIP of these links is answered for by that MAC, on its segment alone, and no other.

        Raises AssertionError with what is there after 30 s.
        """
        wanted = wanted_answers(links)
        end = time.monotonic() + 30
        while (found := await self.answers()) != wanted:
            assert time.monotonic() < end, f"answered: {found}, wanted: {wanted}"


def wanted_answers(links: Mapping[str, str]) -> Answers:
    """What is heard when each of these links answers for its VIPs with its MAC, and nobody else does."""
    return {vip: {(ENTRIES[link], mac)} for link, mac in links.items() for vip in (four(link), six(link))}


def _answers(client: Namespace) -> Answers:
    with contextlib.ExitStack() as stack:
        waiting: dict[RawSocket, str] = {}
        for entry in ENTRIES.values():
            for raw in _sockets(client, entry):
                stack.callback(raw.close)
                waiting[raw] = entry
        found: Answers = {}
        end = time.monotonic() + WINDOW
        while (left := end - time.monotonic()) > 0:
            for raw in select.select(list(waiting), [], [], left)[0]:
                while (data := raw.receive()) is not None:
                    heard = resolution.read(data)
                    vip = str(ipaddress.ip_address(heard.says)) if heard.says else ""
                    if heard.answers and vip:
                        found.setdefault(vip, set()).add(_answer(waiting[raw], mac_text(heard.mac), data[:6]))
    return found


def _answer(entry: str, mac: str, to: bytes) -> tuple[str, str]:
    """Where, and the MAC; an answer that another link is meant to hear is told apart."""
    strays = to[0] & 1 == 0 and mac_text(to) != MACS[entry]
    return entry, f"{mac} to {mac_text(to)}" if strays else mac


def _sockets(client: Namespace, entry: str) -> Iterator[RawSocket]:
    """Sockets that hear of the VIPs, once they have asked for all of them."""
    mac = parse_mac(MACS[entry])
    prefixes = bpf.aggregate6(_packed(six(link)) for link in NETWORKS)
    with namespaces.entered(client):
        index = socket.if_nametoindex(entry)
        by_arp = RawSocket(index, arp.ETHERTYPE_ARP, bpf.arp(everybodys=True))
        by_ndp = RawSocket(index, ndp.ETHERTYPE_IPV6, bpf.ndp_about(prefixes))
    for link in NETWORKS:
        by_arp.send(arp.request(mac, _packed(four(link, 12)), _packed(four(link))))
        by_ndp.send(ndp.solicit(mac, _packed(six(link, 12)), _packed(six(link))))
    yield by_arp
    yield by_ndp


def _packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def _furnish_client(client: Namespace) -> None:
    namespaces.ip(
        client,
        "link add br0 type bridge forward_delay 0 mcast_snooping 0",
        *("link set b0 master br0", "link set b1 master br0"),
        "link add link br0 name br0.7 type vlan id 7",
        "link add link b2 name b2.9 type vlan id 9",
        *(f"link set {entry} address {mac} up" for entry, mac in MACS.items()),
    )


async def _furnish_api(api: Api) -> None:
    """A Service with both addresses on each segment."""
    client = api.client
    await make(client, NODES, "node1", "")
    await make(client, SECRETS, "strictarp-hello", NS, data={"key": base64.b64encode(b"k" * 32).decode()})
    vips = {link: (four(link), six(link)) for link in NETWORKS}
    spec = {"addresses": [f"{vip}/{32 if '.' in vip else 128}" for each in vips.values() for vip in each]}
    await make(client, IPADDRESSPOOLS, "lab", NS, spec=spec)
    await make(client, L2ADVERTISEMENTS, "lab", NS, spec={})
    for link, addresses in vips.items():
        await make_service(client, link.replace(".", "-"), *addresses)


@contextlib.contextmanager
def _spaces() -> Iterator[tuple[Namespace, Namespace]]:
    with contextlib.ExitStack() as stack:
        made = [namespaces.create(name) for name in ("node", "client")]
        for space in made:
            stack.callback(space.close)
        yield made[0], made[1]


@asynccontextmanager
async def stacked_node(folder: Path, *lines: str, macs: Mapping[str, str]) -> AsyncIterator[Node]:
    """The node with the links that these lines of `ip` make of its ports a0 to a3, and its speaker.

    macs: those that these links must have by then.

    All VIPs stand on kube-ipvs0, as kube-proxy binds them, with strictARP on.
    """
    with _spaces() as (space, client):
        strict = {"arp_ignore": 1, "arp_announce": 2}
        write_sysctls(space, {f"net/ipv4/conf/all/{name}": value for name, value in strict.items()})
        for number, (port, mac) in enumerate(PORTS.items()):
            namespaces.veth((space, port), (client, f"b{number}"), mac_a=mac)
        _furnish_client(client)
        namespaces.ip(
            space,
            *("link add kube-ipvs0 type dummy", "link set kube-ipvs0 arp off"),
            *(f"addr add {vip(link)} dev kube-ipvs0" for link in NETWORKS for vip in (four, six)),
            *lines,
        )
        node = Node(space, client)
        found = await node.macs()
        assert {link: found[link] for link in macs} == macs
        with namespaces.entered(space):
            async with running_api(folder) as api:
                await _furnish_api(api)
                speaker = Speaker(Options(None, "node1", SETTINGS, metrics_port=0), api.client)
                work = asyncio.create_task(speaker.run())
                try:
                    yield node
                finally:
                    failed = work.done()
                    work.cancel()
                    await asyncio.wait({work})
                    assert not failed, work.exception()

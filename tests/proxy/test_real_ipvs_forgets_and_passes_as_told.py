"""What IPVS, connection tracking and nftables of the real kernel do together, without a daemon."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from strictarp.netlink import genl, ipvs_encode
from strictarp.netlink.ipvs import FAMILY_NAME, RealServer, VirtualServer
from strictarp.netlink.socket import NETLINK_GENERIC, Netlink
from strictarp.proxy import nftables
from strictarp.proxy.addresses import pack
from strictarp.proxy.config import Config
from strictarp.proxy.flows import stale
from strictarp.proxy.foreign_rules import adjust
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.mirror import Mirror
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    ChangeSets,
    Operation,
    SetReal,
    SetServer,
)
from strictarp.proxy.seam import Vanished

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]
CLIENT, NODE, POD, GATEWAY, VIP = (
    "192.0.2.1", "192.0.2.11", "198.51.100.18", "198.51.100.17", "192.0.2.100",
)  # fmt: skip


def _packed(text: str) -> bytes:
    address = pack(text)
    assert address is not None
    return address


TCP, UDP = VirtualServer(6, _packed(VIP), 80), VirtualServer(17, _packed(VIP), 53)
WEB, DNS = RealServer(_packed(POD), 8080), RealServer(_packed(POD), 5353)
SETS = ChangeSets(
    add=(("vips", VIP), *(("loadBalancer", f"{VIP} . {port}") for port in ("tcp . 80", "udp . 53")))
)
PROGRAM: list[Operation] = [
    SETS, AddServer(TCP), AddReal(TCP.key, WEB), AddServer(UDP), AddReal(UDP.key, DNS),
    BindAddress(_packed(VIP)),
]  # fmt: skip


class World:
    """A client, a node that programs nothing by itself, and a pod behind it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        for module in ("ip_vs_rr", "nft_masq", "nft_chain_nat", "nf_conntrack_netlink"):
            subprocess.run(["modprobe", module], check=False)
        self.client, self.node, self.pod = (
            stack.enter_context(contextlib.closing(namespaces.create(name)))
            for name in ("client", "node", "pod")
        )
        namespaces.veth((self.client, "eth0"), (self.node, "eth0"))
        namespaces.veth((self.pod, "eth0"), (self.node, "pod0"))
        namespaces.ip(
            self.node, f"addr add {NODE}/24 dev eth0", f"addr add {GATEWAY}/28 dev pod0",
            f"route add default via {CLIENT}",
        )  # fmt: skip
        namespaces.ip(self.client, f"addr add {CLIENT}/24 dev eth0", f"route add {VIP}/32 via {NODE}")
        namespaces.ip(self.pod, f"addr add {POD}/28 dev eth0", f"route add default via {GATEWAY}")
        with entered(self.node):
            self.kernel = LinuxKernel(nftables.change_elements)
        stack.callback(self.kernel.close)
        with entered(self.pod):
            self.dns = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            self.dns.bind((POD, 5353))
            stack.enter_context(socket.create_server((POD, 8080)))
        self.dns.settimeout(20)

    async def prepare(self) -> None:
        """IPVS, its sysctls, and our table without elements."""
        await self.kernel.prepare()
        values = ("ip_forward", "vs.conntrack", "vs.expire_nodest_conn")
        namespaces.run(self.node, ["sysctl", "-qw", *(f"net.ipv4.{name}=1" for name in values)])
        await self.kernel.load_rules(nftables.whole_table(Config(), (), [], opened=[_packed(NODE)]))

    async def program(self) -> Mirror:
        mirror = Mirror()
        assert await self.kernel.apply(PROGRAM) == [None] * len(PROGRAM)
        for operation in PROGRAM:
            mirror.record(operation)
        return mirror

    def connects(self, limit: float) -> bool:
        try:
            with entered(self.client):
                socket.create_connection((VIP, 80), timeout=limit).close()
        except TimeoutError:
            return False
        return True


@pytest.fixture
def bare() -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        yield World(stack)


async def test_each_claim_about_the_kernel_holds(bare: World) -> None:
    with entered(bare.node):
        await bare.prepare()
        with entered(bare.client):
            asking = socket.socket(type=socket.SOCK_DGRAM)
        with asking:
            await _udp_that_began_before_its_service(bare, asking)
        await _answers_meet_forward(bare)
        await _what_is_gone_has_vanished(bare)


async def _udp_that_began_before_its_service(bare: World, asking: socket.socket) -> None:
    """It is never masqueraded, until its entry is forgotten."""
    asking.sendto(b"early", (VIP, 53))
    mirror = await bare.program()
    asking.sendto(b"one", (VIP, 53))
    assert bare.dns.recvfrom(10)[1][0] == CLIENT
    flows = list(stale(await bare.kernel.flows([UDP.key]), {UDP.key}, mirror))
    assert await bare.kernel.end_flows(flows) == 1
    asking.sendto(b"two", (VIP, 53))
    assert bare.dns.recvfrom(10)[1][0] == GATEWAY
    assert list(stale(await bare.kernel.flows([UDP.key]), {UDP.key}, mirror)) == []


async def _answers_meet_forward(bare: World) -> None:
    """A foreign chain that drops stops them, and our opening lets them through."""
    chain = "chain FORWARD { type filter hook forward priority 0; policy drop; };"
    assert bare.connects(20)
    await bare.kernel.load_rules(f"table ip filter {{ {chain} }}\n")
    assert not bare.connects(4)
    assert await adjust(bare.kernel, await bare.kernel.chains(), nftables.forward_mark(Config()))
    assert bare.connects(20)
    assert await adjust(bare.kernel, await bare.kernel.chains(), 0)
    assert not bare.connects(4)


async def _what_is_gone_has_vanished(bare: World) -> None:
    """After a flush by others each kind of operation says so."""
    assert await bare.kernel.holds(TCP.key)
    async with Netlink(NETLINK_GENERIC) as other:
        family = (await genl.resolve(other, FAMILY_NAME)).number
        assert await other.request([ipvs_encode.encode_flush(family)]) == [None]
    assert not await bare.kernel.holds(TCP.key)
    namespaces.ip(bare.node, "link del kube-ipvs0")
    await bare.kernel.load_rules(nftables.no_table())
    operations: list[Operation] = [
        AddReal(TCP.key, WEB), SetServer(TCP), SetReal(TCP.key, WEB), BindAddress(_packed(VIP)), SETS,
    ]  # fmt: skip
    outcomes = await bare.kernel.apply(operations)
    assert [isinstance(outcome, Vanished) for outcome in outcomes] == [True] * len(operations), outcomes

"""Two nodes with the real IPVS: a VIP moves on plan, its open connections stay with the previous owner."""

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from strictarp.netlink.ipvs import RealServer, VirtualServer
from strictarp.proxy import moves, nftables
from strictarp.proxy.config import Config
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.liveness import Member
from strictarp.proxy.moves import Moved
from strictarp.proxy.operations import AddReal, AddServer, BindAddress, ChangeSets, Operation
from support import segment

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]
VIPS = {4: segment.VIP, 16: "2001:db8::100"}


def _packed(text: str) -> bytes:
    return ip_address(text).packed


def _serve(connection: socket.socket, peer: str) -> None:
    """Who calls first, then everything back, until a goodbye."""
    with connection, contextlib.suppress(OSError):
        connection.sendall(f"{peer}\n".encode())
        while (data := connection.recv(100)) not in (b"", b"bye"):
            connection.sendall(data)


def _ask(connection: socket.socket) -> bytes:
    """Either fails where the connection has been reset, the first if an acknowledgement came late."""
    connection.sendall(b"x")
    return connection.recv(10)


def _accept(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, (peer, *_) = listener.accept()
            threading.Thread(target=_serve, args=(connection, peer), daemon=True).start()


class World:
    """A client, two nodes that serve the same VIPs by IPVS, and an endpoint of each family that they have."""

    def __init__(self, stack: contextlib.ExitStack, widths: tuple[int, ...]) -> None:
        self.vips = {width: VIPS[width] for width in widths}
        for module in ("ip_vs_rr", "nft_masq", "nft_chain_nat", "nft_dup_ipv4", "nft_dup_ipv6"):
            subprocess.run(["modprobe", module], check=False)
        self.wire = stack.enter_context(segment.build(["client", "old", "new", "pod"], widths))
        self.kernels = {}
        for name in ("old", "new"):
            with entered(self.wire.hosts[name]):
                self.kernels[name] = LinuxKernel(nftables.change_elements)
            stack.callback(self.kernels[name].close)
        for width in widths:
            kind = socket.AF_INET if width == 4 else socket.AF_INET6
            with entered(self.wire.hosts["pod"]):
                listener = socket.create_server((self.address("pod", width), 8080), family=kind)
            stack.enter_context(listener)
            threading.Thread(target=_accept, args=(listener,), daemon=True).start()

    def address(self, name: str, width: int) -> str:
        return self.wire.address(name) if width == 4 else self.wire.address6(name)

    def member(self, name: str) -> Member:
        found = {width: _packed(self.address(name, width)) for width in self.vips}
        return Member(name, found.get(4, b""), found.get(16, b""))

    async def program(self, name: str) -> None:
        kernel = self.kernels[name]
        with entered(self.wire.hosts[name]):
            await kernel.prepare()
            values = ("ipv4.ip_forward", "ipv4.vs.conntrack", "ipv6.conf.all.forwarding")
            namespaces.run(self.wire.hosts[name], ["sysctl", "-qw", *(f"net.{value}=1" for value in values)])
            await kernel.load_rules(nftables.whole_table(Config(), (), [], hold_back=3.0))
            operations: list[Operation] = []
            for width, vip in self.vips.items():
                server = VirtualServer(6, _packed(vip), 80)
                real = RealServer(_packed(self.address("pod", width)), 8080)
                sets = (("vips", vip), ("loadBalancer", f"{vip} . tcp . 80"))
                operations += [ChangeSets(add=sets), AddServer(server), AddReal(server.key, real)]
                operations.append(BindAddress(_packed(vip)))
            assert await kernel.apply(operations) == [None] * len(operations)

    def toward(self, name: str) -> None:
        lines = (
            f"route replace {vip}/{8 * width} via {self.address(name, width)}"
            for width, vip in self.vips.items()
        )
        namespaces.ip(self.wire.hosts["client"], *lines)

    def connect(self, vip: str, port: int = 0) -> tuple[socket.socket, str]:
        """A connection, from a port of its own or any, and which node the endpoint sees."""
        with entered(self.wire.hosts["client"]):
            made = socket.create_connection((vip, 80), timeout=20, source_address=("", port))
        return made, made.recv(100).decode().strip()

    async def pass_on(self) -> None:
        """The new owner's rules, for all VIPs."""
        old = self.member("old")
        moved = {_packed(vip): Moved(_packed(vip), 2, old, 7, 60.0) for vip in self.vips.values()}
        with entered(self.wire.hosts["new"]):
            await self.kernels["new"].load_rules(moves.script({7: "eth0"}))
            await self.kernels["new"].fill_maps(moves.fillings(moved, [7], 0.0))


@pytest.fixture(params=[(4, 16), (16,)], ids=["both", "IPv6"])
def nodes(request: pytest.FixtureRequest) -> Iterator[World]:
    """With both families, and with IPv6 only."""
    with contextlib.ExitStack() as stack:
        yield World(stack, request.param)


async def test_open_connections_go_on_and_new_ones_are_the_new_owners(nodes: World) -> None:
    for name in ("old", "new"):
        await nodes.program(name)
    nodes.toward("old")
    with contextlib.ExitStack() as stack:
        opened = {}
        for width, vip in nodes.vips.items():
            opened[width], node = nodes.connect(vip)
            stack.enter_context(opened[width])
            assert node == nodes.address("old", width)
        nodes.toward("new")
        for connection in opened.values():
            connection.sendall(b"early")
        await asyncio.sleep(0.1)  # packets are there before the rule is
        await nodes.pass_on()
        for connection in opened.values():
            assert connection.recv(10) == b"early"
        for width, vip in nodes.vips.items():
            for number in range(20):
                opened[width].sendall(b"%d" % number)
                assert opened[width].recv(10) == b"%d" % number
            fresh, node = nodes.connect(vip)
            fresh.close()
            assert node == nodes.address("new", width)
        with entered(nodes.wire.hosts["new"]):
            await nodes.kernels["new"].fill_maps(moves.fillings({}, [7], 0.0))
        for connection in opened.values():
            with pytest.raises(ConnectionResetError):
                _ask(connection)


async def test_a_port_of_an_earlier_connection_of_the_new_owner_does_not_mislead_its_packets(
    nodes: World,
) -> None:
    """IPVS remembers a connection that is over for two minutes; a client takes its port again sooner."""
    for name in ("old", "new"):
        await nodes.program(name)
    await nodes.pass_on()
    for number, (width, vip) in enumerate(nodes.vips.items()):
        port = 40_000 + number
        nodes.toward("new")
        before, node = nodes.connect(vip, port)
        assert node == nodes.address("new", width)
        before.sendall(b"bye")
        assert before.recv(10) == b""
        before.close()
        await asyncio.sleep(0.2)
        with entered(nodes.wire.hosts["new"]):  # as its proxy does once the IP has moved away
            assert await nodes.kernels["new"].forget_closed_connections({_packed(vip)}) == frozenset()
        nodes.toward("old")
        again, node = nodes.connect(vip, port)
        assert node == nodes.address("old", width)
        nodes.toward("new")
        with again:
            for said in range(20):
                again.sendall(b"%d" % said)
                assert again.recv(10) == b"%d" % said

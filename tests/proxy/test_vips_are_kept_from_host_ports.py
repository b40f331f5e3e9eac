"""A rule of others for a host port, on the running kernel: it takes every local address but our VIPs."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace, entered
from strictarp.proxy.config import Config
from strictarp.proxy.nftables import keep_nothing, whole_table

pytestmark = pytest.mark.netns
NODE, NODE6 = "192.0.2.11", "2001:db8:1::11"
VIPS = {"clusterIP": 1, "loadBalancer": 2, "externalIP": 3, "externalIPLocal": 4}
FAMILIES = {"ip": ("192.0.2.10{}", NODE), "ip6": ("2001:db8:1::10{}", NODE6)}
# As the portmap plugin does it, and Docker; a listener of the node stands for the pod.
HOST_PORTS = """
table {family} hostports {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        fib daddr type local tcp dport 80 dnat to {own}:8080;
    }}
    chain output {{
        type nat hook output priority -100;
        fib daddr type local tcp dport 80 dnat to {own}:8080;
    }}
}}
"""


@pytest.fixture
def world() -> Iterator[tuple[Namespace, Namespace]]:
    """A client, and a node whose VIPs are local. There is no IPVS here: what is kept finds nobody."""
    with contextlib.ExitStack() as stack:
        client, node = (
            stack.enter_context(contextlib.closing(namespaces.create(name))) for name in ("client", "node")
        )
        namespaces.veth((client, "eth0"), (node, "eth0"))
        namespaces.ip(client, "addr add 192.0.2.1/24 dev eth0", "addr add 2001:db8:1::1/64 dev eth0 nodad")
        namespaces.ip(node, f"addr add {NODE}/24 dev eth0", f"addr add {NODE6}/64 dev eth0 nodad")
        elements = set()
        for vip, _ in FAMILIES.values():
            for name, number in VIPS.items():
                address = vip.format(number)
                namespaces.ip(node, f"addr add {address} dev eth0 nodad")
                elements |= {(name, f"{address} . tcp . 80"), ("vips", address)}
        namespaces.run(node, ["nft", whole_table(Config(), (), elements)])
        for family, (_, own) in FAMILIES.items():
            shown = f"[{own}]" if ":" in own else own
            namespaces.run(node, ["nft", HOST_PORTS.format(family=family, own=shown)])
        with entered(node):
            for address in ("", "::"):
                stack.enter_context(_listener(address))
        yield client, node


def _listener(address: str) -> socket.socket:
    family = socket.AF_INET6 if address else socket.AF_INET
    return socket.create_server((address, 8080), family=family)


def _taken(space: Namespace, address: str) -> bool:
    """Whether the rule of the others gets a connection to port 80."""
    with entered(space):
        try:
            socket.create_connection((address, 80), timeout=3).close()
        except ConnectionRefusedError:
            return False
    return True


def test_the_rule_takes_the_nodes_own_address_and_vips_only_when_they_are_not_kept(
    world: tuple[Namespace, Namespace],
) -> None:
    client, node = world
    for vip, own in FAMILIES.values():
        for space in (client, node):
            assert _taken(space, own)
            assert [name for name, number in VIPS.items() if _taken(space, vip.format(number))] == []
    namespaces.run(node, ["nft", keep_nothing()])
    for vip, _ in FAMILIES.values():
        for space in (client, node):
            assert all(_taken(space, vip.format(number)) for number in VIPS.values())

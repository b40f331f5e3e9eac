"""What scenarios do to the segment: on real bridges and cables."""

import socket
from collections.abc import Iterator

import pytest

from strictarp.arp import bpf
from strictarp.arp.frames import ETHERTYPE_ARP
from strictarp.arp.rawsocket import RawSocket
from strictarp.lab import flood, layout, namespaces, resolver, stranger
from strictarp.lab.topology import Network
from support.forked import until

pytestmark = pytest.mark.netns
NODE1, VIP = "192.0.2.11", "192.0.2.100"


@pytest.fixture
def network() -> Iterator[Network]:
    built = Network(3)
    built.build()
    yield built
    for space in built.spaces.values():
        space.close()


def resolved(network: Network, name: str, address: str) -> str:
    """The MAC that a host's kernel finds for an address, or nothing."""
    with namespaces.entered(network.spaces[name]):
        return "".join(resolver.resolve(address, "eth0", times=1, wait=0.15))


def reaches(network: Network, name: str, other: str) -> bool:
    """Whether a host finds another one."""
    return bool(resolved(network, name, network.host(other).address))


def test_islands_hear_themselves_only_and_are_joined_again(network: Network) -> None:
    network.divide([["node1", "node2"]])
    assert reaches(network, "node1", "node2")
    assert reaches(network, "client", "node3")
    assert not reaches(network, "client", "node1")
    assert not reaches(network, "node2", "node3")
    network.divide([["node3"]])
    assert not reaches(network, "client", "node3")
    network.join()
    assert all(reaches(network, "client", name) for name in network.nodes)


def test_a_cable_that_is_pulled_is_seen_by_the_node(network: Network) -> None:
    network.set_cable("node1", plugged=False)
    state = namespaces.run(network.spaces["node1"], ["ip", "link", "show", "eth0"]).stdout
    assert "NO-CARRIER" in state
    assert not reaches(network, "client", "node1")
    network.set_cable("node1", plugged=True)
    # The kernel tells the bridge of the carrier when it gets to it (linkwatch).
    until(lambda: reaches(network, "client", "node1"), 5, "the node is there again")


def test_another_card_has_another_mac_and_index_and_the_same_addresses_and_routes(network: Network) -> None:
    def routes() -> list[str]:
        lines = namespaces.run(network.spaces["node1"], ["ip", "route"]).stdout.splitlines()
        return sorted(" ".join(line.split()) for line in lines)

    before, mac = routes(), resolved(network, "client", NODE1)
    network.remove_card("node1")
    assert not resolved(network, "client", NODE1)
    network.insert_card("node1")
    assert routes() == before
    second = resolved(network, "client", NODE1)
    network.change_mac("node1")
    third = resolved(network, "client", NODE1)
    assert len({mac, second, third}) == 3
    assert third == network.nodes["node1"].mac


def test_a_stranger_takes_an_address_and_is_gone_without_a_trace(network: Network) -> None:
    links = namespaces.run(network.spaces["wire"], ["ip", "-o", "link"]).stdout.count("\n")
    stranger.plug_in(network)
    stranger.take(network, VIP)
    assert resolved(network, "client", VIP) == stranger.MAC
    stranger.pull_out(network)
    stranger.pull_out(network)
    assert not resolved(network, "client", VIP)
    assert namespaces.run(network.spaces["wire"], ["ip", "-o", "link"]).stdout.count("\n") == links


def test_a_flood_arrives_at_every_node_at_about_its_rate(network: Network) -> None:
    stranger.plug_in(network)
    sockets = []
    for name in network.nodes:
        with namespaces.entered(network.spaces[name]):
            sockets.append(RawSocket(socket.if_nametoindex("eth0"), ETHERTYPE_ARP, bpf.arp()))
    with namespaces.entered(network.spaces[stranger.NAME]):
        nobody = layout.UNUSED_ADDRESS
        sent = flood.run("eth0", source=stranger.MAC, sender=nobody, target=nobody, rate=4000, seconds=0.5)
    assert 1000 <= sent <= 2200
    assert [each.discard() for each in sockets] == [sent] * 3
    for each in sockets:
        each.close()

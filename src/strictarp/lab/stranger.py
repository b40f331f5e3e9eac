"""A host on the segment that is no node: it may take an address for itself, or flood the segment."""

from __future__ import annotations

import ipaddress
import random
import socket

from strictarp.arp import bpf, frames
from strictarp.arp.frames import ETHERTYPE_ARP
from strictarp.arp.rawsocket import RawSocket
from strictarp.lab import layout, namespaces
from strictarp.lab.topology import Network, write_sysctls

NAME, PORT, MAC = "stranger", "x-stranger", "02:00:00:00:00:5a"
# Announces its addresses when its link comes up, as most systems do in one way or another.
_SYSCTLS = {"net/ipv4/conf/eth0/arp_notify": "1"}


def plug_in(network: Network, mac: str = MAC) -> None:
    """A cable of its own into the segment. The witness does not listen there, only at the nodes' ports."""
    wire = network.spaces[layout.WIRE]
    space = network.spaces[NAME] = namespaces.create(NAME)
    namespaces.veth((wire, PORT), (space, "eth0"), mac_b=mac)
    namespaces.ip(wire, f"link set {PORT} master segment")
    write_sysctls(space, _SYSCTLS)


def another_mac() -> str:
    """A MAC that no host here has had: speakers tell of one MAC's conflict once a minute."""
    return f"02:00:00:5a:{random.randrange(256):02x}:{random.randrange(256):02x}"  # noqa: S311 - a name


def take(network: Network, address: str) -> None:
    """Have the address: its kernel announces it, and answers from now on."""
    namespaces.ip(
        network.spaces[NAME],
        "link set eth0 down",
        f"addr add {address}/{layout.SEGMENT.prefixlen} dev eth0",
        "link set eth0 up",
    )


def announce(network: Network, address: str, mac: str) -> None:
    """Tell all caches once, as hosts do again and again: what a kernel sends when its link comes up is lost
    where the switch's port comes up later.
    """
    with namespaces.entered(network.spaces[NAME]):
        link = RawSocket(socket.if_nametoindex("eth0"), ETHERTYPE_ARP, bpf.nothing())
    packed = ipaddress.IPv4Address(address).packed
    link.send(frames.gratuitous_request(frames.parse_mac(mac), packed))
    link.close()


def pull_out(network: Network) -> None:
    """Gone, with all that it had."""
    space = network.spaces.pop(NAME, None)
    if space is not None:
        namespaces.ip(network.spaces[layout.WIRE], f"link del {PORT}")
        space.close()

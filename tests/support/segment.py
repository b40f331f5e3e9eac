"""A segment of the running kernel: hosts in namespaces of their own, each with `eth0`, on one switch.

Namespaces are anonymous: they are gone with the test's process, whatever happens to it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace

QUIET = {
    "net/ipv4/conf/all/arp_ignore": 0,
    "net/ipv4/conf/default/arp_ignore": 0,
    "net/ipv4/conf/all/arp_announce": 0,
    "net/ipv4/conf/default/arp_announce": 0,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/disable_ipv6": 1,
    "net/ipv6/conf/default/disable_ipv6": 1,
}
VIP = "192.0.2.100"


class Segment(msgspec.Struct, frozen=True):
    """hosts: by name, in the order of their addresses."""

    switch: Namespace
    hosts: dict[str, Namespace]

    def mac(self, name: str) -> str:
        """02:00:00:00:00:0N for host N, counted from 1."""
        return f"02:00:00:00:00:{list(self.hosts).index(name) + 1:02x}"

    def address(self, name: str) -> str:
        """192.0.2.1N for host N, counted from 1."""
        return f"192.0.2.{11 + list(self.hosts).index(name)}"

    def address6(self, name: str) -> str:
        """2001:db8::1N for host N, counted from 1, once `add_ipv6` was called."""
        return f"2001:db8::{11 + list(self.hosts).index(name)}"


def add_ipv6(segment: Segment) -> None:
    """Give each host an IPv6 address too, at once: without DAD its link-local one can ask for others too."""
    for name, space in segment.hosts.items():
        links = ("all", "lo", "eth0")
        write_sysctls(space, {f"net/ipv6/conf/{each}/accept_dad": 0 for each in links})
        write_sysctls(space, {f"net/ipv6/conf/{each}/disable_ipv6": 0 for each in links})
        namespaces.ip(space, f"addr add {segment.address6(name)}/64 dev eth0 nodad")


def write_sysctls(space: Namespace, values: dict[str, int]) -> None:
    """Write /proc/sys values of a namespace; a key that this kernel lacks is an error."""
    with namespaces.entered(space):
        for key, value in values.items():
            Path("/proc/sys", key).write_text(str(value))


@contextlib.contextmanager
def build(names: Sequence[str], families: Collection[int] = (4,)) -> Iterator[Segment]:
    """A switch and hosts `names` with addresses 192.0.2.11, .12, ... in 192.0.2.0/24.

    families: widths of the addresses that hosts have; those of 16 as `add_ipv6` gives them.
    """
    with contextlib.ExitStack() as stack:
        switch = namespaces.create("switch")
        stack.callback(switch.close)
        write_sysctls(switch, QUIET)
        namespaces.ip(switch, "link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up")
        segment = Segment(switch, {})
        for name in names:
            space = namespaces.create(name)
            stack.callback(space.close)
            write_sysctls(space, QUIET)
            segment.hosts[name] = space
            namespaces.veth((switch, f"p-{name}"), (space, "eth0"), mac_b=segment.mac(name))
            namespaces.ip(switch, f"link set p-{name} master br0")
            if 4 in families:
                namespaces.ip(space, f"addr add {segment.address(name)}/24 dev eth0")
        if 16 in families:
            add_ipv6(segment)
        yield segment


def bind_vip(space: Namespace, address: str = VIP) -> None:
    """Bind an address as kube-proxy does on kube-ipvs0. A port-less bridge with ARP off stands in for it."""
    namespaces.ip(
        space, "link add vips0 type bridge", "link set vips0 arp off", f"addr add {address}/32 dev vips0"
    )


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")

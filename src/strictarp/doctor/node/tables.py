"""Sizes of the kernel's tables, and the other numbers that a report carries. Pure."""

from __future__ import annotations

NEIGHBOURS = "entries of the neighbour table"
CONNECTIONS, CONNECTIONS_MOST = "net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max"
NEIGHBOURS_MOST = "net.ipv4.neigh.default.gc_thresh3"
INHERIT = "net.core.devconf_inherit_init_net"
IPVS_CONNTRACK = "net.ipv4.vs.conntrack"
BRIDGE_ARPTABLES = "net.bridge.bridge-nf-call-arptables"
FORWARD = "net.ipv4.ip_forward"
NUMBERS = (
    CONNECTIONS,
    CONNECTIONS_MOST,
    NEIGHBOURS_MOST,
    "net.ipv4.neigh.default.gc_thresh1",
    "net.ipv4.neigh.default.gc_thresh2",
    INHERIT,
    IPVS_CONNTRACK,
    BRIDGE_ARPTABLES,
    FORWARD,
)
"""Sysctls that a report holds, where the kernel has them."""


def neighbours(stat: str) -> int:
    """Entries of the ARP table, of all namespaces, by /proc/net/stat/arp_cache.

    The first number of every line, in hexadecimal (neigh_stat_seq_show in net/core/neighbour.c). Raises
    ValueError.
    """
    lines = stat.splitlines()
    if len(lines) < 2 or not lines[1].split():
        raise ValueError("no line of numbers")
    return int(lines[1].split()[0], 16)


def has_flag(text: str, flag: int) -> bool | None:
    """Whether a flag is in what /sys/class/net/DEVICE/flags holds (`0x1003`); None for what is no number."""
    try:
        return bool(int(text.strip(), 16) & flag)
    except ValueError:
        return None

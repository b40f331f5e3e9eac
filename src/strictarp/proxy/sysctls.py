"""The sysctls that ipvs mode wants, in kube-proxy's order (pkg/proxy/ipvs, NewProxier). Pure."""

from __future__ import annotations

import re

from strictarp.arp.switching import Scope
from strictarp.guard.settings import Settings as Guard
from strictarp.proxy.config import Config, Conntrack

BASIC = {
    "net.ipv4.vs.conntrack": "1",
    "net.ipv4.vs.expire_nodest_conn": "1",
    "net.ipv4.vs.expire_quiescent_template": "1",
    "net.ipv4.ip_forward": "1",
}
"""Needed in any case. SNAT after IPVS works with vs.conntrack=1 only."""
STRICT_ARP = {"arp_ignore": "1", "arp_announce": "2"}


def wanted_sysctls(config: Config, guard: Guard | None = None) -> dict[str, str]:
    """Dotted name → value. strictARP's are kept by the guard (`proxy.strictarp`), in its scope.

    Those of uplinks that are found on the node, since none is named, are not among them.
    """
    scope, uplinks = (guard.scope, guard.uplinks) if guard else (Scope.ALL, ())
    places = {Scope.ALL: ("all",), Scope.UPLINKS: uplinks, Scope.VIPS: ()}[scope]
    strict = {
        f"net.ipv4.conf.{place.replace('.', '/')}.{key}": value
        for place in places
        for key, value in STRICT_ARP.items()
    }
    return {**BASIC, **(strict if config.strict_arp else {})}


def kernel_sysctls(release: str) -> dict[str, str]:
    """What depends on the kernel (`uname -r`): reused client ports, which 5.9 handles by itself.

    Before, a SYN from a reused port lost a second (kubernetes issues 70747 and 93297); before 4.1 there is no
    such switch.
    """
    parts = re.match(r"(\d+)\.(\d+)", release)
    version = (int(parts[1]), int(parts[2])) if parts else (0, 0)
    return {"net.ipv4.vs.conn_reuse_mode": "0"} if (4, 1) <= version < (5, 9) else {}


def conntrack_sysctls(conntrack: Conntrack) -> dict[str, str]:
    """Times of connection tracking, in seconds; what cannot be written is only logged (kube-proxy).

    A value of 0 in the configuration leaves the host's.
    """
    wanted: dict[str, str] = {}
    for name, seconds in (
        ("tcp_timeout_established", conntrack.tcp_established_timeout),
        ("tcp_timeout_close_wait", conntrack.tcp_close_wait_timeout),
        ("udp_timeout", conntrack.udp_timeout),
        ("udp_timeout_stream", conntrack.udp_stream_timeout),
    ):
        if seconds > 0:
            wanted[f"net.netfilter.nf_conntrack_{name}"] = str(int(seconds))
    if conntrack.tcp_be_liberal:
        wanted["net.netfilter.nf_conntrack_tcp_be_liberal"] = "1"
    return wanted


def conntrack_size(conntrack: Conntrack, cpus: int) -> dict[str, str]:
    """How many connections are tracked at most, by the number of CPUs; 0 per core leaves the host's."""
    if conntrack.max_per_core == 0:
        return {}
    entries = max(conntrack.max_per_core * cpus, conntrack.minimum)
    return {"net.netfilter.nf_conntrack_max": str(entries)}


def hash_size(entries: int) -> int:
    """Buckets that so many tracked connections want (kube-proxy: cmd/kube-proxy/app/conntrack.go)."""
    return entries // 4

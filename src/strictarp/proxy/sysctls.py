"""The sysctls that ipvs mode wants, in kube-proxy's order (pkg/proxy/ipvs, NewProxier). Pure."""

from __future__ import annotations

from strictarp.proxy.config import Config, Conntrack

ARP_IGNORE = "net.ipv4.conf.all.arp_ignore"
ARP_ANNOUNCE = "net.ipv4.conf.all.arp_announce"
_BASIC = {
    "net.ipv4.vs.conntrack": "1",
    "net.ipv4.vs.expire_nodest_conn": "1",
    "net.ipv4.vs.expire_quiescent_template": "1",
    "net.ipv4.ip_forward": "1",
}
STRICT_ARP = {ARP_IGNORE: "1", ARP_ANNOUNCE: "2"}


def wanted_sysctls(config: Config) -> dict[str, str]:
    """Dotted name → value, in the order of writing. SNAT after IPVS works with vs.conntrack=1 only."""
    return {**_BASIC, **(STRICT_ARP if config.strict_arp else {})}


def optional_sysctls(conntrack: Conntrack, cpus: int) -> dict[str, str]:
    """Sizes and times of connection tracking; what cannot be written is only logged (kube-proxy).

    A value of 0 in the configuration leaves the host's.
    """
    wanted: dict[str, str] = {}
    if conntrack.max_per_core > 0:
        entries = max(conntrack.max_per_core * cpus, conntrack.minimum)
        wanted["net.netfilter.nf_conntrack_max"] = str(entries)
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

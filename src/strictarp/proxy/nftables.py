"""Our nftables table as text for `nft -f`: SNAT, source ranges, and closed ports of VIPs. Pure.

IPVS takes packets at LOCAL_IN and LOCAL_OUT (net/netfilter/ipvs/ip_vs_core.c, ip_vs_ops4: just before nat's
hooks there), so traffic to a VIP is marked before, in prerouting and output, and the marked packet gets its
SNAT in postrouting, after IPVS has changed its destination (needs net.ipv4.vs.conntrack=1). Chains of type
nat see the first packet of a connection only. Masquerading follows kube-proxy's table for ipvs mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from strictarp.proxy.config import Config
from strictarp.proxy.fields import Network
from strictarp.proxy.operations import ChangeSets, Element

FAMILY = "ip"
TABLE = "strictarp"

_PLACE = "ip daddr . meta l4proto . th dport"
_SERVICE = "ipv4_addr . inet_proto . inet_service"
SETS: dict[str, str] = {
    "clusterIP": f"type {_SERVICE};",
    "externalIP": f"type {_SERVICE};",
    "externalIPLocal": f"type {_SERVICE};",
    "loadBalancer": f"type {_SERVICE};",
    "loadBalancerLocal": f"type {_SERVICE};",
    "loadBalancerFirewall": f"type {_SERVICE};",
    "loadBalancerSource": f"type {_SERVICE} . ipv4_addr; flags interval;",
    "nodePort": f"type {_SERVICE};",
    "nodePortLocal": f"type {_SERVICE};",
    "healthCheckNodePort": f"type {_SERVICE};",
    "hairpin": f"type {_SERVICE} . ipv4_addr;",
    "vips": "type ipv4_addr;",
}
INTERVALS = "loadBalancerSource"
"""The set in which elements may overlap, which nft refuses."""


def whole_table(config: Config, pod_networks: Sequence[Network], elements: Iterable[Element]) -> str:
    """A script that replaces our table in one transaction.

    `pod_networks`: node.spec.podCIDRs, for detectLocalMode NodeCIDR.
    """
    filled: dict[str, list[str]] = {name: [] for name in SETS}
    for name, element in sorted(elements):
        filled[name].append(element)
    lines = [f"add table {FAMILY} {TABLE}", f"delete table {FAMILY} {TABLE}", f"table {FAMILY} {TABLE} {{"]
    for name, definition in SETS.items():
        content = f" elements = {{ {', '.join(filled[name])} }};" if filled[name] else ""
        lines.append(f"  set {name} {{ {definition}{content} }}")
    for name, rules in _chains(config, pod_networks).items():
        lines.append(f"  chain {name} {{")
        lines += [f"    {rule}" for rule in rules]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def change_elements(change: ChangeSets) -> str:
    """A script that deletes and adds elements in one transaction.

    Deletions first: an interval may make place for one that overlaps it.
    """
    lines = []
    for verb, elements in (("delete", change.remove), ("add", change.add)):
        by_set: dict[str, list[str]] = {}
        for name, element in elements:
            by_set.setdefault(name, []).append(element)
        lines += [
            f"{verb} element {FAMILY} {TABLE} {name} {{ {', '.join(sorted(by_set[name]))} }}"
            for name in sorted(by_set)
        ]
    return "\n".join([*lines, ""])


def _chains(config: Config, pod_networks: Sequence[Network]) -> dict[str, list[str]]:
    mark = 1 << config.masquerade_bit
    return {
        "mark_it": [f"meta mark set meta mark | {mark:#x}"],
        "services": list(_services(config, pod_networks)),
        "prerouting": ["type nat hook prerouting priority dstnat; policy accept;", "jump services"],
        # nat's own hook in output is at -100, IPVS's at -98 (NF_IP_PRI_NAT_DST + 2).
        "output": ["type nat hook output priority -100; policy accept;", "jump services"],
        "postrouting": [
            "type nat hook postrouting priority srcnat; policy accept;",
            f"{_PLACE} . ip saddr @hairpin masquerade fully-random",
            f"meta mark & {mark:#x} == 0 return",
            # Cleared, so that a tunnel which copies the mark to its outer packet is not masqueraded again.
            f"meta mark set meta mark ^ {mark:#x}",
            "masquerade fully-random",
        ],
        "source_ranges": [f"{_PLACE} @loadBalancerFirewall {_PLACE} . ip saddr != @loadBalancerSource drop"],
        "input": [
            "type filter hook input priority filter; policy accept;",
            "jump source_ranges",
            *_closed_ports(),
        ],
        # Before IPVS at -98: afterwards the VIP is gone from the packet.
        "output_filter": ["type filter hook output priority mangle; policy accept;", "jump source_ranges"],
    }


def _services(config: Config, pod_networks: Sequence[Network]) -> Iterator[str]:
    """Which traffic to Services is masqueraded."""
    yield "ip saddr 127.0.0.0/8 return"
    yield f"{_PLACE} @loadBalancerLocal return"
    yield f"{_PLACE} @loadBalancer goto mark_it"
    yield f"{_foreign(config, pod_networks)} goto mark_it"
    yield f"{_PLACE} @externalIP goto mark_it"
    yield f"{_PLACE} @nodePortLocal return"
    yield f"{_PLACE} @nodePort goto mark_it"


def _foreign(config: Config, pod_networks: Sequence[Network]) -> str:
    """Match of traffic to a ClusterIP that must come back by way of this node."""
    local = config.detect_local
    networks = pod_networks if local.mode == "NodeCIDR" else local.networks
    source = next((network for network in networks if network.version == 4), None)
    to_cluster_ip = f"{_PLACE} @clusterIP"
    if config.masquerade_all:
        return to_cluster_ip
    if local.mode == "BridgeInterface":
        return f'iifname != "{local.name}" {to_cluster_ip}'
    if local.mode == "InterfaceNamePrefix":
        return f'iifname != "{local.name}*" {to_cluster_ip}'
    if source is not None:
        return f"ip saddr != {source} {to_cluster_ip}"
    # No detector: only traffic of the node itself, which picks a VIP as its source (it is local here).
    return "ip saddr . meta l4proto . th dport @clusterIP"


def _closed_ports() -> Iterator[str]:
    """Host services are not reachable on VIPs (kubernetes issue 72236), new pings neither."""
    yield "ip daddr != @vips accept"
    for name in ("clusterIP", "loadBalancer", "externalIP", "externalIPLocal"):
        yield f"{_PLACE} @{name} accept"
    yield "ct state new reject"

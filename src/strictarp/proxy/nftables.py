"""Our nftables tables as text for `nft -f`: SNAT, source ranges, and closed ports of VIPs. Pure.

IPVS takes packets at LOCAL_IN and LOCAL_OUT (net/netfilter/ipvs/ip_vs_core.c, ip_vs_ops4: just before nat's
hooks there), so traffic to a VIP is marked before, in prerouting and output, and the marked packet gets its
SNAT in postrouting, after IPVS has changed its destination (needs net.ipv4.vs.conntrack=1). Chains of type
nat see the first packet of a connection only. Masquerading follows kube-proxy's table for ipvs mode.

VIPs are local addresses, and rules of others for host ports (CNI plugins, Docker) translate what goes to any
of those. Our chains come before them and translate traffic to a VIP to where it goes anyhow: a connection
gets its destination once (nf_nat_inet_fn), so that no later chain takes it away (kubernetes issue 62718).

An IP that moves here on plan brings packets of connections that are not ours, some of them before the rules
that pass them on (`moves`): this kernel would reset those connections. So the first such packet of each is
dropped, and what its sender repeats is passed on or, where nothing was handed over, reset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from strictarp.netlink import nft_maps
from strictarp.netlink.nft_maps import Filling
from strictarp.proxy.addresses import show
from strictarp.proxy.config import Config
from strictarp.proxy.fields import Network
from strictarp.proxy.operations import ChangeSets, Element

TABLE = "strictarp"


class _Words(msgspec.Struct, frozen=True):
    """What differs between the tables of IPv4 and IPv6. width: bytes of an address."""

    table: str
    header: str
    address: str
    loopback: str
    width: int
    version: int

    @property
    def place(self) -> str:
        """What the sets of a Service's addresses hold of a packet."""
        return f"{self.header} daddr . meta l4proto . th dport"


_IPV4 = _Words("ip", "ip", "ipv4_addr", "127.0.0.0/8", 4, 4)
_IPV6 = _Words("ip6", "ip6", "ipv6_addr", "::1", 16, 6)
_WORDS = {words.width: words for words in (_IPV4, _IPV6)}
FAMILIES: dict[int, str] = {width: words.table for width, words in _WORDS.items()}
"""nft's name of a family by the width of its addresses. Each has a table of ours."""

_SERVICE = "{address} . inet_proto . inet_service"
SETS: dict[str, str] = {
    "clusterIP": f"type {_SERVICE};",
    "externalIP": f"type {_SERVICE};",
    "externalIPLocal": f"type {_SERVICE};",
    "loadBalancer": f"type {_SERVICE};",
    "loadBalancerLocal": f"type {_SERVICE};",
    "loadBalancerFirewall": f"type {_SERVICE};",
    "loadBalancerSource": f"type {_SERVICE} . {{address}}; flags interval;",
    "nodePort": f"type {_SERVICE};",
    "nodePortLocal": f"type {_SERVICE};",
    "healthCheckNodePort": f"type {_SERVICE};",
    "healthCheckVIP": f"type {_SERVICE};",
    "hairpin": f"type {_SERVICE} . {{address}};",
    "vips": "type {address};",
}
IMPLIED = frozenset({"healthCheckVIP"})
"""Sets that plans do not list, as they follow from others: VIPs with their Service's health check port."""
KEPT = "kept"
"""The chain that keeps traffic to VIPs from the chains of others."""
_OPEN = (
    "clusterIP", "loadBalancer", "externalIP", "externalIPLocal", "healthCheckNodePort", "healthCheckVIP",
)  # fmt: skip
"""What is open on VIPs."""
UNKNOWN = (
    "tcp flags & (syn | rst) == 0 ct state new",
    "tcp flags & (fin | syn | rst) == fin ct state invalid",
)
"""TCP packets of no connection here: connection tracking takes any up from the middle but a FIN (tcp_new)."""
_BEFORE_OTHERS = "priority -101; policy accept;"
INTERVALS = "loadBalancerSource"
"""The set in which elements may overlap, which nft refuses."""


def whole_table(
    config: Config,
    pod_networks: Sequence[Network],
    elements: Iterable[Element],
    widths: Sequence[int] = (4, 16),
    opened: Sequence[bytes] | None = None,
    *,
    hold_back: float = 0,
) -> str:
    """A script that replaces our tables, one for each width of address, in one transaction.

    `pod_networks`: node.spec.podCIDRs, for detectLocalMode NodeCIDR. `opened`: mark forwarded answers for
    openings in others' chains; these are the node's addresses with NodePorts. None: mark nothing.
    `hold_back`: for how many seconds packets of connections that are not ours are dropped, and not reset.
    """
    filled: dict[tuple[str, str], list[str]] = {}
    for name, element in sorted(elements):
        filled.setdefault((_family(element), name), []).append(element)
    lines = []
    for words in (_WORDS[width] for width in widths):
        table = f"table {words.table} {TABLE}"
        lines += [f"add {table}", f"delete {table}", f"{table} {{"]
        for name, definition in SETS.items():
            inside = filled.get((words.table, name))
            content = f" elements = {{ {', '.join(inside)} }};" if inside else ""
            lines.append(f"  set {name} {{ {definition.format(address=words.address)}{content} }}")
        chains = _chains(config, pod_networks, words)
        if hold_back:
            # As long as their packets are dropped, and as long as they are remembered.
            times = {"strays_now": f"{round(hold_back * 1000)}ms", "strays": "1m"}
            lines += [
                f"  set {name} {{ type {words.address} . inet_service . {words.address} . inet_service;"
                f" size 65536; flags dynamic,timeout; timeout {time}; }}"
                for name, time in times.items()
            ]
            chains |= _strays(words)
        if opened is not None:
            chains |= _forwarded(forward_mark(config), opened, words)
        for name, rules in chains.items():
            lines.append(f"  chain {name} {{")
            lines += [f"    {rule}" for rule in rules]
            lines.append("  }")
        lines.append("}")
    return "\n".join([*lines, ""])


def _strays(words: _Words) -> dict[str, list[str]]:
    """Behind the rules of `moves`. A set that is full holds nothing back."""
    connection = f"{words.header} saddr . tcp sport . {words.header} daddr . tcp dport"
    return {
        "strayed": [
            "type filter hook prerouting priority mangle + 1; policy accept;",
            *(f"{match} {words.place} @loadBalancer jump hold_back" for match in UNKNOWN),
        ],
        "hold_back": [
            f"{connection} @strays_now drop",
            f"{connection} @strays return",
            f"add @strays {{ {connection} }} add @strays_now {{ {connection} }} drop",
        ],
    }


def forget_strays(widths: Sequence[int] = (4, 16)) -> list[Filling]:
    """So that a connection has its moment again, when an IP comes or goes another time within a minute."""
    return [Filling(nft_maps.FAMILIES[width], TABLE, "strays", ()) for width in widths]


def forward_mark(config: Config) -> int:
    """The mark of forwarded answers: the bit beside that of masquerading, which is ours already."""
    return 1 << (config.masquerade_bit - 1 if config.masquerade_bit else 1)


def _forwarded(mark: int, node_ports: Sequence[bytes], words: _Words) -> dict[str, list[str]]:
    """Mark forwarded answers of Services before every other chain, and clear the mark behind them.

    A forwarded packet of a connection that was made to an address of this node can only be an answer of what
    IPVS sent elsewhere. nft 1.0.6 cannot put the port of a connection into a concatenation.
    """
    answers = f"ct state established,related ct direction reply ct original {words.header} daddr"
    set_mark = f"meta mark set meta mark | {mark:#x}"
    rules = [f"{answers} @vips {set_mark}"]
    own = [show(address) for address in node_ports if len(address) == words.width]
    if own:
        rules.append(f"{answers} {{ {', '.join(own)} }} {set_mark}")
    return {
        "forward": ["type filter hook forward priority -1000; policy accept;", *rules],
        "forwarded": [
            "type filter hook forward priority 1000; policy accept;",
            f"meta mark & {mark:#x} == {mark:#x} meta mark set meta mark ^ {mark:#x}",
        ],
    }


def no_table(widths: Sequence[int] = (4, 16)) -> str:
    """A script that deletes our tables, there or not."""
    return "".join(
        f"add table {_WORDS[width].table} {TABLE}\ndelete table {_WORDS[width].table} {TABLE}\n"
        for width in widths
    )


def keep_nothing(widths: Sequence[int] = (4, 16)) -> str:
    """A script that leaves traffic to VIPs to whoever translates it, and all else as it is."""
    return "".join(
        f"add table {_WORDS[width].table} {TABLE}\nadd chain {_WORDS[width].table} {TABLE} {KEPT}\n"
        f"flush chain {_WORDS[width].table} {TABLE} {KEPT}\n"
        for width in widths
    )


def change_elements(change: ChangeSets) -> str:
    """A script that deletes and adds elements in one transaction.

    Deletions first: an interval may make place for one that overlaps it.
    """
    lines = []
    for verb, elements in (("delete", change.remove), ("add", change.add)):
        by_set: dict[tuple[str, str], list[str]] = {}
        for name, element in elements:
            by_set.setdefault((_family(element), name), []).append(element)
        lines += [
            f"{verb} element {family} {TABLE} {name} {{ {', '.join(sorted(by_set[family, name]))} }}"
            for family, name in sorted(by_set)
        ]
    return "\n".join([*lines, ""])


def _family(element: str) -> str:
    """Every element begins with an address."""
    return "ip6" if ":" in element else "ip"


def _chains(config: Config, pod_networks: Sequence[Network], words: _Words) -> dict[str, list[str]]:
    mark = 1 << config.masquerade_bit
    place, source = words.place, f"{words.header} saddr"
    return {
        "mark_it": [f"meta mark set meta mark | {mark:#x}"],
        "services": list(_services(config, pod_networks, words)),
        KEPT: list(_kept(words)),
        # nat's own hooks are at -100, IPVS's in output at -98 (NF_IP_PRI_NAT_DST + 2).
        "prerouting": [f"type nat hook prerouting {_BEFORE_OTHERS}", "jump services", f"jump {KEPT}"],
        "output": [f"type nat hook output {_BEFORE_OTHERS}", "jump services", f"jump {KEPT}"],
        "postrouting": [
            "type nat hook postrouting priority srcnat; policy accept;",
            f"{place} . {source} @hairpin masquerade fully-random",
            f"meta mark & {mark:#x} == 0 return",
            # Cleared, so that a tunnel which copies the mark to its outer packet is not masqueraded again.
            f"meta mark set meta mark ^ {mark:#x}",
            "masquerade fully-random",
        ],
        "source_ranges": [f"{place} @loadBalancerFirewall {place} . {source} != @loadBalancerSource drop"],
        "input": [
            "type filter hook input priority filter; policy accept;",
            "jump source_ranges",
            *_closed_ports(words),
        ],
        # Before IPVS at -98: afterwards the VIP is gone from the packet.
        "output_filter": ["type filter hook output priority mangle; policy accept;", "jump source_ranges"],
    }


def _services(config: Config, pod_networks: Sequence[Network], words: _Words) -> Iterator[str]:
    """Which traffic to Services is masqueraded."""
    place = words.place
    yield f"{words.header} saddr {words.loopback} return"
    yield f"{place} @loadBalancerLocal return"
    yield f"{place} @loadBalancer goto mark_it"
    yield f"{_foreign(config, pod_networks, words)} goto mark_it"
    yield f"{place} @externalIP goto mark_it"
    yield f"{place} @nodePortLocal return"
    yield f"{place} @nodePort goto mark_it"


def _kept(words: _Words) -> Iterator[str]:
    """What stays with IPVS, as soon as it is local: before, another proxy may still serve it."""
    for name in ("clusterIP", "loadBalancer", "externalIP", "externalIPLocal"):
        yield f"{words.place} @{name} fib daddr type local dnat to {words.header} daddr"


def _foreign(config: Config, pod_networks: Sequence[Network], words: _Words) -> str:
    """Match of traffic to a ClusterIP that must come back by way of this node."""
    local = config.detect_local
    networks = pod_networks if local.mode == "NodeCIDR" else local.networks
    source = next((network for network in networks if network.version == words.version), None)
    to_cluster_ip = f"{words.place} @clusterIP"
    if config.masquerade_all:
        return to_cluster_ip
    if local.mode == "BridgeInterface":
        return f'iifname != "{local.name}" {to_cluster_ip}'
    if local.mode == "InterfaceNamePrefix":
        return f'iifname != "{local.name}*" {to_cluster_ip}'
    if source is not None:
        return f"{words.header} saddr != {source} {to_cluster_ip}"
    # No detector: only traffic of the node itself, which picks a VIP as its source (it is local here).
    return f"{words.header} saddr . meta l4proto . th dport @clusterIP"


def _closed_ports(words: _Words) -> Iterator[str]:
    """Host services are not reachable on VIPs (kubernetes issue 72236), new pings neither.

    But for health check ports: there are load balancers that ask for them at the VIP itself.
    """
    yield f"{words.header} daddr != @vips accept"
    for name in _OPEN:
        yield f"{words.place} @{name} accept"
    yield "ct state new reject"

"""What planning needs beside the objects: the node and the configuration, worked out once. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from strictarp.kube.objects import Node, NodeAddress
from strictarp.netlink.rtnl import IFF_LOOPBACK
from strictarp.proxy.addresses import inside, loopback_or_link_local, pack, show
from strictarp.proxy.config import Config, NodePortAddresses
from strictarp.proxy.seam import DEVICE, HostLinks

ZONE_LABEL = "topology.kubernetes.io/zone"


class NodeFacts(msgspec.Struct, frozen=True):
    """This node: its name, its addresses outside kube-ipvs0, its primary one of each family, its zone.

    families: address widths that its kernel serves. others: addresses of other nodes, with their names.
    """

    name: str
    addresses: tuple[bytes, ...] = ()
    primary: tuple[bytes, ...] = ()
    zone: str = ""
    families: tuple[int, ...] = (4, 16)
    others: Mapping[bytes, str] = {}


class Situation(msgspec.Struct, frozen=True):
    """What every plan on this node shares.

    families: address widths that are programmed. host: addresses that are on other interfaces and so are
    never bound. others: addresses of other nodes, with their names; not bound either, since who holds them
    too no longer reaches that node (kubernetes issues 80738, 75290). own: those that stand for the node in
    source ranges. node_ports: those that serve NodePorts.
    health_addresses: those where healthCheckNodePorts are. scheduler: where a Service asks for no other.
    missing: schedulers that the kernel does not have. zone: empty when unknown. dead: nodes whose endpoints
    get weight 0.
    """

    node: str
    families: tuple[int, ...]
    host: frozenset[bytes]
    own: tuple[bytes, ...]
    node_ports: tuple[bytes, ...]
    health_addresses: tuple[bytes, ...]
    scheduler: str
    zone: str = ""
    dead: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    others: Mapping[bytes, str] = {}


def situation(config: Config, node: NodeFacts, dead: frozenset[str] = frozenset()) -> Situation:
    """Work out what plans on this node share."""
    node_ports = node_port_addresses(config.node_port_addresses, node)
    return Situation(
        node=node.name,
        families=node.families,
        host=frozenset(node.addresses),
        own=_own(node),
        node_ports=node_ports,
        # A node that serves no NodePort still tells its endpoints (kube-proxy forgets to open the port).
        health_addresses=node_ports or node_port_addresses(NodePortAddresses(), node),
        scheduler=config.scheduler,
        zone=node.zone,
        dead=dead,
        others=node.others,
    )


def odd_families(config: Config, node: NodeFacts) -> list[str]:
    """What of the configuration is for the other family than this node's, as kube-proxy warns of it too.

    The main family is that of `bindAddress`, else of the node's first primary address.
    """
    bound = pack(config.bind_address)
    main = len(bound if bound and any(bound) else next(iter(node.primary), bytes(4)))
    lists = {"nodePortAddresses": config.node_port_addresses.networks}
    if config.detect_local.mode == "ClusterCIDR":
        lists["clusterCIDR"] = config.detect_local.networks
    if len(node.families) == 1:
        lists["ipvs.excludeCIDRs"] = config.exclude
    name = {4: "IPv4", 16: "IPv6"}[main]
    return [
        f"{field}: nothing of {name}, the node's main family: there it counts as absent"
        for field, networks in sorted(lists.items())
        if networks and all(network.max_prefixlen != 8 * main for network in networks)
    ]


def _own(node: NodeFacts) -> tuple[bytes, ...]:
    """The primary address of each family, or all of it where none is known."""
    known = {len(address) for address in node.primary}
    return (*node.primary, *(address for address in node.addresses if len(address) not in known))


def node_port_addresses(wanted: NodePortAddresses, node: NodeFacts) -> tuple[bytes, ...]:
    """Addresses of the node that serve NodePorts, sorted; never loopback nor IPv6 link-local.

    Without a CIDR of a family, or with its /0, all addresses of the family do (kube-proxy v1.30,
    NodePortAddresses.GetNodeIPs).
    """
    chosen = []
    for address in node.primary if wanted.primary else node.addresses:
        networks = [net for net in wanted.networks if net.max_prefixlen == 8 * len(address)]
        if loopback_or_link_local(address):
            continue
        if wanted.primary or not networks or inside(address, networks):
            chosen.append(address)
    return tuple(sorted(set(chosen)))


def health_hosts(wanted: NodePortAddresses, facts: Situation) -> tuple[str, ...]:
    """Where healthCheckNodePorts listen: everywhere, or on the addresses that serve NodePorts."""
    if wanted == NodePortAddresses():
        return tuple("0.0.0.0" if width == 4 else "::" for width in facts.families)
    return tuple(show(address) for address in facts.health_addresses)


def node_facts(
    name: str,
    host: HostLinks,
    node: Node | None,
    families: tuple[int, ...],
    *,
    device: str = DEVICE,
    others: Mapping[bytes, str] | None = None,
) -> NodeFacts:
    """The node as its kernel shows it, and `node` as the API does, if it is known.

    `others`: as in NodeFacts. `device`: where VIPs are bound; what another proxy left on kube-ipvs0 is no
    address of the node either.
    """
    skip = {link.index for link in host.links if link.name in (device, DEVICE)}
    loopback = {link.index for link in host.links if link.flags & IFF_LOOPBACK}
    found = {
        entry.address
        for entry in host.addresses
        if entry.index not in skip and not (entry.index in loopback and loopback_or_link_local(entry.address))
    }
    internal = [pack(entry.address) for entry in _api_addresses(node) if entry.type == "InternalIP"]
    return NodeFacts(
        name,
        tuple(sorted(found)),
        first_of_each_family([address for address in internal if address is not None]),
        zone_of(node),
        families,
        others or {},
    )


def addresses_in_api(node: Node | None) -> frozenset[bytes]:
    """The IPs that the API says a node has."""
    packed = (pack(entry.address) for entry in _api_addresses(node) if entry.type.endswith("IP"))
    return frozenset(address for address in packed if address is not None)


def _api_addresses(node: Node | None) -> Sequence[NodeAddress]:
    return (node.status.addresses or ()) if node else ()


def zone_of(node: Node | None) -> str:
    """The zone that a Node's label names, for topology hints; empty without one."""
    return (node.metadata.labels or {}).get(ZONE_LABEL, "") if node else ""


def first_of_each_family(addresses: Sequence[bytes]) -> tuple[bytes, ...]:
    """The first IPv4 and the first IPv6 address of a sequence."""
    first: dict[int, bytes] = {}
    for address in addresses:
        first.setdefault(len(address), address)
    return tuple(first[width] for width in sorted(first))

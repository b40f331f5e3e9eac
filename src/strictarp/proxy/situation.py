"""What planning needs beside the objects: the node and the configuration, worked out once. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from strictarp.netlink.ipvs import FLAG_SCHED1, FLAG_SCHED2
from strictarp.netlink.rtnl import IFF_LOOPBACK
from strictarp.proxy.addresses import inside, loopback_or_link_local
from strictarp.proxy.config import Config, NodePortAddresses
from strictarp.proxy.seam import DEVICE, HostLinks


class NodeFacts(msgspec.Struct, frozen=True):
    """This node: its name, its addresses outside kube-ipvs0, and its primary one of each family."""

    name: str
    addresses: tuple[bytes, ...] = ()
    primary: tuple[bytes, ...] = ()


class Situation(msgspec.Struct, frozen=True):
    """What every plan on this node shares.

    host: addresses that are on other interfaces and so are never bound. node_ports: those that serve
    NodePorts. scheduler, flags: of every virtual server. dead: nodes whose endpoints get weight 0.
    """

    node: str
    host: frozenset[bytes]
    node_ports: tuple[bytes, ...]
    scheduler: str
    flags: int
    dead: frozenset[str] = frozenset()


def situation(config: Config, node: NodeFacts, dead: frozenset[str] = frozenset()) -> Situation:
    """Work out what plans on this node share. Scheduler mh hashes ports and falls back, always."""
    return Situation(
        node=node.name,
        host=frozenset(node.addresses),
        node_ports=node_port_addresses(config.node_port_addresses, node),
        scheduler=config.scheduler,
        flags=FLAG_SCHED1 | FLAG_SCHED2 if config.scheduler == "mh" else 0,
        dead=dead,
    )


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


def node_facts(name: str, host: HostLinks, internal: Sequence[bytes] = ()) -> NodeFacts:
    """The node as its kernel shows it. `internal`: its InternalIPs after the API, first of a family first."""
    skip = {link.index for link in host.links if link.name == DEVICE}
    loopback = {link.index for link in host.links if link.flags & IFF_LOOPBACK}
    found = {
        entry.address
        for entry in host.addresses
        if entry.index not in skip and not (entry.index in loopback and loopback_or_link_local(entry.address))
    }
    return NodeFacts(name, tuple(sorted(found)), first_of_each_family(internal))


def first_of_each_family(addresses: Sequence[bytes]) -> tuple[bytes, ...]:
    """The first IPv4 and the first IPv6 address of a sequence."""
    first: dict[int, bytes] = {}
    for address in addresses:
        first.setdefault(len(address), address)
    return tuple(first[width] for width in sorted(first))

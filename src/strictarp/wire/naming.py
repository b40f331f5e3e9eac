"""Whose MAC address is this? Told from what is known, never guessed. Pure.

Sources, the surest first: this host's own links; FACTS of nodes, which list their interfaces; who answered
for the InternalIP of a node on this segment; this host's neighbour table.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address

import msgspec

from strictarp.arp.facts import Device, Host
from strictarp.arp.frames import NO_MAC, mac_text, parse_mac
from strictarp.arp.probing import Findings
from strictarp.kube.objects import Node
from strictarp.netlink.rtnl import Link, Neighbour
from strictarp.wire import macs

_MOST_NAMED = 3


class Who(enum.StrEnum):
    """What kind of host has a MAC. FOREIGN: nodes are known, and it is none of these."""

    NODE = "node"
    THIS_HOST = "this-host"
    VIRTUAL_ROUTER = "virtual-router"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


class Name(msgspec.Struct, frozen=True):
    """Who has a MAC.

    node, interface: as far as known. relation: how the interface stands to others ("slave of bond0"). hint:
    what the MAC tells of itself. evidence: how it is known. sure: nothing else fits as well.
    """

    mac: str
    who: Who
    node: str = ""
    interface: str = ""
    relation: str = ""
    hint: str = ""
    evidence: str = ""
    sure: bool = True

    @property
    def text(self) -> str:
        """For people, without the MAC."""
        lead = _LEADS[self.who] or self.node
        if self.who is Who.NODE and not self.sure:
            lead = f"probably {lead}"
        if self.who is Who.THIS_HOST and self.node:
            lead = f"{lead} ({self.node})"
        parts = [" ".join(each for each in (lead, self.interface) if each)]
        hint = "" if self.hint == macs.LOCALLY_ADMINISTERED and self.who is not Who.FOREIGN else self.hint
        parts += [each for each in (self.relation, hint) if each]
        return ", ".join(each for each in parts if each)


_LEADS = {
    Who.NODE: "",
    Who.THIS_HOST: "this host",
    Who.VIRTUAL_ROUTER: "a virtual router",
    Who.FOREIGN: "no known node",
    Who.UNKNOWN: "",
}


class Here(msgspec.Struct, frozen=True):
    """What this host shows of itself; `addresses` are packed."""

    links: tuple[Link, ...] = ()
    addresses: tuple[bytes, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()


class GivenFacts(msgspec.Struct, frozen=True):
    """FACTS by any label. unread: labels of those that name nftables tables without their rules."""

    hosts: Mapping[str, Host] = {}
    unread: frozenset[str] = frozenset()


class Place(msgspec.Struct, frozen=True):
    """An interface of a node, and how it stands to others."""

    node: str
    interface: str
    relation: str = ""


_NOWHERE = Here()


class Known(msgspec.Struct, frozen=True):
    """Everything known of MACs, by MAC.

    own: interfaces of this host. own_node: the node that this host is. places: of nodes with FACTS. claims:
    (node, its address) for which the MAC answered. rivals: node → how many MACs answered for its address.
    neighbours: addresses that this host's neighbour table has for it.
    """

    own: Mapping[bytes, str] = {}
    own_node: str = ""
    places: Mapping[bytes, tuple[Place, ...]] = {}
    claims: Mapping[bytes, tuple[tuple[str, str], ...]] = {}
    rivals: Mapping[str, int] = {}
    neighbours: Mapping[bytes, tuple[str, ...]] = {}

    @property
    def nodes(self) -> frozenset[str]:
        """Nodes of which some MAC is known."""
        return frozenset(self.rivals) | {each.node for places in self.places.values() for each in places}


def known(
    *,
    nodes: Iterable[Node] = (),
    answered: Iterable[Findings] = (),
    facts: Mapping[str, Host] | None = None,
    here: Here = _NOWHERE,
) -> Known:
    """Put together what is known.

    answered: what asking for the InternalIPs of `nodes` showed; other addresses among them do not count.
    facts: node → its FACTS (see `nodes_of_facts`). here: this host.
    """
    owners = internal_ips(nodes)
    claims: dict[bytes, list[tuple[str, str]]] = {}
    rivals: dict[str, int] = {}
    for found in answered:
        node = owners.get(IPv4Address(found.ip))
        if node is None or not found.answerers:
            continue
        rivals[node] = max(rivals.get(node, 0), len(found.answerers))
        for each in found.answerers:
            claims.setdefault(parse_mac(each.mac), []).append((node, found.ip))
    places: dict[bytes, list[Place]] = {}
    for node, host in (facts or {}).items():
        for mac, place in _places(node, host):
            places.setdefault(mac, []).append(place)
    table: dict[bytes, list[str]] = {}
    for neighbour in here.neighbours:
        if len(neighbour.address) == 4 and len(neighbour.mac) == 6:
            table.setdefault(neighbour.mac, []).append(str(IPv4Address(neighbour.address)))
    return Known(
        own={each.mac: each.name for each in here.links if len(each.mac) == 6 and each.mac != NO_MAC},
        own_node=next((node for ip, node in owners.items() if ip.packed in here.addresses), ""),
        places={mac: tuple(each) for mac, each in places.items()},
        claims={mac: tuple(each) for mac, each in claims.items()},
        rivals=rivals,
        neighbours={mac: tuple(each) for mac, each in table.items()},
    )


def internal_ips(nodes: Iterable[Node]) -> dict[IPv4Address, str]:
    """Every IPv4 InternalIP → its node."""
    found: dict[IPv4Address, str] = {}
    for node in nodes:
        for each in node.status.addresses or ():
            if each.type == "InternalIP":
                try:
                    found[IPv4Address(each.address)] = node.metadata.name
                except AddressValueError:
                    continue
    return found


def nodes_of_facts(facts: Mapping[str, Host], nodes: Iterable[Node]) -> dict[str, str]:
    """The label of FACTS → the node whose InternalIP they hold; the label itself where none fits."""
    owners = internal_ips(nodes)
    found: dict[str, str] = {}
    for label, host in facts.items():
        held = (owners.get(IPv4Address(each)) for each in sorted(host.local_addresses))
        found[label] = next((node for node in held if node), label)
    return found


def _places(node: str, host: Host) -> Iterator[tuple[bytes, Place]]:
    """Each MAC of a node with the interface that stands for it, the one that others sit on."""
    by_mac: dict[bytes, list[Device]] = {}
    for device in host.devices:
        if device.mac != NO_MAC:
            by_mac.setdefault(device.mac, []).append(device)
    for mac, devices in by_mac.items():
        names = {each.name for each in devices}
        top = next(
            (each for each in devices if each.master not in names and each.lower not in names), devices[0]
        )
        relations = [relation(host, top)] if relation(host, top) else []
        others = [_other(host, each) for each in devices if each is not top]
        if others:
            more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
            relations.append(f"same MAC on {', '.join(others[:_MOST_NAMED])}{more}")
        yield mac, Place(node, top.name, ", ".join(relations))


def _other(host: Host, device: Device) -> str:
    told = relation(host, device)
    return f"{device.name} ({told})" if told else device.name


def relation(host: Host, device: Device) -> str:
    """How a device stands to others, in words; empty for one that stands alone."""
    master = host.by_name.get(device.master)
    if master is not None and master.kind in ("bond", "bridge", "vrf"):
        word = {"bond": "slave of", "bridge": "port of", "vrf": "in VRF"}[master.kind]
        return f"{word} {master.name}"
    if device.kind == "vlan":
        return f"VLAN {device.vlan} of {device.lower}" if device.lower else f"VLAN {device.vlan}"
    if device.kind in ("macvlan", "ipvlan") and device.lower:
        return f"{device.kind} of {device.lower}"
    return ""


def name(told: Known, mac: bytes) -> Name:
    """Who has this MAC, as far as `told` shows."""
    text, hint = mac_text(mac), macs.hint(mac)
    if mac in told.own:
        evidence = "a link of this host"
        return Name(text, Who.THIS_HOST, told.own_node, told.own[mac], hint=hint, evidence=evidence)
    places = told.places.get(mac, ())
    if len({each.node for each in places}) == 1:
        place = places[0]
        return Name(text, Who.NODE, place.node, place.interface, place.relation, hint, "its FACTS")
    if places:
        nodes = _several([each.node for each in places])
        return Name(text, Who.NODE, nodes, hint=hint, evidence="FACTS of several nodes list it", sure=False)
    if macs.is_vrrp(mac):
        return Name(text, Who.VIRTUAL_ROUTER, hint=hint, evidence="the MAC itself")
    return _by_answers(told, mac, hint)


def _by_answers(told: Known, mac: bytes, hint: str) -> Name:
    """From what was answered, and from the neighbour table."""
    text, claims = mac_text(mac), told.claims.get(mac, ())
    nodes = list(dict.fromkeys(node for node, _ in claims))
    if len(nodes) == 1:
        node, address = claims[0]
        rivals = told.rivals.get(node, 1)
        evidence = f"it answers for {address}, {node}'s address"
        if rivals > 1:
            evidence += f", as {rivals - 1} other MAC(s) do"
        return Name(text, Who.NODE, node, hint=hint, evidence=evidence, sure=rivals == 1)
    who = Who.FOREIGN if told.nodes else Who.UNKNOWN
    if nodes:
        evidence = f"it answers for the addresses of {_several(nodes)}: a router or proxy"
        return Name(text, who, hint=hint, evidence=evidence, sure=False)
    addresses = told.neighbours.get(mac, ())
    evidence = f"this host's neighbour table has it as {_several(addresses)}" if addresses else ""
    return Name(text, who, hint=hint, evidence=evidence)


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more

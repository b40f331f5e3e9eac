"""SA62x: addresses that are more than one thing at once, and old ways to ask for one. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from strictarp.controller.pools import pool_of
from strictarp.controller.requests import PREFIXES, TYPE, annotation, deprecated
from strictarp.doctor.check import CLUSTER, Check, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.proxying import IPVS
from strictarp.doctor.services import clash
from strictarp.doctor.wording import on_cluster, service, some, vip
from strictarp.kube.objects import Service
from strictarp.speaker.links import Subnet

_READS = frozenset({"services"})


def _by_key(view: ClusterView) -> dict[str, Service]:
    return {each.key: each for each in view.objects.services}


def _balanced(view: ClusterView) -> Iterator[tuple[IPv4Address | IPv6Address, list[Service]]]:
    """Each address, with the LoadBalancer Services that have it in their status."""
    services = _by_key(view)
    for address, keys in view.vips.items():
        text = str(address)
        holding = [
            services[key]
            for key in keys
            if services[key].spec.type == TYPE
            and any(entry.ip == text for entry in services[key].status.load_balancer.ingress or ())
        ]
        if holding:
            yield address, holding


def _shared(view: ClusterView) -> Iterator[Sighting]:
    if any(each.way == "nodes" for each in view.announcers):
        return  # k3s ServiceLB gives all Services the nodes' addresses
    for address, services in _balanced(view):
        why = clash(services) if len(services) > 1 else ""
        if why:
            yield Sighting(
                vip(address),
                f"{some(service(each.key) for each in services)} have it, and may not share it: {why}",
                "give both the same metallb.io/allow-shared-ip and different ports, or let the younger "
                "one get "
                "another address",
                tuple(service(each.key) for each in services),
            )


def _of_a_node(view: ClusterView) -> Iterator[Sighting]:
    if any(each.way == "nodes" for each in view.announcers):
        return
    for address, services in _balanced(view):
        owner = view.node_of_address.get(str(address))
        if owner is not None:
            yield Sighting(
                vip(address),
                f"{some(service(each.key) for each in services)} have the address of Node {owner}",
                "let them get another address, and take this one out of the pool",
                tuple(service(each.key) for each in services),
            )


def _external_of_a_node(view: ClusterView) -> Iterator[Sighting]:
    if view.proxying.mode != IPVS:
        return
    for each in view.objects.services:
        for text in each.spec.external_ips or ():
            if (owner := view.node_of_address.get(text)) is not None:
                yield Sighting(
                    service(each.key),
                    f"spec.externalIPs has {text}, the address of Node {owner}",
                    f"use a NodePort or a LoadBalancer address of its own, then: "
                    f"{_remove(each, 'externalIPs')}",
                    (vip(text),),
                )


def _external_unanswered(view: ClusterView) -> Iterator[Sighting]:
    """With strictARP no kernel answers for an externalIP, and speakers announce none."""
    if view.proxying.mode != IPVS or not view.proxying.strict:
        return
    subnets = [each for presence in view.presences.values() for each in presence.subnets or ()]
    announced = {address for address, _ in _balanced(view)}
    for address, keys in view.vips.items():
        if address in announced or str(address) in view.node_of_address:
            continue
        if subnets and not any(_holds(subnet, address) for subnet in subnets):
            continue  # whoever reaches it has a route
        yield Sighting(
            vip(address),
            f"an externalIP of {some(map(service, keys))}; strictARP is on, and nobody announces externalIPs",
            "make it a LoadBalancer Service with metallb.io/loadBalancerIPs, or route the address to a node",
            tuple(map(service, keys)),
        )


def _holds(subnet: Subnet, address: IPv4Address | IPv6Address) -> bool:
    own, prefix = subnet
    if len(own) != len(address.packed):
        return False
    varying = 8 * len(own) - prefix
    return int.from_bytes(own, "big") >> varying == int(address) >> varying


def _buggy(view: ClusterView) -> Iterator[Sighting]:
    subnets = [each for presence in view.presences.values() for each in presence.subnets or ()]
    for address, keys in view.vips.items():
        if address.version != 4:
            continue
        why = _special(address, subnets)
        if why:
            yield Sighting(
                vip(address),
                f"{why}; {some(map(service, keys))} have it",
                _avoid(view, address),
                tuple(map(service, keys)),
            )


def _special(address: IPv4Address | IPv6Address, subnets: list[Subnet]) -> str:
    for own, prefix in subnets:
        if len(own) != 4 or prefix > 30 or not _holds((own, prefix), address):
            continue
        rest = int(address) & ((1 << (32 - prefix)) - 1)
        if rest == 0:
            return f"it is the network address of the nodes' subnet (/{prefix})"
        if rest == (1 << (32 - prefix)) - 1:
            return f"it is the broadcast address of the nodes' subnet (/{prefix})"
    last = int(address) & 0xFF
    return f"it ends in .{last}" if last in (0, 255) else ""


def _avoid(view: ClusterView, address: IPv4Address | IPv6Address) -> str:
    """What keeps such addresses from being given out again."""
    holder = pool_of(view.parsed_pools, (address.version, int(address)))
    if holder is None:
        return "let the Services get another address"
    return (
        f"kubectl -n {view.namespace} patch ipaddresspools {holder.name} --type merge -p "
        '\'{"spec":{"avoidBuggyIPs":true}}\'; the Services get another address then'
    )


def _remove(source: Service, field: str) -> str:
    """The command that takes a field out of a Service's spec."""
    return (
        f"kubectl -n {source.metadata.namespace} patch service {source.metadata.name} --type json -p "
        f'\'[{{"op":"remove","path":"/spec/{field}"}}]\''
    )


def _renamed(source: Service, old: str) -> str:
    """Arguments of `kubectl annotate` that give an annotation the new prefix; it wins if it is there."""
    value = shlex.quote((source.metadata.annotations or {})[old])
    new = PREFIXES[0] + old.partition("/")[2]
    return f"{old}-" if new in (source.metadata.annotations or {}) else f"{new}={value} {old}-"


def _deprecated_field(view: ClusterView) -> Iterator[Sighting]:
    for each in view.objects.services:
        wanted = each.spec.load_balancer_ip
        if each.spec.type != TYPE or not wanted:
            continue
        both = annotation(each, "loadBalancerIPs")
        refused = f", and metallb.io/loadBalancerIPs is {both}: the controller refuses both" if both else ""
        yield Sighting(
            service(each.key),
            f"spec.loadBalancerIP is {wanted}{refused}",
            f"kubectl -n {each.metadata.namespace} annotate --overwrite service {each.metadata.name} "
            f"metallb.io/loadBalancerIPs={shlex.quote(both or wanted)}; {_remove(each, 'loadBalancerIP')}",
        )


def _deprecated_annotation(view: ClusterView) -> Iterator[Sighting]:
    for each in view.objects.services:
        if each.spec.type == TYPE and (old := deprecated(each)):
            yield Sighting(
                service(each.key),
                f"annotation {old} has the old prefix",
                f"kubectl -n {each.metadata.namespace} annotate service {each.metadata.name} "
                f"{_renamed(each, old)}",
            )


CHECKS = (
    Check(
        "SA621",
        "Two Services have one address and may not share it",
        Severity.ERROR,
        "Each is announced by a node of its own, or one takes the connections of the other.",
        CLUSTER,
        on_cluster(_shared),
        reads=_READS,
    ),
    Check(
        "SA622",
        "A Service has a node's address",
        Severity.ERROR,
        "Two hosts answer for it: the node itself, and whoever announces the Service.",
        CLUSTER,
        on_cluster(_of_a_node),
        causes=("SA603",),
        explains=lambda cause, own: f"holds {own.subject.removeprefix('VIP ')}," in cause.seen,
        reads=_READS | {"nodes"},
    ),
    Check(
        "SA623",
        "An externalIP is a node's address",
        Severity.WARNING,
        "In mode ipvs the other nodes bind it too: traffic of their Pods to that node ends at the "
        "Service, and "
        "without strictARP they answer ARP for it.",
        CLUSTER,
        on_cluster(_external_of_a_node),
        reads=_READS | {"nodes"},
    ),
    Check(
        "SA624",
        "Nobody answers for an externalIP",
        Severity.WARNING,
        "Without strictARP all nodes answered for it; with strictARP none does, unless a router knows "
        "the way.",
        CLUSTER,
        on_cluster(_external_unanswered),
        reads=_READS | {"nodes", "configmaps", "daemonsets"},
    ),
    Check(
        "SA625",
        "An address looks like a network or a broadcast",
        Severity.WARNING,
        "Hosts and routers of the segment, or old equipment, do not send to it as to a host.",
        CLUSTER,
        on_cluster(_buggy),
        reads=_READS,
    ),
    Check(
        "SA626",
        "spec.loadBalancerIP is deprecated",
        Severity.INFO,
        "The field is deprecated since Kubernetes 1.24 and holds one family only.",
        CLUSTER,
        on_cluster(_deprecated_field),
        reads=_READS,
    ),
    Check(
        "SA627",
        "An annotation has MetalLB's old prefix",
        Severity.INFO,
        "metallb.universe.tf/ is deprecated; where both prefixes are there, the new one counts.",
        CLUSTER,
        on_cluster(_deprecated_annotation),
        reads=_READS,
    ),
)

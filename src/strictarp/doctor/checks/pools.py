"""SA60x: IPAddressPools and L2Advertisements. Pure.

What the controller refuses, and what it warns of, comes from its own functions.
"""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.controller.guard import overlaps
from strictarp.doctor.announcers import METALLB, OURS
from strictarp.doctor.check import CLUSTER, Check, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.services import waiting
from strictarp.doctor.wording import WHOLE, on_cluster, pool, service, some
from strictarp.kube.custom import L2Advertisement
from strictarp.kube.ranges import BITS, Range, RangeFault, ip_text, parse_range
from strictarp.kube.selectors import selects_any
from strictarp.speaker.links import Subnet

_POOLS = frozenset({"ipaddresspools"})
NEARLY = 0.9
"""Share of a pool in use from which on it is told."""
SMALL = 4
"""Pools of fewer addresses are made for certain Services, and full on purpose."""


def _refused(view: ClusterView) -> Iterator[Sighting]:
    for each in view.plan.errors:
        subject, _, fault = each.partition(": ")
        yield Sighting(
            subject,
            fault,
            f"kubectl -n {view.namespace} edit ipaddresspools {subject.rpartition(' ')[2]}",
            tuple(service(key) for key in waiting(view)),
        )


def _no_pools(view: ClusterView) -> Iterator[Sighting]:
    named = [each.name for each in view.announcers if each.name in (METALLB, OURS)]
    hungry = [key for key, lb_class in waiting(view).items() if lb_class == view.lb_class]
    if named and hungry and not view.objects.pools:
        yield Sighting(
            WHOLE,
            f"{named[0]} is here and there is no IPAddressPool; {some(map(service, hungry))} wait for an "
            "address",
            f"kubectl -n {view.namespace} apply -f pool.yaml, with an IPAddressPool of addresses that "
            "nobody else "
            "has, and an L2Advertisement (docs/controller.md)",
            tuple(service(key) for key in hungry),
        )


def _on_nodes(view: ClusterView) -> Iterator[Sighting]:
    for name, sentence in overlaps(view.parsed_pools, view.objects.nodes):
        seen, _, mend = sentence.partition("; ")
        yield Sighting(pool(name), seen, mend + _edit(view, name))


def _in_service_range(view: ClusterView) -> Iterator[Sighting]:
    for name, sentence in overlaps(view.parsed_pools, (), view.objects.services):
        seen, _, mend = sentence.partition("; ")
        yield Sighting(pool(name), seen, mend + _edit(view, name))


def _in_pod_range(view: ClusterView) -> Iterator[Sighting]:
    for parsed in view.parsed_pools:
        for node in view.objects.nodes:
            for item in parsed.ranges:
                for cidr in _pod_ranges(node.spec.pod_cidrs or (node.spec.pod_cidr or "",)):
                    if item.overlaps(cidr):
                        yield Sighting(
                            pool(parsed.name),
                            f"{item.text} overlaps {cidr.text}, the Pods of Node {node.metadata.name}",
                            "give it addresses of its own" + _edit(view, parsed.name),
                        )


def _pod_ranges(texts: tuple[str, ...]) -> Iterator[Range]:
    for text in texts:
        try:
            yield parse_range(text)
        except RangeFault:
            continue


def _edit(view: ClusterView, name: str) -> str:
    return f": kubectl -n {view.namespace} edit ipaddresspools {name}"


def _elsewhere(view: ClusterView) -> Iterator[Sighting]:
    """Pools in a namespace where nobody reads them."""
    for each in view.objects.pools:
        if each.metadata.namespace != view.namespace:
            yield Sighting(
                pool(each.metadata.name),
                f"it is in namespace {each.metadata.namespace}; those in use are in {view.namespace}",
                f"kubectl -n {each.metadata.namespace} delete ipaddresspools {each.metadata.name}, and "
                "make it "
                f"in {view.namespace}",
            )


def _off_segment(view: ClusterView) -> Iterator[Sighting]:
    """Our speakers answer on the link whose subnet holds the address; every one of them tells its subnets."""
    presences = view.presences.values()
    if not presences or any(each.subnets is None for each in presences):
        return
    known = {_span(subnet) for each in presences for subnet in each.subnets or ()}
    for parsed in view.parsed_pools:
        for item in parsed.ranges:
            if not any(item.overlaps(subnet) for subnet in known):
                here = sorted(each.text for each in known if each.version == item.version)
                yield Sighting(
                    pool(parsed.name),
                    f"{item.text} is in no subnet of a node with a speaker; they have {some(here) or 'none'}",
                    "use addresses of the nodes' segment, or give the nodes an address in that subnet"
                    + _edit(view, parsed.name),
                    tuple(
                        f"Service {key}"
                        for key, verdict in view.verdicts.items()
                        if any(item.holds((each.version, int(each))) for each in verdict.addresses)
                    ),
                )


def _span(subnet: Subnet) -> Range:
    own, prefix = subnet
    version = 4 if len(own) == 4 else 6
    varying = BITS[version] - prefix
    first = int.from_bytes(own, "big") >> varying << varying
    return Range(version, first, first + (1 << varying) - 1, f"{ip_text((version, first))}/{prefix}")


def _exhausted(view: ClusterView) -> Iterator[Sighting]:
    for name, counters in view.plan.pools.items():
        for family, used, free in (
            ("IPv4", counters.assigned_ipv4, counters.available_ipv4),
            ("IPv6", counters.assigned_ipv6, counters.available_ipv6),
        ):
            size = used + free
            if size >= SMALL and used >= NEARLY * size:
                yield Sighting(
                    pool(name),
                    f"{used} of {size} {family} addresses are in use"
                    + (", none is free" if not free else ""),
                    "add a range to spec.addresses" + _edit(view, name),
                )


def _idle_advertisement(view: ClusterView) -> Iterator[Sighting]:
    names = {each.metadata.name for each in view.objects.pools if each.metadata.namespace == view.namespace}
    for each in view.objects.advertisements:
        for field, fault in _selects_nothing(view, each, names):
            yield Sighting(
                f"L2Advertisement {each.metadata.name}",
                f"spec.{field}: {fault}",
                f"kubectl -n {each.metadata.namespace} edit l2advertisements {each.metadata.name}",
            )


def _selects_nothing(
    view: ClusterView, source: L2Advertisement, names: set[str]
) -> Iterator[tuple[str, str]]:
    spec = source.spec
    if source.metadata.namespace != view.namespace:
        yield "", f"it is in namespace {source.metadata.namespace}, the pools in use are in {view.namespace}"
    if unknown := sorted(set(spec.ip_address_pools or ()) - names):
        yield "ipAddressPools", f"there is no IPAddressPool {some(unknown)}"
    chosen = spec.ip_address_pool_selectors or ()
    if chosen and not any(selects_any(chosen, each.metadata.labels) for each in view.objects.pools):
        yield "ipAddressPoolSelectors", "no IPAddressPool has these labels"
    nodes = spec.node_selectors or ()
    if nodes and not any(selects_any(nodes, each.metadata.labels) for each in view.objects.nodes):
        yield "nodeSelectors", "no Node has these labels"


CHECKS = (
    Check(
        "SA601",
        "The pools are refused",
        Severity.ERROR,
        "With one wrong pool none is taken up: what was good last stays in force, and after a restart of the "
        "controller nobody gets an address.",
        CLUSTER,
        on_cluster(_refused),
        reads=_POOLS | {"namespaces"},
    ),
    Check(
        "SA602",
        "Services wait, and there is no pool",
        Severity.ERROR,
        "Addresses are given from IPAddressPools only.",
        CLUSTER,
        on_cluster(_no_pools),
        reads=_POOLS | {"services", "daemonsets"},
    ),
    Check(
        "SA603",
        "A pool holds a node's address",
        Severity.ERROR,
        "A Service that is given it takes the node off the network: all traffic to the node goes to the "
        "Service.",
        CLUSTER,
        on_cluster(_on_nodes),
        reads=_POOLS | {"nodes"},
    ),
    Check(
        "SA604",
        "A pool overlaps the Service range",
        Severity.ERROR,
        "The cluster gives the same address to a Service of its own: packets end at the wrong one.",
        CLUSTER,
        on_cluster(_in_service_range),
        reads=_POOLS | {"services"},
    ),
    Check(
        "SA605",
        "A pool overlaps the Pods' addresses",
        Severity.ERROR,
        "Nodes route these addresses to Pods: who asks from inside the cluster never reaches the Service.",
        CLUSTER,
        on_cluster(_in_pod_range),
        reads=_POOLS | {"nodes"},
    ),
    Check(
        "SA606",
        "A pool is in a namespace where nobody reads it",
        Severity.WARNING,
        "Controller and speakers read the pools of one namespace; this one gives no addresses.",
        CLUSTER,
        on_cluster(_elsewhere),
        reads=_POOLS,
    ),
    Check(
        "SA607",
        "A pool is in no node's subnet",
        Severity.ERROR,
        "Nobody asks for these addresses by ARP on a segment where a node could answer.",
        CLUSTER,
        on_cluster(_off_segment),
        reads=_POOLS | {"leases"},
    ),
    Check(
        "SA608",
        "A pool is full, or nearly",
        Severity.WARNING,
        "The next Service waits for an address until another one is deleted.",
        CLUSTER,
        on_cluster(_exhausted),
        reads=_POOLS | {"services", "namespaces"},
    ),
    Check(
        "SA609",
        "An L2Advertisement selects nothing",
        Severity.WARNING,
        "Names and labels that do not exist are no error to anybody; the addresses are simply not announced.",
        CLUSTER,
        on_cluster(_idle_advertisement),
        reads=frozenset({"ipaddresspools", "l2advertisements", "nodes"}),
    ),
)

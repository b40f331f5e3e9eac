"""Who says that it announces an address: from what announcers write into the API. Pure.

What they say is not what is on the wire; the difference is what `culprits` is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from strictarp.kube.custom import ServiceL2Status
from strictarp.kube.objects import Event, Lease
from strictarp.wire.vips import IpAddress

NODE_ASSIGNED = "nodeAssigned"
_SAID = re.compile(r'announcing from node "([^"]+)" with protocol "layer2"')
"""MetalLB: speaker/main.go, and our own speaker."""
KUBE_VIP_SERVICES = "plndr-svcs-lock"
"""kube-vip: one leader for all Services."""
_KUBE_VIP_SERVICE = "kubevip-"
"""kube-vip with svc_election: a Lease of each Service, beside it."""
_CILIUM = "cilium-l2announce-"
"""Cilium: a Lease of each Service, cilium-l2announce-NAMESPACE-NAME."""


class Announcer(msgspec.Struct, frozen=True):
    """A node that is said to announce, and what says so."""

    node: str
    source: str


def announcers(
    vips: Mapping[IpAddress, tuple[str, ...]],
    *,
    statuses: Iterable[ServiceL2Status] = (),
    events: Iterable[Event] = (),
    leases: Iterable[Lease] = (),
) -> dict[IpAddress, tuple[Announcer, ...]]:
    """Each address → the nodes that are said to announce one of its Services; without any, no entry.

    vips: address → Services. events: of a Service the latest counts, and none where it has a
    ServiceL2Status. leases: those that have not run out.
    """
    said: dict[str, set[Announcer]] = {}
    for service, announcer in _by_statuses(statuses):
        said.setdefault(service, set()).add(announcer)
    for service, announcer in _by_events(events):
        if service not in said:
            said[service] = {announcer}
    services = {service for each in vips.values() for service in each}
    for service, announcer in _by_leases(leases, services):
        said.setdefault(service, set()).add(announcer)
    found: dict[IpAddress, tuple[Announcer, ...]] = {}
    for ip, named in vips.items():
        all_of_it = {each for service in named for each in said.get(service, ())}
        if all_of_it:
            found[ip] = tuple(sorted(all_of_it, key=lambda each: (each.node, each.source)))
    return found


def _by_statuses(statuses: Iterable[ServiceL2Status]) -> Iterator[tuple[str, Announcer]]:
    for each in statuses:
        said = each.status
        if said.node and said.service_name:
            yield (
                f"{said.service_namespace}/{said.service_name}",
                Announcer(said.node, f"ServiceL2Status {each.key}"),
            )


def _by_events(events: Iterable[Event]) -> Iterator[tuple[str, Announcer]]:
    """The latest of each Service; times of one form order as text."""
    for each in sorted(events, key=lambda event: event.last_timestamp or "", reverse=True):
        about = each.involved_object
        said = _SAID.search(each.message or "")
        if each.reason == NODE_ASSIGNED and about.kind == "Service" and said:
            service = f"{about.namespace}/{about.name}"
            yield service, Announcer(said[1], f"event {NODE_ASSIGNED} of Service {service}")


def _by_leases(leases: Iterable[Lease], services: set[str]) -> Iterator[tuple[str, Announcer]]:
    for lease in leases:
        holder, meta = lease.spec.holder_identity, lease.metadata
        if not holder:
            continue
        announcer = Announcer(holder, f"Lease {lease.key}")
        if meta.name == KUBE_VIP_SERVICES:
            for service in sorted(services):
                yield service, announcer
        elif meta.name.startswith(_KUBE_VIP_SERVICE):
            yield f"{meta.namespace}/{meta.name.removeprefix(_KUBE_VIP_SERVICE)}", announcer
        elif meta.name.startswith(_CILIUM):
            told = meta.name.removeprefix(_CILIUM)
            for service in sorted(services):
                if told == service.replace("/", "-", 1):
                    yield service, announcer

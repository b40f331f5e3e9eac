"""Objects of the API → external addresses, and who is said to announce them."""

from __future__ import annotations

from ipaddress import ip_address

from strictarp.kube.custom import ServiceL2Status, ServiceL2StatusStatus
from strictarp.kube.model import Metadata
from strictarp.kube.objects import (
    Event,
    Ingress,
    Lease,
    LeaseSpec,
    LoadBalancerStatus,
    ObjectReference,
    Service,
    ServiceSpec,
    ServiceStatus,
)
from strictarp.wire.announcers import Announcer, announcers
from strictarp.wire.vips import service_vips


def service(
    name: str,
    *ips: str,
    external: tuple[str, ...] = (),
    kind: str = "LoadBalancer",
    namespace: str = "default",
) -> Service:
    ingress = tuple(Ingress(ip=each) for each in ips)
    return Service(
        metadata=Metadata(name=name, namespace=namespace),
        spec=ServiceSpec(type=kind, external_ips=external),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def test_ingress_and_external_addresses_are_named_by_their_services_in_order() -> None:
    found = service_vips(
        [
            service("web", "192.0.2.100", "2001:db8::1"),
            service("api", "192.0.2.20"),
            service("shared", "192.0.2.100", namespace="a"),
            service("plain", "192.0.2.55", external=("192.0.2.30",), kind="ClusterIP"),
            service("alias", external=("192.0.2.31",), kind="ExternalName"),
            service("broken", "not an address", external=("",)),
            Service(status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=(Ingress(hostname="x"),)))),
        ]
    )
    assert [(str(ip), names) for ip, names in found.items()] == [
        ("192.0.2.20", ("default/api",)),
        ("192.0.2.30", ("default/plain",)),
        ("192.0.2.100", ("a/shared", "default/web")),
        ("2001:db8::1", ("default/web",)),
    ]


VIPS = {ip_address("192.0.2.100"): ("default/web",), ip_address("192.0.2.101"): ("team-a/api",)}
WEB, API = VIPS


def status(node: str, namespace: str, name: str) -> ServiceL2Status:
    meta = Metadata(name=f"l2-{node}", namespace="metallb-system")
    return ServiceL2Status(metadata=meta, status=ServiceL2StatusStatus(node, name, namespace))


def event(node: str, at: str, protocol: str = "layer2") -> Event:
    return Event(
        metadata=Metadata(name=f"e{at}"),
        involved_object=ObjectReference("Service", "default", "web"),
        reason="nodeAssigned",
        message=f'announcing from node "{node}" with protocol "{protocol}"',
        last_timestamp=at,
    )


def lease(name: str, holder: str | None, namespace: str = "kube-system") -> Lease:
    return Lease(metadata=Metadata(name=name, namespace=namespace), spec=LeaseSpec(holder_identity=holder))


def test_the_latest_event_counts_and_other_protocols_do_not() -> None:
    events = [
        event("n1", "2026-01-01T00:00:00Z"),
        event("n2", "2026-01-01T00:05:00Z"),
        event("n3", "2026-01-01T00:09:00Z", "bgp"),
    ]
    assert announcers(VIPS, events=events) == {
        WEB: (Announcer("n2", "event nodeAssigned of Service default/web"),)
    }


def test_a_status_counts_before_events_and_two_statuses_are_two_announcers() -> None:
    statuses = [status("n1", "default", "web"), status("n3", "default", "web"), status("", "default", "web")]
    found = announcers(VIPS, statuses=statuses, events=[event("n2", "2026-01-01T00:05:00Z")])
    assert [each.node for each in found[WEB]] == ["n1", "n3"]


def test_leases_of_other_announcers_add_theirs() -> None:
    found = announcers(
        VIPS,
        statuses=[status("n1", "default", "web")],
        leases=[
            lease("plndr-svcs-lock", "n2"),
            lease("kubevip-api", "n3", "team-a"),
            lease("cilium-l2announce-team-a-api", "n1"),
            lease("unrelated", "n9"),
            lease("kubevip-web", None, "default"),
        ],
    )
    assert [each.node for each in found[WEB]] == ["n1", "n2"]
    assert [each.node for each in found[API]] == ["n1", "n2", "n3"]

"""What several checks ask about Services: who waits for an address, who shares one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strictarp.controller.allocator import Sharing
from strictarp.controller.requests import TYPE, Unservable, read_request
from strictarp.doctor.cluster_view import ClusterView
from strictarp.kube.objects import Service


def waiting(view: ClusterView) -> Mapping[str, str]:
    """The LoadBalancer Services that have no address and no host name → their class."""
    return {
        each.key: each.spec.load_balancer_class or ""
        for each in view.objects.services
        if each.spec.type == TYPE
        and not each.metadata.deletion_timestamp
        and not any(entry.ip or entry.hostname for entry in each.status.load_balancer.ingress or ())
    }


def clash(services: Iterable[Service]) -> str:
    """Why these Services may not have one address together, as the controller sees it; empty if they may."""
    shares = {each.key: sharing(each) for each in services}
    keys = {each.key for each in shares.values()}
    if "" in keys:
        without = sorted(name for name, each in shares.items() if not each.key)
        return f"there is no metallb.io/allow-shared-ip on {', '.join(without[:3])}"
    if len(keys) > 1:
        return f"their sharing keys differ: {', '.join(sorted(keys))}"
    if len({each.backend for each in shares.values()}) > 1:
        return "with externalTrafficPolicy Local they need the same selector"
    seen: dict[tuple[str, int], str] = {}
    for name, each in sorted(shares.items()):
        for port in sorted(each.ports):
            if (other := seen.setdefault(port, name)) != name:
                return f"{other} and {name} both have port {port[1]}/{port[0]}"
    return ""


def sharing(service: Service) -> Sharing:
    """What the controller compares; nothing that may be shared for a Service that it does not serve."""
    try:
        return read_request(service).sharing
    except Unservable:
        return Sharing()

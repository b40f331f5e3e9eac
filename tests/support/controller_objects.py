"""Pools and Services as the controller's tests write them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strictarp.controller.pools import Pool, parse_pools
from strictarp.kube.custom import IPAddressPool
from strictarp.kube.objects import Namespace, Service

FROM_POOL = "metallb.io/ip-allocated-from-pool"


def pool_object(name: str, *addresses: str, **spec: object) -> IPAddressPool:
    return msgspec.convert(
        {"metadata": {"name": name}, "spec": {"addresses": list(addresses), **spec}}, IPAddressPool
    )


def sound_pools(*objects: IPAddressPool, namespaces: Iterable[Namespace] = ()) -> tuple[Pool, ...]:
    pools, faults = parse_pools(objects, namespaces)
    assert faults == ()
    return pools


def lb(
    name: str,
    *,
    has: Iterable[str] = (),
    born: int = 0,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    namespace: str = "default",
    cluster_ips: Iterable[str] = ("203.0.113.130",),
    pool: str = "",
    ports: Iterable[tuple[str, int]] = (("TCP", 80),),
    **spec: object,
) -> Service:
    """A LoadBalancer; `has` is its status, `pool` our annotation, `born` its age (larger is younger)."""
    notes = {**(annotations or {}), **({FROM_POOL: pool} if pool else {})}
    document = {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": f"2024-01-01T00:{born:02}:00Z",
            "resourceVersion": "7",
            "annotations": notes,
            "labels": labels or {},
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIPs": list(cluster_ips),
            "ports": [{"protocol": protocol, "port": port} for protocol, port in ports],
            **spec,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"} for ip in has]}},
    }
    return msgspec.convert(document, Service)


def by_key(*services: Service) -> dict[str, Service]:
    return {service.key: service for service in services}

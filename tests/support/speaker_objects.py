"""Kubernetes objects as the speaker's tests write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from strictarp.kube.custom import IPAddressPool, L2Advertisement
from strictarp.kube.objects import EndpointSlice, Lease, Node, Service
from strictarp.speaker.advertising import resolve
from strictarp.speaker.candidates import Facts, Options, standings
from strictarp.speaker.links import Subnet
from strictarp.speaker.pools import read_pool


def pool(name: str = "lab", *addresses: str, labels: Mapping[str, str] | None = None) -> IPAddressPool:
    return msgspec.convert(
        {
            "metadata": {"name": name, "labels": dict(labels or {})},
            "spec": {"addresses": list(addresses or ("192.0.2.100-192.0.2.119",))},
        },
        IPAddressPool,
    )


def advertisement(name: str = "lab", **spec: object) -> L2Advertisement:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, L2Advertisement)


def node(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    address: str = "",
    taints: Iterable[str] = (),
    unschedulable: bool = False,
    drain: str = "",
    **conditions: str,
) -> Node:
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "labels": dict(labels or {}),
                "annotations": {"strictarp.io/drain": drain} if drain else {},
            },
            "spec": {"unschedulable": unschedulable, "taints": [{"key": key} for key in taints]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address}] if address else [],
                "conditions": [{"type": kind, "status": status} for kind, status in conditions.items()],
            },
        },
        Node,
    )


def service(
    name: str = "web",
    *ips: str,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: object,
) -> Service:
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "annotations": dict(annotations or {}),
                "labels": dict(labels or {}),
            },
            "spec": {"type": "LoadBalancer", **spec},
            "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips or ("192.0.2.100",)]}},
        },
        Service,
    )


def slice_of(
    service_name: str = "web", *endpoints: tuple[str | None, Mapping[str, bool]], name: str = ""
) -> EndpointSlice:
    """endpoints: (node, conditions)."""
    return msgspec.convert(
        {
            "metadata": {
                "name": name or f"{service_name}-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": service_name},
            },
            "endpoints": [
                {"addresses": ["198.51.100.9"], "nodeName": where, "conditions": dict(conditions)}
                for where, conditions in endpoints or (("node1", {"ready": True}),)
            ],
        },
        EndpointSlice,
    )


def lease(node_name: str, *, renewed: str = "1", links: str | None = None) -> Lease:
    annotations = {} if links is None else {"strictarp.io/links": links}
    return msgspec.convert(
        {
            "metadata": {
                "name": f"strictarp-speaker-{node_name}",
                "namespace": "metallb-system",
                "annotations": annotations,
            },
            "spec": {"holderIdentity": node_name, "renewTime": renewed},
        },
        Lease,
    )


def facts(
    *,
    pools: Iterable[IPAddressPool] = (pool(),),
    advertisements: Iterable[L2Advertisement] = (advertisement(),),
    nodes: Iterable[Node] = (),
    members: Iterable[str] = ("node1", "node2", "node3"),
    subnets: Mapping[str, tuple[Subnet, ...]] | None = None,
    options: Options = Options(),  # noqa: B008 - a frozen value
) -> Facts:
    read = tuple(read_pool(each)[0] for each in pools)
    by_name = {each.metadata.name: each for each in nodes}
    return Facts(
        read,
        resolve(advertisements, read, by_name),
        standings(members, by_name, subnets or {}, options),
        options,
    )

"""The objects of a small cluster with one dual-stack Service, for tests of whole speakers."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from strictarp.kube.client import Client
from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS
from strictarp.kube.model import Resource
from strictarp.kube.objects import ENDPOINTSLICES, NODES, SECRETS, SERVICES
from strictarp.lab import namespaces
from support.api import Api
from support.segment import Segment, write_sysctls

NS = "metallb-system"
FOUR, SIX = "192.0.2.100", "2001:db8::64"


PORTS = [{"name": "http", "port": 80, "protocol": "TCP"}]


async def make(
    client: Client,
    resource: Resource[Any],
    name: str,
    namespace: str,
    *,
    metadata: Mapping[str, object] | None = None,
    **rest: object,
) -> None:
    metadata = {"name": name, "namespace": namespace, **(metadata or {})}
    await client.create(resource, {"metadata": metadata, **rest}, namespace)


async def furnish(api: Api) -> None:
    """One node, and a Service `web` with both addresses."""
    await furnish_services(api.client, ["node1"], [], pool=[f"{FOUR}/32", f"{SIX}/128"])
    await make_service(api.client, "web", FOUR, SIX)


async def furnish_services(
    client: Client,
    nodes: Iterable[str],
    ips: Sequence[str],
    pool: Sequence[str] = ("192.0.2.100-192.0.2.119",),
) -> None:
    """Nodes, the key, a pool announced on eth0, and Services `web0`, `web1` … of one address each."""
    for number, name in enumerate(nodes):
        internal = [{"type": "InternalIP", "address": f"192.0.2.{11 + number}"}]
        await make(client, NODES, name, "", status={"addresses": internal})
    await make(client, SECRETS, "strictarp-hello", NS, data={"key": base64.b64encode(b"k" * 32).decode()})
    await make(client, IPADDRESSPOOLS, "lab", NS, spec={"addresses": list(pool)})
    await make(client, L2ADVERTISEMENTS, "lab", NS, spec={"interfaces": ["eth0"]})
    for number, ip in enumerate(ips):
        await make_service(client, f"web{number}", ip)


async def make_service(client: Client, name: str, *ips: str) -> None:
    """A Service with these addresses and an endpoint."""
    await make(client, SERVICES, name, "default", spec={"type": "LoadBalancer", "ports": PORTS})
    status = {"status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}}
    await client.merge_patch(SERVICES, name, status, "default", subresource="status")
    await make_endpoints(client, name)


async def make_endpoints(client: Client, name: str) -> None:
    """One endpoint of a Service, which serves."""
    await make(
        client,
        ENDPOINTSLICES,
        f"{name}-1",
        "default",
        metadata={"labels": {"kubernetes.io/service-name": name}},
        addressType="IPv4",
        endpoints=[{"addresses": ["203.0.113.9"], "conditions": {"ready": True}}],
        ports=PORTS,
    )


def with_ipv6(wire: Segment) -> Segment:
    """The hosts have addresses of both families."""
    for number, space in enumerate(wire.hosts.values(), 1):
        write_sysctls(space, {"net/ipv6/conf/all/disable_ipv6": 0, "net/ipv6/conf/eth0/disable_ipv6": 0})
        namespaces.ip(space, f"addr add 2001:db8::{number}/64 dev eth0 nodad")
    return wire

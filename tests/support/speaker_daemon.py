"""The objects of a small cluster with one dual-stack Service, for tests of whole speakers."""

from __future__ import annotations

import base64

from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS
from strictarp.kube.objects import ENDPOINTSLICES, NODES, SECRETS, SERVICES
from strictarp.lab import namespaces
from support.api import Api
from support.segment import Segment, write_sysctls

NS = "metallb-system"
FOUR, SIX = "192.0.2.100", "2001:db8::64"


async def furnish(api: Api) -> None:
    async def make(resource: object, name: str, namespace: str, **rest: object) -> None:
        metadata = {"name": name, "namespace": namespace, **rest.pop("metadata", {})}
        await api.client.create(resource, {"metadata": metadata, **rest}, namespace)

    await make(NODES, "node1", "")
    await make(SECRETS, "strictarp-hello", NS, data={"key": base64.b64encode(b"k" * 32).decode()})
    await make(IPADDRESSPOOLS, "lab", NS, spec={"addresses": ["192.0.2.100/32", "2001:db8::64/128"]})
    await make(L2ADVERTISEMENTS, "lab", NS, spec={"interfaces": ["eth0"]})
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    await make(SERVICES, "web", "default", spec={"type": "LoadBalancer", "ports": ports})
    status = {"status": {"loadBalancer": {"ingress": [{"ip": FOUR}, {"ip": SIX}]}}}
    await api.client.merge_patch(SERVICES, "web", status, "default", subresource="status")
    await make(
        ENDPOINTSLICES,
        "web-1",
        "default",
        metadata={"labels": {"kubernetes.io/service-name": "web"}},
        addressType="IPv4",
        endpoints=[{"addresses": ["203.0.113.9"], "conditions": {"ready": True}}],
        ports=ports,
    )


def with_ipv6(wire: Segment) -> Segment:
    """The hosts have addresses of both families."""
    for number, space in enumerate(wire.hosts.values(), 1):
        write_sysctls(space, {"net/ipv6/conf/all/disable_ipv6": 0, "net/ipv6/conf/eth0/disable_ipv6": 0})
        namespaces.ip(space, f"addr add 2001:db8::{number}/64 dev eth0 nodad")
    return wire

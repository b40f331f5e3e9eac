"""The whole daemon on one node: the API's objects in, answers, metrics and status objects out."""

from __future__ import annotations

import asyncio
import base64
import socket
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS, SERVICEL2STATUSES
from strictarp.kube.objects import ENDPOINTSLICES, EVENTS, LEASES, NODES, SECRETS, SERVICES
from strictarp.lab import namespaces
from strictarp.lab.apiserver.targets import parse_path
from strictarp.speaker.daemon import Options, Speaker
from strictarp.speaker.membership import LABELS, LINKS_ANNOTATION
from strictarp.speaker.settings import MS, SECOND, Settings
from support.api import Api, running_api
from support.segment import build, needs_root, write_sysctls

pytestmark = [pytest.mark.netns, needs_root]

NS = "metallb-system"
FOUR, SIX = "192.0.2.100", "2001:db8::64"
SETTINGS = Settings(
    hello=200 * MS, claim=200 * MS, late=90 * MS, accept=120 * MS, settle=SECOND, drain_grace=300 * MS
)


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


def ask(space: namespaces.Namespace) -> None:
    """The client's kernel asks for both addresses: whether a port is open there does not matter."""
    with namespaces.entered(space):
        for family, text in ((socket.AF_INET, FOUR), (socket.AF_INET6, SIX)):
            with socket.socket(family, socket.SOCK_DGRAM) as out:
                out.sendto(b"?", (text, 9))


async def test_a_dual_stack_service_is_announced_measured_and_given_up(tmp_path: Path) -> None:
    with build(["node1", "client"]) as wire:
        for number, space in enumerate(wire.hosts.values(), 1):
            write_sysctls(space, {"net/ipv6/conf/all/disable_ipv6": 0, "net/ipv6/conf/eth0/disable_ipv6": 0})
            namespaces.ip(space, f"addr add 2001:db8::{number}/64 dev eth0 nodad")
        with namespaces.entered(wire.hosts["node1"]):
            async with running_api(tmp_path) as api:
                await furnish(api)
                speaker = Speaker(Options(None, "node1", SETTINGS, metrics_port=0), api.client)
                work = asyncio.create_task(speaker.run())
                try:
                    await announced(api)
                    ask(wire.hosts["client"])
                    await asyncio.sleep(0.5)
                    text = exposed(speaker)
                    for ip in (FOUR, SIX):
                        assert value(text, "metallb_layer2_requests_received", ip) >= 1
                        assert value(text, "metallb_layer2_responses_sent", ip) >= 1
                    assert value(text, "metallb_layer2_gratuitous_sent", FOUR) >= 2
                    assert value(text, "metallb_layer2_gratuitous_sent", SIX) >= 1
                    for ip in (FOUR, SIX):
                        labels = f'ip="{ip}",node="node1",protocol="layer2",service="default/web"'
                        assert f"metallb_speaker_announced{{{labels}}} 1.0" in text
                    assert 'strictarp_speaker_takeovers_total{cause="no owner known"} 2.0' in text
                    events = (await api.client.list(EVENTS, "default")).items
                    assert [each.reason for each in events] == ["nodeAssigned"]
                    written = api.version
                    await asyncio.sleep(0.7)
                    assert api.version == written, "nothing is written while nothing changes"
                    await survive_malformed_objects(api, speaker, work)
                    await api.client.delete(SECRETS, "strictarp-hello", NS)
                    await asyncio.sleep(0.8)  # longer than a lease
                    before = value(exposed(speaker), "metallb_layer2_responses_sent", FOUR)
                    namespaces.ip(wire.hosts["client"], "neigh flush dev eth0")
                    ask(wire.hosts["client"])
                    await asyncio.sleep(0.3)
                    after = value(exposed(speaker), "metallb_layer2_responses_sent", FOUR)
                    assert after > before, "the last good key stays in force"
                    await speaker.leave()
                    assert not (await api.client.list(SERVICEL2STATUSES, NS)).items
                    leases = (await api.client.list(LEASES, NS)).items
                    assert [each.metadata.name for each in leases] == ["strictarp-speaker-odd"]
                finally:
                    work.cancel()
                    await asyncio.wait({work})


MALFORMED = {
    "/api/v1/namespaces/default/services/odd": {"spec": {"type": 5, "ports": "x"}},
    "/api/v1/namespaces/default/services/odder": {
        "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1%eth0"}, {"ip": "x"}]}},
    },
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/odd-1": {"endpoints": {"a": 1}},
    "/api/v1/nodes/odd": {"status": {"addresses": [{"type": "InternalIP", "address": "no"}]}},
    "/api/v1/nodes/odder": {"status": {"conditions": "Ready"}},
    f"/apis/coordination.k8s.io/v1/namespaces/{NS}/leases/strictarp-speaker-odd": {
        "metadata": {"labels": LABELS, "annotations": {LINKS_ANNOTATION: "[" * 90_000}}
    },
    f"/apis/metallb.io/v1beta1/namespaces/{NS}/ipaddresspools/odd": {"spec": {"addresses": ["9-1", "::/0"]}},
    f"/apis/metallb.io/v1beta1/namespaces/{NS}/ipaddresspools/odder": {"spec": {"addresses": 7}},
    f"/apis/metallb.io/v1beta1/namespaces/{NS}/l2advertisements/odd": {
        "spec": {"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]}
    },
    f"/api/v1/namespaces/{NS}/secrets/strictarp-hello": {"data": {"key": "ü"}},
}


async def survive_malformed_objects(api: Api, speaker: Speaker, work: asyncio.Task[None]) -> None:
    """Of every kind that it watches; what it owns, it owns afterwards."""
    owned = speaker._owned()
    for path, body in MALFORMED.items():
        api.server.engine.put_raw(parse_path(path), body)
    await asyncio.sleep(0.6)
    assert not work.done(), work
    assert speaker._owned() == owned
    assert len(owned) == 2


async def announced(api: Api) -> None:
    for _ in range(200):
        found = (await api.client.list(SERVICEL2STATUSES, NS)).items
        if found and found[0].status.node:  # the object comes first, its status next
            break
        await asyncio.sleep(0.1)
    (status,) = found
    assert (status.metadata.labels or {})["metallb.io/node"] == "node1"
    assert (status.status.node, status.status.service_name) == ("node1", "web")
    assert [each.name for each in status.status.interfaces or ()] == ["eth0"]


def exposed(speaker: Speaker) -> str:
    registry = CollectorRegistry()
    registry.register(speaker.figures)
    return generate_latest(registry).decode()


def value(text: str, name: str, ip: str) -> float:
    """The sample with exactly MetalLB's name."""
    line = next(line for line in text.splitlines() if line.startswith(f'{name}{{ip="{ip}"}} '))
    return float(line.rsplit(" ", 1)[1])

"""The whole daemon on one node: the API's objects in, answers, metrics and status objects out."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from strictarp.kube.custom import ANNOUNCEDADDRESSES, IPADDRESSPOOLS, SERVICEL2STATUSES
from strictarp.kube.objects import EVENTS, LEASES, SECRETS, SERVICES
from strictarp.lab import namespaces
from strictarp.lab.apiserver.targets import parse_path
from strictarp.speaker import daemon
from strictarp.speaker.daemon import Options, Speaker
from strictarp.speaker.kernel_answers import Who
from strictarp.speaker.membership import LABELS, LINKS_ANNOTATION
from strictarp.speaker.settings import MS, SECOND, Settings
from support.api import Api, running_api
from support.segment import build, needs_root
from support.speaker_daemon import FOUR, NS, SIX, furnish, with_ipv6

pytestmark = [pytest.mark.netns, needs_root]

SETTINGS = Settings(
    hello=200 * MS, claim=200 * MS, late=90 * MS, accept=120 * MS, settle=SECOND, drain_grace=300 * MS
)


def ask(space: namespaces.Namespace) -> None:
    """The client's kernel asks for both addresses: whether a port is open there does not matter."""
    with namespaces.entered(space):
        for family, text in ((socket.AF_INET, FOUR), (socket.AF_INET6, SIX)):
            with socket.socket(family, socket.SOCK_DGRAM) as out:
                out.sendto(b"?", (text, 9))


async def test_a_dual_stack_service_is_announced_measured_and_given_up(tmp_path: Path) -> None:
    with build(["node1", "client"]) as wire:
        with_ipv6(wire)
        with namespaces.entered(wire.hosts["node1"]):
            async with running_api(tmp_path) as api:
                await furnish(api)
                options = Options(None, "node1", SETTINGS, metrics_port=0, answer=Who.PROCESS)
                speaker = Speaker(options, api.client)
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
                    latency = "strictarp_speaker_answer_seconds"
                    answers = value(text, f"{latency}_count", "eth0", label="link")
                    assert answers >= 2
                    assert 0 < value(text, f"{latency}_sum", "eth0", label="link") / answers < 0.1
                    assert f'{latency}_bucket{{le="+Inf",link="eth0"}} {answers}' in text
                    for name in (
                        "config_loaded_bool 1.0",
                        "config_stale_bool 0.0",
                        "update_errors_total 0.0",
                    ):
                        assert f"metallb_k8s_client_{name}" in text
                    events = (await api.client.list(EVENTS, "default")).items
                    told = [(each.reason, each.count) for each in events]
                    assert told == [("nodeAssigned", 1)], "once for both addresses"
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
                    left = (await api.client.list(ANNOUNCEDADDRESSES, NS)).items
                    assert {each.spec.address: each.status.node for each in left} == {FOUR: None, SIX: None}
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
    owned = owned_by(speaker)
    for path, body in MALFORMED.items():
        api.server.engine.put_raw(parse_path(path), body)
    await asyncio.sleep(0.6)
    assert not work.done(), work
    assert owned_by(speaker) == owned
    assert len(owned) == 2


async def test_pools_that_left_an_address_leave_it_announced_until_its_service_has_none(
    tmp_path: Path,
) -> None:
    with build(["node1"]) as wire:
        with_ipv6(wire)
        with namespaces.entered(wire.hosts["node1"]):
            async with running_api(tmp_path) as api:
                await furnish(api)
                speaker = Speaker(Options(None, "node1", SETTINGS, metrics_port=0), api.client)
                work = asyncio.create_task(speaker.run())
                try:
                    await announced(api)
                    owned = owned_by(speaker)
                    for addresses in (["198.51.100.0/24"], ["192.0.2.100/320"]):
                        edit = {"spec": {"addresses": addresses}}
                        await api.client.merge_patch(IPADDRESSPOOLS, "lab", edit, NS)
                        await asyncio.sleep(0.5)
                        assert owned_by(speaker) == owned
                    await api.client.delete(IPADDRESSPOOLS, "lab", NS)
                    await asyncio.sleep(0.5)
                    assert owned_by(speaker) == owned
                    none = {"status": {"loadBalancer": {"ingress": None}}}
                    await api.client.merge_patch(SERVICES, "web", none, "default", subresource="status")
                    await asyncio.sleep(0.5)
                    assert not owned_by(speaker)
                finally:
                    work.cancel()
                    await asyncio.wait({work})


async def test_a_speaker_that_is_not_heard_is_told_on_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "DEAF_LASTS", 0.5)
    with build(["node1"]) as wire, namespaces.entered(wire.hosts["node1"]):
        async with running_api(tmp_path) as api:
            await furnish(api)
            lease = {"metadata": {"name": "strictarp-speaker-node9", "labels": LABELS}, "spec": {}}
            await api.client.create(LEASES, lease, NS)
            speaker = Speaker(Options(None, "node1", SETTINGS, metrics_port=0), api.client)
            work = asyncio.create_task(speaker.run())
            try:
                for _ in range(100):
                    events = (await api.client.list(EVENTS, "default")).items
                    found = [each for each in events if each.reason == "peerUnheard"]
                    if found:
                        break
                    await asyncio.sleep(0.1)
                (told,) = found
                assert (told.involved_object.kind, told.involved_object.name) == ("Node", "node1")
                assert (told.message or "").startswith(
                    "hears nothing of node9 on eth0, though a speaker lives"
                )
            finally:
                work.cancel()
                await asyncio.wait({work})


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


def owned_by(speaker: Speaker) -> set[bytes]:
    return {address for each in speaker.figures.segments for address in each.machine.owned}


def exposed(speaker: Speaker) -> str:
    registry = CollectorRegistry()
    registry.register(speaker.figures)
    return generate_latest(registry).decode()


def value(text: str, name: str, of: str, *, label: str = "ip") -> float:
    """The sample with exactly this name."""
    line = next(line for line in text.splitlines() if line.startswith(f'{name}{{{label}="{of}"}} '))
    return float(line.rsplit(" ", 1)[1])

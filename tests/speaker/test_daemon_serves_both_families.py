"""The whole daemon on one node: the API's objects in, answers, metrics and status objects out."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from strictarp.kube.custom import ANNOUNCEDADDRESSES, SERVICEL2STATUSES
from strictarp.kube.objects import EVENTS, LEASES
from strictarp.lab import namespaces
from strictarp.speaker.daemon import Options, Speaker
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
                    await speaker.leave()
                    assert not (await api.client.list(SERVICEL2STATUSES, NS)).items
                    left = (await api.client.list(ANNOUNCEDADDRESSES, NS)).items
                    assert {each.spec.address: each.status.node for each in left} == {FOUR: None, SIX: None}
                    assert not (await api.client.list(LEASES, NS)).items
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


def exposed(speaker: Speaker) -> str:
    registry = CollectorRegistry()
    registry.register(speaker.figures)
    return generate_latest(registry).decode()


def value(text: str, name: str, of: str, *, label: str = "ip") -> float:
    """The sample with exactly this name."""
    line = next(line for line in text.splitlines() if line.startswith(f'{name}{{{label}="{of}"}} '))
    return float(line.rsplit(" ", 1)[1])

"""Kernels in namespaces answer for a VIP and the doctor asks them: the wire is judged with the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import ip_address

import msgspec
import pytest

from strictarp.doctor import wireside
from strictarp.doctor.check import CLUSTER, WIRE, Part
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.diagnosis import Diagnosis, diagnose
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.objects import Objects
from strictarp.doctor.registry import CHECKS
from strictarp.lab import namespaces
from strictarp.wire.announcers import Announcer
from support.doctor_clusters import CONFIG, node, objects, service, signs
from support.segment import VIP, Segment, bind_vip, build, write_sysctls

pytestmark = pytest.mark.netns
STRICT = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}
LAX = dict.fromkeys(STRICT, 0)


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    with build(["client", "node1", "node2", "stranger"]) as made:
        bind_vip(made.hosts["node1"])
        bind_vip(made.hosts["node2"])
        yield made


@pytest.fixture(autouse=True)
def lax(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wireside, "DEFAULT_WAIT", 0.3)
    for name in ("node1", "node2"):
        write_sysctls(segment.hosts[name], LAX)


def cluster(segment: Segment, **changed: object) -> Objects:
    nodes = tuple(node(name, segment.address(name)) for name in ("node1", "node2"))
    said = {ip_address(VIP): (Announcer("node1", "ServiceL2Status l2-x"),)}
    return msgspec.structs.replace(objects(nodes=nodes, announced=said), **changed)


def look(
    segment: Segment,
    given: Objects,
    interface: str | None = None,
    asked: frozenset[Part] = CLUSTER | WIRE,
) -> Diagnosis:
    view = ClusterView(given)
    with namespaces.entered(segment.hosts["client"]):
        wire, blind = asyncio.run(wireside.ask(view, interface, {}, lambda _: None))
    return diagnose(Evidence(view, wire=wire, blind=blind), CHECKS, asked)


def told(diagnosis: Diagnosis) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.code, each.consequences) for each in diagnosis.findings]


def test_two_kernels_answer_though_strictarp_is_configured(segment: Segment) -> None:
    found = look(segment, cluster(segment))
    ((code, _),) = told(found)
    assert code == "SA701"
    assert f"{segment.mac('node1')} (node1" in found.findings[0].seen
    assert f"{segment.mac('node2')} (node2" in found.findings[0].seen
    assert found.exit_code == 2


def test_with_strictarp_off_that_is_the_cause(segment: Segment) -> None:
    off = signs(CONFIG.replace("true", "false"))
    assert told(look(segment, cluster(segment, signs=off))) == [("SA101", ("SA701",))]


def test_the_announcer_alone_is_sound_and_another_alone_is_not(segment: Segment) -> None:
    write_sysctls(segment.hosts["node2"], STRICT)
    found = look(segment, cluster(segment))
    assert (told(found), found.exit_code) == ([], 0)
    write_sysctls(segment.hosts["node1"], STRICT)
    write_sysctls(segment.hosts["node2"], LAX)
    assert [code for code, _ in told(look(segment, cluster(segment)))] == ["SA703"]


def test_nobody_answers_when_all_are_silent(segment: Segment) -> None:
    for name in ("node1", "node2"):
        write_sysctls(segment.hosts[name], STRICT)
    assert [code for code, _ in told(look(segment, cluster(segment)))] == ["SA702"]
    assert told(look(segment, cluster(segment, advertisements=()))) == [("SA613", ("SA702",))]


def test_a_stranger_is_told_as_one(segment: Segment) -> None:
    for name in ("node1", "node2"):
        write_sysctls(segment.hosts[name], STRICT)
    address = segment.address("stranger")
    taken = (service("web", address),)
    pools = (msgspec.structs.replace(objects().pools[0]),)
    found = look(segment, cluster(segment, services=taken, pools=pools, announced={}))
    assert "SA704" in [code for code, _ in told(found)]


def test_a_vip_that_cannot_be_asked_for_is_not_looked_at(segment: Segment) -> None:
    far = (service("web", "203.0.113.9"), service("six", "2001:db8::9"))
    found = look(segment, cluster(segment, services=far))
    assert found.exit_code == 3
    assert "wire" in [each.what for each in found.not_looked_at]
    near = (*far, service("near", VIP))
    found = look(segment, cluster(segment, services=near))
    assert "VIP 203.0.113.9" in [each.what for each in found.not_looked_at]
    assert look(segment, cluster(segment, services=near), asked=CLUSTER).exit_code != 3


def test_without_the_right_to_ask_it_is_told(segment: Segment) -> None:
    found = look(segment, cluster(segment), interface="nosuch0")
    assert found.exit_code == 3
    assert "no interface nosuch0" in next(each.reason for each in found.not_looked_at if each.what == "wire")

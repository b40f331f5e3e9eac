"""Whatever the API shows, decoded: every check looks at it, and the report for people is printed."""

import copy
import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from strictarp.cli.doctor_text import show
from strictarp.doctor.check import CLUSTER
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.diagnosis import Diagnosis, diagnose
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.kinds import CiliumL2AnnouncementPolicy, FelixConfiguration
from strictarp.doctor.managed import ConfigMap as ManagedConfigMap
from strictarp.doctor.managed import written_at
from strictarp.doctor.objects import Objects, ProxyAnswer
from strictarp.doctor.pages import proxy_answer, speaker_answer
from strictarp.doctor.registry import CHECKS
from strictarp.doctor.wire_view import WireView
from strictarp.kube.custom import AddressConflict, ConfigurationState
from strictarp.kube.objects import ConfigMap, Namespace
from support.doctor_clusters import (
    answer,
    evidence,
    kube_vip,
    looked,
    made,
    name_of,
    objects,
    pool,
    report,
    service,
    signs,
    with_our_speakers,
)

RICH = with_our_speakers(
    services=(
        service("web", "192.0.2.100", externalIPs=["192.0.2.11"], loadBalancerIP="192.0.2.100"),
        service("two", "192.0.2.100", annotations={"metallb.io/allow-shared-ip": "a"}),
        service("late"),
    ),
    daemonsets=(*objects().daemonsets, kube_vip(), *with_our_speakers().daemonsets),
    namespaces=(made(Namespace, {"metadata": {"name": "default"}}),),
    pools=(
        pool(
            serviceAllocation={"namespaces": ["default"], "serviceSelectors": [{"matchLabels": {"a": "b"}}]}
        ),
    ),
    conflicts=(made(AddressConflict, {"metadata": {"name": "x"}, "spec": {"address": "192.0.2.101"}}),),
    configuration_states=(made(ConfigurationState, {"status": {"result": "Invalid"}}),),
    felix=(made(FelixConfiguration, {"spec": {"localSubnetL2Reachability": "PodsAndLoadBalancers"}}),),
    cilium_policies=(made(CiliumL2AnnouncementPolicy, {"spec": {"loadBalancerIPs": True}}),),
    configmaps=(
        made(
            ConfigMap,
            {
                "metadata": {"name": "cilium-config", "namespace": "kube-system"},
                "data": {"enable-l2-announcements": "true"},
            },
        ),
    ),
    proxies=(ProxyAnswer("node1", True, False, False, "odd"),),
)
KINDS = (
    "nodes", "namespaces", "services", "slices", "pods", "daemonsets", "configmaps", "leases", "pools",
    "advertisements", "conflicts", "configuration_states", "felix", "cilium_policies",
)  # fmt: skip
ODD = [
    None, "", "\x00\x1b[31m", "[bold]x[/]", "a" * 5000, "192.0.2.100", "192.0.2.0/99", "999.1.1.1", "9-1",
    "::1%eth0", "::ffff:192.0.2.1", "0.0.0.0/0", "::/0", "2001:db8::1", -1, 0, 10**18, True, [], {}, [None],
    "node1", ["192.0.2.0/24"] * 3, {"a": "b"}, "true", "default/web", "LoadBalancer", "Local", "2026-99-99",
]  # fmt: skip


def paths_of(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path] if path else []
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        found += paths_of(child, (*path, key))
    return found


def put(document: Any, path: tuple[Any, ...], value: object) -> None:  # noqa: ANN401
    for step in path[:-1]:
        document = document[step]
    if value == "(delete)":
        del document[path[-1]]
    else:
        document[path[-1]] = value


def judged(seen: Evidence) -> Diagnosis:
    diagnosis = diagnose(seen, CHECKS, CLUSTER)
    msgspec.json.encode(diagnosis)
    return diagnosis


def survives(seen: Evidence) -> None:
    diagnosis = judged(seen)
    out = io.StringIO()
    show(diagnosis, Console(file=out, width=100))
    assert "\x1b[31m" not in out.getvalue()
    assert "\x00" not in out.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=20)
def test_an_object_that_is_odd_somewhere(kind: str, data: st.DataObject) -> None:
    originals = getattr(RICH, kind)
    at = data.draw(st.integers(0, len(originals) - 1))
    document = json.loads(msgspec.json.encode(originals[at]))
    for _ in range(data.draw(st.integers(1, 3))):
        paths = paths_of(document)
        if paths:
            odd = copy.deepcopy(data.draw(st.sampled_from([*ODD, "(delete)"])))
            put(document, data.draw(st.sampled_from(paths)), odd)
    try:
        changed = msgspec.convert(document, type(originals[at]))
    except msgspec.ValidationError:
        return  # the decoder refuses it, and it is told
    rest = (*originals[:at], changed, *originals[at + 1 :])
    judged(evidence(msgspec.structs.replace(RICH, **{kind: rest})))


@given(
    text=st.text(max_size=60)
    | st.sampled_from(["&a [*a]", "a: &a {b: *a}", "1" * 5000, "mode: !!python/x 1"])
)
@settings(max_examples=60)
def test_a_configuration_of_any_text(text: str) -> None:
    judged(evidence(objects(signs=signs(text))))
    judged(evidence(objects(signs=signs(f"mode: ipvs\nipvs: {text}"))))


@given(text=st.text(max_size=30), version=st.text(max_size=12))
@settings(max_examples=60)
def test_versions_times_and_annotations_of_any_text(text: str, version: str) -> None:
    node = msgspec.structs.replace(
        signs().nodes[0], annotations={"k3s.io/node-args": text}, kubelet_version="v1+k3s"
    )
    given_signs = msgspec.structs.replace(signs(), nodes=(node,))
    judged(evidence(objects(version=version, configured_at=text, signs=given_signs)))


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_pages_of_any_bytes(body: bytes) -> None:
    proxy_answer("n", (200, body))
    speaker_answer("n", (200, body))
    speaker_answer("n", (200, b"strictarp_speaker_has_key 1.0\n" + body))


@pytest.mark.parametrize(
    "line",
    [
        b"strictarp_speaker_has_key 1e999",
        b"strictarp_speaker_members ...",
        b"strictarp_speaker_reports_total{kind=} 1",
        b"strictarp_speaker_reports_total{ 1",
        b'strictarp_speaker_frames_refused_total{why="x",why="y"} 1e3',
    ],
)
def test_samples_that_are_none(line: bytes) -> None:
    told = speaker_answer("n", (200, b"strictarp_speaker_has_key 1.0\n" + line))
    assert told is not None
    assert told.has_key


def test_managed_fields_of_any_shape() -> None:
    shapes: list[object] = [None, [], [{}], [{"fieldsV1": {}}], [{"fieldsV1": {"f:data": {"f:a": {}}}}]]
    for shape in shapes:
        config = made(ManagedConfigMap, {"metadata": {"managedFields": shape}})
        assert written_at(config, "a") == ""
    fields = {"f:data": {"f:a": {}}}
    times = [
        {"time": "2026-01-01T00:00:00Z", "fieldsV1": fields},
        {"time": "2025-01-01T00:00:00Z", "fieldsV1": fields},
    ]
    config = made(ManagedConfigMap, {"metadata": {"managedFields": times}})
    assert (written_at(config, "a"), written_at(config, "b")) == ("2026-01-01T00:00:00Z", "")


def test_names_that_would_steer_a_terminal() -> None:
    odd = tuple(
        service(f"x\x1b[31m{each}[bold]", "192.0.2.100", annotations={"metallb.universe.tf/\x00": "a"})
        for each in range(9)
    )
    survives(evidence(msgspec.structs.replace(RICH, services=odd)))


def test_an_empty_cluster_and_a_huge_one() -> None:
    survives(Evidence(ClusterView(Objects())))
    services = tuple(
        service(f"s{each}", f"10.{each >> 16}.{each >> 8 & 255}.{each & 255}") for each in range(3000)
    )
    seen = evidence(
        msgspec.structs.replace(RICH, services=services, pools=(pool("main", "10.0.0.0/8", "2001:db8::/32"),))
    )
    survives(seen)
    assert len(looked(seen).findings) > 3000


def test_answers_of_strangers_and_of_nobody_known() -> None:
    macs = [f"02:00:00:00:01:{each:02x}" for each in range(200)]
    seen = report(*map(answer, macs), names=[name_of(each) for each in macs[:50]])
    survives(Evidence(ClusterView(RICH), wire=WireView((seen,))))
    survives(Evidence(None, wire=WireView((seen,))))

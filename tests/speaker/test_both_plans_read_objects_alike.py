"""`controller plan` and `speaker plan`: where objects may come from, and that their order does not matter."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from strictarp.cli.main import program

Json = dict[str, Any]
NS = "metallb-system"


def _object(api: str, kind: str, name: str, namespace: str, **rest: object) -> Json:
    metadata = {"name": name, "namespace": namespace, **rest.pop("metadata", {})}  # type: ignore[dict-item]
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def _service(number: int, ip: str, **spec: object) -> Json:
    return _object(
        "v1",
        "Service",
        f"web-{number}",
        "default",
        metadata={"creationTimestamp": f"2025-01-01T00:00:{number:02}Z"},
        spec={
            "type": "LoadBalancer",
            "clusterIPs": ["203.0.113.9"],
            "ports": [{"port": 80, "protocol": "TCP"}],
            **spec,
        },
        status={"loadBalancer": {"ingress": [{"ip": ip}] if ip else []}},
    )


def _slice(number: int) -> Json:
    labels = {"kubernetes.io/service-name": f"web-{number}"}
    return _object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        f"web-{number}-1",
        "default",
        metadata={"labels": labels},
        addressType="IPv4",
        endpoints=[{"addresses": ["198.51.100.9"], "nodeName": "node2", "conditions": {"ready": True}}],
    )


def _node(name: str, **labels: str) -> Json:
    return _object("v1", "Node", name, "", metadata={"labels": labels})


def _pool(name: str, *addresses: str, namespace: str = NS) -> Json:
    return _object(
        "metallb.io/v1beta1", "IPAddressPool", name, namespace, spec={"addresses": list(addresses)}
    )


def _advertisement(name: str, **spec: object) -> Json:
    return _object("metallb.io/v1beta1", "L2Advertisement", name, NS, spec=spec)


OBJECTS = [
    _pool("lab", "192.0.2.101-192.0.2.103"),
    _advertisement("lab", interfaces=["eth0"]),
    _node("node1"),
    _node("node2"),
    _node("node3", **{"node.kubernetes.io/exclude-from-external-load-balancers": ""}),
    _service(1, "192.0.2.102"),
    _service(2, ""),
    _service(3, ""),
    _service(4, ""),
    *(_slice(number) for number in (1, 2, 3, 4)),
    _object("v1", "ConfigMap", "other", "default", data={"a": "b"}),
]
PLANS = {
    "controller": ("controller", "plan"),
    "speaker": ("speaker", "plan", "--alive", "node1,node2,node3"),
}


def plan(command: str, *paths: Path, argv: tuple[str, ...] = (), code: int = 0) -> Json:
    given = [each for path in paths for each in ("--objects", str(path))]
    result = CliRunner().invoke(program, [*PLANS[command], *given, *argv], standalone_mode=False)
    assert result.exception is None, result.exception
    assert result.return_value == code
    made: Json = json.loads(result.stdout)
    return made


def one_file(folder: Path, objects: list[Json], name: str = "all.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return path


@pytest.mark.parametrize("command", PLANS)
def test_the_order_of_objects_does_not_matter(command: str, tmp_path: Path) -> None:
    wanted = plan(command, one_file(tmp_path, OBJECTS))
    for seed in range(12):
        shuffled = list(OBJECTS)
        random.Random(seed).shuffle(shuffled)
        assert plan(command, one_file(tmp_path, shuffled)) == wanted


@pytest.mark.parametrize("command", PLANS)
def test_files_folders_documents_and_lists_are_read_together(command: str, tmp_path: Path) -> None:
    wanted = plan(command, one_file(tmp_path, OBJECTS))
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    one_file(folder, OBJECTS[:2], "pools.json")
    (folder / "nodes.yaml").write_text("\n---\n".join(json.dumps(each) for each in OBJECTS[2:5]))
    (folder / "notes.txt").write_text("not: read: at all")
    single = tmp_path / "service.yml"
    single.write_text(json.dumps(OBJECTS[5]))
    rest = one_file(tmp_path, OBJECTS[6:], "rest.json")
    assert plan(command, folder, single, rest) == wanted


@pytest.mark.parametrize("command", PLANS)
def test_pools_count_in_the_namespace_that_is_named(command: str, tmp_path: Path) -> None:
    elsewhere = [_pool("lab", "192.0.2.101/32", namespace="other"), *OBJECTS[1:]]
    path = one_file(tmp_path, elsewhere)
    if command == "controller":
        assert plan(command, path)["pools"] == {}
        assert list(plan(command, path, argv=("--namespace", "other"))["pools"]) == ["lab"]
    else:
        assert plan(command, path)["ips"] == {}
        there = [each | {"metadata": each["metadata"] | {"namespace": "other"}} for each in OBJECTS[:2]]
        path = one_file(tmp_path, [*there, *OBJECTS[2:]])
        assert plan(command, path, argv=("--namespace", "other"))["ips"]


@pytest.mark.parametrize("command", PLANS)
def test_errors_name_kind_object_and_field_and_the_json_is_printed_all_the_same(
    command: str, tmp_path: Path
) -> None:
    objects = [*OBJECTS, _pool("bad", "198.51.100.1/33")]
    found = plan(command, one_file(tmp_path, objects), code=1)
    assert found["errors"][0].startswith("IPAddressPool bad: spec.addresses: ")
    if command == "controller":
        assert found["services"]["default/web-1"]["ips"] == ["192.0.2.102"]
        assert found["services"]["default/web-2"]["reason"].startswith("the IPAddressPools are refused")
    else:
        assert found["ips"]["192.0.2.102"]["owner"]


def test_the_controller_serves_the_oldest_first_and_says_why_the_last_one_waits(tmp_path: Path) -> None:
    found = plan("controller", one_file(tmp_path, OBJECTS))
    services = {key.removeprefix("default/web-"): each for key, each in found["services"].items()}
    assert [services[number]["ips"] for number in "1234"] == [
        ["192.0.2.102"],
        ["192.0.2.101"],
        ["192.0.2.103"],
        [],
    ]
    assert [services[number]["events"][0]["reason"] for number in "234"] == [
        "IPAllocated",
        "IPAllocated",
        "AllocationFailed",
    ]
    assert services["1"]["events"] == []
    assert services["4"]["reason"] == "no available IPs"
    assert found["pools"] == {
        "lab": {"assignedIPv4": 3, "availableIPv4": 0, "assignedIPv6": 0, "availableIPv6": 0}
    }


def test_an_emptied_status_is_an_empty_list_and_who_is_not_ours_is_absent(tmp_path: Path) -> None:
    objects = [
        _pool("lab", "192.0.2.101/32", "2001:db8::/60"),
        _service(1, "198.51.100.9"),
        _service(2, "192.0.2.101"),
        _service(3, "192.0.2.101", type="ClusterIP"),
        _service(4, "192.0.2.101", loadBalancerClass="other"),
    ]
    found = plan("controller", one_file(tmp_path, objects))
    assert {key: each["ips"] for key, each in found["services"].items()} == {
        "default/web-1": [],
        "default/web-2": ["192.0.2.101"],
    }
    events = [each["reason"] for each in found["services"]["default/web-1"]["events"]]
    assert events == ["ClearAssignment", "AllocationFailed"]
    assert found["pools"]["lab"]["availableIPv6"] == (1 << 63) - 1


def test_the_speaker_takes_the_label_the_interfaces_and_the_owners_as_told(tmp_path: Path) -> None:
    path = one_file(tmp_path, OBJECTS)
    told = plan("speaker", path)["ips"]["192.0.2.102"]
    assert set(told["order"]) == {"node1", "node2"}
    assert "exclude-from-external-load-balancers" in told["reasons"]["node3"]
    assert told["interfaces"] == ["eth0"]
    found = plan(
        "speaker", path, argv=("--ignore-exclude-lb", "--self", "node3", "--owner", "192.0.2.102=node3")
    )
    told = found["ips"]["192.0.2.102"]
    assert set(told["order"]) == {"node1", "node2", "node3"}
    assert told["owner"] == "node3"
    assert told["self"].startswith("announce it: ")
    open_one = [*OBJECTS, _advertisement("open")]
    assert plan("speaker", one_file(tmp_path, open_one))["ips"]["192.0.2.102"]["interfaces"] == []


def test_a_service_that_left_its_class_by_becoming_a_cluster_ip_is_announced_no_more(tmp_path: Path) -> None:
    objects = [*OBJECTS[:5], _service(1, "192.0.2.102", loadBalancerClass="mine"), *OBJECTS[9:]]
    mine = ("--lb-class", "mine")
    assert list(plan("speaker", one_file(tmp_path, objects), argv=mine)["ips"]) == ["192.0.2.102"]
    objects[5] = _service(1, "192.0.2.102", type="ClusterIP")
    assert plan("speaker", one_file(tmp_path, objects), argv=mine)["ips"] == {}

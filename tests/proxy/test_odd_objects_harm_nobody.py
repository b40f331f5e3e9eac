"""Objects with wrong types, huge numbers and strange texts: the plan goes on, and others are as they were."""

import copy
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from strictarp.cli.main import main
from strictarp.errors import UserError
from strictarp.proxy.config import Config
from strictarp.proxy.documents import Objects, parse_objects
from strictarp.proxy.plan import document, plan_objects
from strictarp.proxy.situation import NodeFacts, situation
from support.odd_objects import FULL_SERVICE, FULL_SLICE, changes, odd_service, put
from support.planning import HERE, Document, backends, plan
from support.proxy_objects import endpoint_slice, service, service_body, slice_body

WARNING = re.compile(r"^(Service|EndpointSlice|Node|Document) \S.*?: \S.*?: \S.*$")
GOOD = (service_body("good", "203.0.113.99"), slice_body("good", ["198.51.100.99"]))
FACTS = situation(Config(), NodeFacts("node1", (bytes([192, 0, 2, 11]),)))


def planned(*bodies: object) -> Document:
    objects = Objects()
    parse_objects(json.dumps({"kind": "List", "items": list(bodies)}), "f", objects)
    desired, warnings = plan_objects(objects.services, objects.slices, FACTS)
    made: Document = json.loads(json.dumps(document(desired, Config(), [*objects.warnings, *warnings])))
    return made


def fields(made: Document) -> list[str]:
    return [warning.split(": ")[1] for warning in made["warnings"]]


@pytest.mark.parametrize(
    ("spec", "field", "still"),
    [
        ({"ports": [{"port": "x"}, {"name": "http", "port": 80}]}, "spec.ports[0].port", True),
        ({"ports": [{"name": 5, "port": 81}, {"name": "http", "port": 80}]}, "spec.ports[0].name", True),
        ({"ports": [{"name": "http"}]}, "spec.ports[0]", False),
        ({"ports": [{"name": "http", "port": 10**30}]}, "spec.ports[0].port", False),
        ({"ports": [{"name": "http", "port": 80, "protocol": "DCCP"}]}, "spec.ports[0].protocol", False),
        ({"ports": [{"name": "http", "port": 80, "nodePort": "x"}]}, "spec.ports[0].nodePort", True),
        ({"ports": {"port": 80}}, "spec.ports", False),
        ({"externalIPs": [5, "192.0.2.102"]}, "spec.externalIPs[0]", True),
        ({"externalIPs": "192.0.2.102"}, "spec.externalIPs", True),
        ({"externalIPs": ["0.0.0.0"]}, "spec.externalIPs[0]", True),
        ({"externalIPs": ["224.0.0.1"]}, "spec.externalIPs[0]", True),
        ({"externalIPs": ["127.0.0.1"]}, "spec.externalIPs[0]", True),
        ({"externalIPs": ["255.255.255.255"]}, "spec.externalIPs[0]", True),
        ({"externalIPs": ["fe80::1"]}, "spec.externalIPs[0]", True),
        ({"externalIPs": ["192.0.2.1%eth0"]}, "spec.externalIPs[0]", True),
        ({"externalIPs": ["192.0.2.01"]}, "spec.externalIPs[0]", True),
        ({"externalIPs": ["１９２.0.2.1"]}, "spec.externalIPs[0]", True),  # noqa: RUF001 - wide digits
        ({"sessionAffinity": ["ClientIP"]}, "spec.sessionAffinity", True),
        ({"sessionAffinity": "Cookie"}, "spec.sessionAffinity", True),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10**9}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            True,
        ),
        (
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": "x"}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            True,
        ),
        ({"externalTrafficPolicy": 5}, "spec.externalTrafficPolicy", True),
        ({"externalTrafficPolicy": "Everywhere"}, "spec.externalTrafficPolicy", True),
        ({"type": 5}, "spec.type", True),
        ({"healthCheckNodePort": "x"}, "spec.healthCheckNodePort", True),
        ({"loadBalancerSourceRanges": [5]}, "spec.loadBalancerSourceRanges[0]", True),
        ({"loadBalancerSourceRanges": "10.0.0.0/8"}, "spec.loadBalancerSourceRanges[0]", True),
        ({"loadBalancerSourceRanges": ["10.0.0.0"]}, "spec.loadBalancerSourceRanges[0]", True),
        ({"clusterIP": 5}, "spec.clusterIP", False),
        ({"clusterIP": "nowhere"}, "spec.clusterIP", False),
    ],
)
def test_what_is_refused_is_named_once_and_the_rest_is_served(
    spec: dict[str, object], field: str, still: bool
) -> None:
    made = planned(*GOOD, odd_service(**spec), slice_body("odd", ["198.51.100.1"]))
    assert fields(made) == [field]
    assert made["warnings"][0].startswith("Service default/odd: ")
    assert backends(made, "203.0.113.10") == ({"198.51.100.1": 1} if still else {})
    assert backends(made, "203.0.113.99") == {"198.51.100.99": 1}


def test_a_source_range_of_the_wrong_type_lets_nobody_in() -> None:
    for ranges in ([5], "10.0.0.0/8", {"a": 1}):
        made = planned(odd_service(loadBalancerSourceRanges=ranges))
        assert made["sets"]["loadBalancerFirewall"] == ["192.0.2.100 . tcp . 80"]
        assert made["sets"]["loadBalancerSource"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"endpoints": [{"addresses": "198.51.100.2"}]}, "endpoints[0].addresses"),
        ({"endpoints": [{"addresses": []}]}, "endpoints[0].addresses[0]"),
        ({"endpoints": [{"addresses": ["2001:db8::1"]}]}, "endpoints[0].addresses[0]"),
        (
            {"endpoints": [{"addresses": ["198.51.100.2"], "conditions": {"ready": "no"}}]},
            "endpoints[0].conditions.ready",
        ),
        ({"endpoints": [{"addresses": ["198.51.100.2"], "nodeName": 5}]}, "endpoints[0].nodeName"),
        ({"endpoints": 5}, "endpoints"),
        ({"ports": [{"name": "http", "port": "x"}]}, "ports[0].port"),
        ({"ports": [{"name": "http", "port": -1}]}, "ports[0].port"),
        ({"addressType": 4}, "addressType"),
    ],
)  # fmt: skip
def test_odd_slices_are_named_and_sound_ones_serve(change: dict[str, object], field: str) -> None:
    odd = slice_body("odd", ["198.51.100.2"], name="s2") | change
    made = planned(*GOOD, odd_service(), slice_body("odd", ["198.51.100.1"]), odd)
    assert fields(made) == [field]
    assert made["warnings"][0].startswith("EndpointSlice default/s2: ")
    if field != "addressType":
        assert backends(made, "203.0.113.10") == {"198.51.100.1": 1}
    assert backends(made, "203.0.113.99") == {"198.51.100.99": 1}


def test_a_hint_of_the_wrong_type_counts_as_no_hint() -> None:
    odd = {"addresses": ["198.51.100.1"], "hints": {"forZones": "a"}}
    made = planned(odd_service(), slice_body("odd", [odd]))
    assert fields(made) == ["endpoints[0].hints.forZones"]
    assert backends(made, "203.0.113.10") == {"198.51.100.1": 1}


def test_a_label_that_is_no_text_still_is_a_label() -> None:
    body = odd_service()
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    metadata["labels"] = {"service.kubernetes.io/headless": True}
    made = planned(body)
    assert made["virtualServers"] == []
    assert fields(made) == ["metadata.labels[service.kubernetes.io/headless]"]


def test_what_is_no_object_is_named_and_skipped() -> None:
    nameless = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": 5}}
    old = {"apiVersion": "v2", "kind": "Service", "metadata": {"name": "web"}}
    empty = {"apiVersion": "v1", "kind": "Service"}
    made = planned(*GOOD, 5, ["x"], nameless, old, empty, {"kind": "ConfigMap"}, None)
    assert len(made["warnings"]) == 6
    assert all(WARNING.match(warning) for warning in made["warnings"])
    assert backends(made, "203.0.113.99") == {"198.51.100.99": 1}


def test_items_of_a_typed_list_have_its_kind() -> None:
    body = {name: value for name, value in GOOD[0].items() if name not in ("kind", "apiVersion")}
    objects = Objects()
    parse_objects(json.dumps({"kind": "ServiceList", "apiVersion": "v1", "items": [body]}), "f", objects)
    assert [each.key for each in objects.services] == ["default/good"]


def test_ten_thousand_ports_and_a_neighbour_are_planned_in_seconds() -> None:
    ports = [{"name": f"p{n}", "port": n, "nodePort": 0} for n in range(1, 10_001)]
    ends = [{"name": f"p{n}", "port": n} for n in range(1, 10_001)]
    started = time.process_time()
    made = plan(
        service("many", "203.0.113.10", ports=ports),
        endpoint_slice("many", ["198.51.100.1", "198.51.100.2"], ports=ends),
        service("good", "203.0.113.99"),
        endpoint_slice("good", ["198.51.100.99"]),
    )
    assert len(made["virtualServers"]) == 10_001
    assert backends(made, "203.0.113.99") == {"198.51.100.99": 1}
    assert time.process_time() - started < 20


def test_ten_thousand_wrong_ports_are_refused_in_seconds() -> None:
    ports = [{"name": f"p{n}", "port": "x"} for n in range(10_000)]
    started = time.process_time()
    made = planned(*GOOD, odd_service(ports=ports))
    assert len(made["warnings"]) == 10_000
    assert time.process_time() - started < 20


def test_the_same_port_twice_is_the_first_one() -> None:
    ports = [
        {"name": "a", "port": 80, "nodePort": 30080},
        {"name": "b", "port": 80},
        {"name": "c", "port": 81, "nodePort": 30080},
        {"name": "d", "port": 80, "protocol": "UDP", "nodePort": 30080},
    ]
    made = planned(odd_service(ports=ports))
    assert fields(made) == ["spec.ports[1].port", "spec.ports[2].nodePort"]
    here = {each["protocol"] for each in made["virtualServers"] if each["address"] == HERE}
    assert here == {"TCP", "UDP"}


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 5000, "&a [*a]", "{\ta: 1", "\x00", "a: b: c", "'"])
def test_a_text_that_cannot_be_read_is_one_message(text: str) -> None:
    try:
        parse_objects(text, "f", Objects())
    except UserError as error:
        assert str(error).startswith("f: ")  # noqa: PT017 - it may as well be read


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(changes)
def test_whatever_an_object_holds_the_plan_goes_on_and_others_are_as_they_were(
    changed: list[tuple[tuple[str, tuple[object, ...]], object]],
) -> None:
    bodies = {"s": copy.deepcopy(FULL_SERVICE), "e": copy.deepcopy(FULL_SLICE)}
    for (which, path), value in changed:
        put(bodies[which], path, value)
    made = planned(*GOOD, bodies["s"], bodies["e"])
    assert len(set(made["warnings"])) == len(made["warnings"])
    assert all(WARNING.match(warning) for warning in made["warnings"])
    (alone,) = planned(*GOOD)["virtualServers"]
    with_odd = [each for each in made["virtualServers"] if each["address"] == "203.0.113.99"]
    assert with_odd == [alone] or "203.0.113.99" in str(changed)
    for each in made["virtualServers"]:
        assert 0 < each["port"] <= 65535
        assert 0 <= each["timeout"] <= 86400


def test_the_command_prints_a_plan_for_odd_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config").write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    )
    items = [*GOOD, odd_service(ports=[{"port": "\ud800 ü 港"}])]
    (tmp_path / "o.json").write_text(json.dumps({"kind": "List", "items": items}))
    argv = ["proxy", "plan", "--config", str(tmp_path / "config"), "--node", "n", "--node-address", HERE]
    assert main([*argv, "--objects", str(tmp_path)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert backends(made, "203.0.113.99") == {"198.51.100.99": 1}
    assert [warning.split(": ")[1] for warning in made["warnings"]] == ["mode", "spec.ports[0].port"]


def test_what_is_said_of_an_entry_names_its_place_in_the_object_although_others_were_refused() -> None:
    odd = odd_service(ports=[{"port": "x"}, {"port": 70000}, {"name": "http", "port": 80, "nodePort": -1}])
    odd["status"] = {"loadBalancer": {"ingress": [{"ip": 5}, {"ip": "nowhere"}]}}
    piece = slice_body("odd", ["198.51.100.1", "198.51.100.2"])
    piece["endpoints"] = [{"addresses": 5}, {"addresses": ["nowhere"]}, {"addresses": ["198.51.100.3"]}]
    piece["ports"] = [{"port": "x"}, {"name": "http", "port": 0}, {"name": "http", "port": 8080}]
    made = planned(odd, piece)
    assert sorted(fields(made)) == [
        "endpoints[0].addresses",
        "endpoints[1].addresses[0]",
        "ports[0].port",
        "ports[1].port",
        "spec.ports[0].port",
        "spec.ports[1].port",
        "spec.ports[2].nodePort",
        "status.loadBalancer.ingress[0].ip",
        "status.loadBalancer.ingress[1].ip",
    ]
    (server,) = made["virtualServers"]
    assert [real["address"] for real in server["realServers"]] == ["198.51.100.3"]


@pytest.mark.parametrize("metadata", [{}, {"name": ""}, {"name": None}, None])
def test_an_object_without_a_name_is_told_as_one(metadata: object) -> None:
    bodies = [{**body, "metadata": metadata} for body in GOOD]
    made = planned(*bodies, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    assert [warning.split(": ")[0] for warning in made["warnings"]] == [
        "Service default/?",
        "EndpointSlice default/?",
        "Node ?",
    ]
    assert all(WARNING.match(warning) for warning in made["warnings"])

"""What one node would program for example objects, by the plan command's own function."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.cli.main import main
from strictarp.kube.objects import EndpointSlice, Service
from strictarp.proxy.config import Config, NodePortAddresses
from strictarp.proxy.fields import parse_network
from strictarp.proxy.services import plan_service
from strictarp.proxy.situation import NodeFacts, situation
from support.planning import HERE, Document, backends, plan, servers
from support.proxy_objects import endpoint_slice, service, service_body, slice_body


def ready(address: str, node: str, **conditions: bool) -> Document:
    return {"addresses": [address], "nodeName": node, "conditions": conditions}


NODE_PORT = ({"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080},)
ENDS = (("198.51.100.1", "node1"), ("198.51.100.2", "node2"))


def balancer(**rest: object) -> Service:
    rest = {"type": "LoadBalancer", "ports": NODE_PORT, "ingress": ["192.0.2.100"], **rest}
    return service("web", "203.0.113.10", **rest)


def test_a_load_balancer_has_a_virtual_server_for_each_way_to_reach_it() -> None:
    made = plan(balancer(externalIPs=["192.0.2.102"]), endpoint_slice("web", ENDS))
    assert servers(made) == {
        "TCP 203.0.113.10:80",
        "TCP 192.0.2.100:80",
        "TCP 192.0.2.102:80",
        f"TCP {HERE}:30080",
    }
    assert made["addresses"] == ["192.0.2.100", "192.0.2.102", "203.0.113.10"]
    assert made["sets"]["vips"] == ["192.0.2.100", "192.0.2.102", "203.0.113.10"]
    assert made["sets"]["clusterIP"] == ["203.0.113.10 . tcp . 80"]
    assert made["sets"]["loadBalancer"] == ["192.0.2.100 . tcp . 80"]
    assert made["sets"]["externalIP"] == ["192.0.2.102 . tcp . 80"]
    assert made["sets"]["nodePort"] == [f"{HERE} . tcp . 30080"]
    assert made["sets"]["hairpin"] == ["198.51.100.1 . tcp . 8080 . 198.51.100.1"]
    assert backends(made, "192.0.2.100") == {"198.51.100.1": 1, "198.51.100.2": 1}


def test_endpoints_are_found_by_port_name_and_protocol() -> None:
    ports = (
        {"name": "http", "port": 80},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    )
    made = plan(
        service("web", "203.0.113.10", ports=ports),
        endpoint_slice("web", ["198.51.100.1"], name="w1", ports=[{"name": "http", "port": 8080}]),
        endpoint_slice(
            "web", ["198.51.100.2"], name="w2", ports=[{"name": "dns", "port": 53, "protocol": "UDP"}]
        ),
    )
    found = {f"{v['protocol']}:{v['port']}": len(v["realServers"]) for v in made["virtualServers"]}
    assert found == {"TCP:80": 1, "UDP:53": 1, "TCP:53": 0}


@pytest.mark.parametrize(
    "rest",
    [
        {"type": "ExternalName"},
        {"labels": {"service.kubernetes.io/service-proxy-name": "other"}},
        {"labels": {"service.kubernetes.io/headless": ""}},
    ],
)
def test_services_of_others_and_external_names_are_skipped(rest: dict[str, object]) -> None:
    assert plan(service("web", "203.0.113.10", **rest))["virtualServers"] == []


def test_headless_services_are_skipped() -> None:
    assert plan(service("web", "None"))["virtualServers"] == []
    assert plan(service("web", ""))["virtualServers"] == []


def test_ingress_of_mode_proxy_and_host_names_are_ignored() -> None:
    ingress = [
        {"ip": "192.0.2.100", "ipMode": "Proxy"},
        {"hostname": "lb"},
        {"ip": "192.0.2.101", "ipMode": "VIP"},
    ]
    assert plan(balancer(ingress=ingress))["sets"]["loadBalancer"] == ["192.0.2.101 . tcp . 80"]


def test_an_address_of_the_node_itself_is_served_but_not_bound() -> None:
    made = plan(balancer(ingress=[HERE]))
    assert f"TCP {HERE}:80" in servers(made)
    assert made["addresses"] == ["203.0.113.10"]


def test_a_load_balancer_without_node_port_has_none() -> None:
    assert plan(balancer(ports=({"name": "http", "port": 80},)))["sets"]["nodePort"] == []


@pytest.mark.parametrize(
    ("wanted", "served"),
    [
        (NodePortAddresses(), {"192.0.2.11", "192.0.2.99", "10.0.0.1"}),
        (NodePortAddresses(primary=True), {"192.0.2.11"}),
        (NodePortAddresses(networks=(parse_network("10.0.0.0/8"),)), {"10.0.0.1"}),
        (NodePortAddresses(networks=(parse_network("0.0.0.0/0"),)), {"192.0.2.11", "192.0.2.99", "10.0.0.1"}),
        (
            NodePortAddresses(networks=(parse_network("2001:db8::/32"),)),
            {"192.0.2.11", "192.0.2.99", "10.0.0.1"},
        ),
    ],
)
def test_node_ports_are_on_the_addresses_that_are_wanted(wanted: NodePortAddresses, served: set[str]) -> None:
    made = plan(
        service("web", "203.0.113.10", type="NodePort", ports=NODE_PORT),
        config=Config(node_port_addresses=wanted),
        addresses=("192.0.2.11", "192.0.2.99", "10.0.0.1", "127.0.0.1"),
    )
    assert {each["address"] for each in made["virtualServers"] if each["port"] == 30080} == served


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        ([{}, {"ready": False}], {1}),
        ([{"ready": False, "serving": True, "terminating": True}, {"ready": False}], {1}),
        ([{"ready": False, "serving": False, "terminating": True}, {"ready": False}], set()),
        ([{"ready": True}, {"ready": False, "serving": True, "terminating": True}], {1}),
        ([{"ready": False, "terminating": True}, {"ready": False, "terminating": True}], {1, 2}),
    ],
)
def test_ready_endpoints_serve_else_those_that_serve_while_terminating(
    conditions: list[dict[str, bool]], chosen: set[int]
) -> None:
    some = [ready(f"198.51.100.{n}", "node2", **each) for n, each in enumerate(conditions, 1)]
    made = plan(service("web", "203.0.113.10"), endpoint_slice("web", some))
    assert set(backends(made, "203.0.113.10")) == {f"198.51.100.{n}" for n in chosen}


def test_local_policy_takes_local_endpoints_and_is_not_masqueraded() -> None:
    made = plan(balancer(externalTrafficPolicy="Local"), endpoint_slice("web", ENDS))
    assert backends(made, "192.0.2.100") == {"198.51.100.1": 1}
    assert backends(made, HERE) == {"198.51.100.1": 1}
    assert len(backends(made, "203.0.113.10")) == 2
    assert made["sets"]["loadBalancerLocal"] == ["192.0.2.100 . tcp . 80"]
    assert made["sets"]["nodePortLocal"] == [f"{HERE} . tcp . 30080"]


def test_local_policy_without_local_endpoints_falls_back_to_all_if_any_use_them() -> None:
    remote = endpoint_slice("web", ENDS[1:])
    made = plan(balancer(externalTrafficPolicy="Local", internalTrafficPolicy="Local"), remote)
    assert backends(made, "192.0.2.100") == {"198.51.100.2": 1}
    assert backends(made, "203.0.113.10") == {"198.51.100.2": 1}
    inside = plan(service("web", "203.0.113.10", internalTrafficPolicy="Local"), remote)
    assert backends(inside, "203.0.113.10") == {}


def test_session_affinity_makes_a_persistent_virtual_server() -> None:
    made = plan(balancer(sessionAffinity="ClientIP"))
    assert {(tuple(v["flags"]), v["timeout"]) for v in made["virtualServers"]} == {(("persistent",), 10800)}
    limit = {"clientIP": {"timeoutSeconds": 60}}
    made = plan(balancer(sessionAffinity="ClientIP", sessionAffinityConfig=limit))
    assert {v["timeout"] for v in made["virtualServers"]} == {60}


def test_scheduler_mh_hashes_ports_and_falls_back() -> None:
    made = plan(balancer(), config=Config(scheduler="mh"))
    assert {(v["scheduler"], *v["flags"]) for v in made["virtualServers"]} == {
        ("mh", "mh-fallback", "mh-port")
    }


def test_source_ranges_are_merged_and_let_the_node_in_when_it_is_in_one() -> None:
    made = plan(balancer(loadBalancerSourceRanges=["10.0.0.0/8", "10.1.0.0/16", " "]))
    assert made["sets"]["loadBalancerSource"] == ["192.0.2.100 . tcp . 80 . 10.0.0.0/8"]
    assert made["sets"]["loadBalancerFirewall"] == ["192.0.2.100 . tcp . 80"]
    made = plan(balancer(loadBalancerSourceRanges=["192.0.2.0/28"]))
    assert made["sets"]["loadBalancerSource"] == [
        "192.0.2.100 . tcp . 80 . 192.0.2.0/28",
        "192.0.2.100 . tcp . 80 . 192.0.2.100/32",
    ]


def test_the_older_of_two_services_has_the_address_and_port() -> None:
    young = service("a", "203.0.113.10", externalIPs=["192.0.2.100"], created="2024-02-01T00:00:00Z")
    old = service("b", "203.0.113.11", externalIPs=["192.0.2.100"], created="2024-01-01T00:00:00Z")
    made = plan(
        young, old, endpoint_slice("a", ["198.51.100.1"]), endpoint_slice("b", ["198.51.100.2"], name="b1")
    )
    assert backends(made, "192.0.2.100") == {"198.51.100.2": 1}
    (warning,) = made["warnings"]
    assert warning.startswith("Service default/a: spec.ports: TCP 192.0.2.100:80")


@pytest.mark.parametrize(
    ("older", "younger"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5Z"),
        ("2024-01-01T01:30:00+02:00", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:01"),
        ("2024-01-01T00:00:00Z", ""),
        ("2024-01-01T00:00:00Z", "yesterday"),
        ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00"),  # the same: by name
    ],
)
def test_ages_are_compared_as_times_not_as_texts(older: str, younger: str) -> None:
    made = plan(
        service("b", "203.0.113.10", externalIPs=["192.0.2.100"], created=younger),
        service("a", "203.0.113.11", externalIPs=["192.0.2.100"], created=older),
    )
    assert [warning.split(":")[0] for warning in made["warnings"]] == ["Service default/b"]


def test_endpoints_on_a_dead_node_get_weight_0_but_never_the_last_ones() -> None:
    made = plan(balancer(), endpoint_slice("web", ENDS), dead=("node2",))
    assert backends(made, "192.0.2.100") == {"198.51.100.1": 1, "198.51.100.2": 0}
    made = plan(balancer(), endpoint_slice("web", ENDS[1:]), dead=("node2",))
    assert backends(made, "192.0.2.100") == {"198.51.100.2": 1}


def test_udp_clients_are_not_left_with_an_endpoint_on_a_dead_node() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    objects = (service("dns", "203.0.113.10", ports=ports), endpoint_slice("dns", ENDS, ports=ports))
    assert backends(plan(*objects, dead=("node2",)), "203.0.113.10") == {"198.51.100.1": 1}
    assert backends(plan(*objects, dead=("node1", "node2")), "203.0.113.10") == {
        "198.51.100.1": 1,
        "198.51.100.2": 1,
    }


def test_when_all_that_hints_choose_are_on_dead_nodes_those_elsewhere_serve() -> None:
    ends = [
        {"addresses": [address], "nodeName": node, "hints": {"forZones": [{"name": zone}]}}
        for address, node, zone in (("198.51.100.1", "node1", "a"), ("198.51.100.2", "node2", "b"))
    ]
    objects = (balancer(), endpoint_slice("web", ends))
    assert backends(plan(*objects, zone="b"), "192.0.2.100") == {"198.51.100.2": 1}
    made = plan(*objects, zone="b", dead=("node2",))
    assert backends(made, "192.0.2.100") == {"198.51.100.1": 1, "198.51.100.2": 0}


def test_unusable_parts_are_named_and_the_rest_is_served() -> None:
    made = plan(
        balancer(
            ports=({"name": "http", "port": 80, "nodePort": 99999}, {"name": "big", "port": 70000}),
            externalIPs=["nowhere", ""],
            ingress=["192.0.2.100", "300.1.1.1"],
            loadBalancerSourceRanges=["10.0.0.0/8", "ten"],
        ),
        endpoint_slice("web", ["198.51.100.1", "pod"]),
        endpoint_slice("web", ["198.51.100.2"], name="w2", ports=[{"name": "http", "port": 0}]),
    )
    assert backends(made, "192.0.2.100") == {"198.51.100.1": 1}
    assert sorted(warning.rsplit(": ", 1)[0].split(": ")[1] for warning in made["warnings"]) == [
        "endpoints[1].addresses[0]",
        "ports[0].port",
        "spec.externalIPs[0]",
        "spec.loadBalancerSourceRanges[1]",
        "spec.ports[0].nodePort",
        "spec.ports[1].port",
        "status.loadBalancer.ingress[1].ip",
    ]


def test_health_check_node_ports_count_local_ready_endpoints() -> None:
    made = plan(
        balancer(externalTrafficPolicy="Local", healthCheckNodePort=32000),
        endpoint_slice("web", [*ENDS, ready("198.51.100.3", "node1", ready=False)]),
    )
    assert made["healthCheckNodePorts"] == {"default/web": {"port": 32000, "localEndpoints": 1}}


words = st.text(max_size=8) | st.sampled_from(
    ["192.0.2.100", "2001:db8::1", "10.0.0.0/8", "Local", "ClientIP"]
)
numbers = st.integers(-(2**63), 2**63 - 1)


@given(
    st.builds(
        lambda ip, port, node_port, ips, policy, seconds: service(
            "x",
            ip,
            type="LoadBalancer",
            ports=[{"name": "p", "port": port, "nodePort": node_port}],
            externalIPs=ips,
            ingress=ips,
            loadBalancerSourceRanges=ips,
            externalTrafficPolicy=policy,
            sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": seconds}},
        ),
        words, numbers, numbers, st.lists(words, max_size=3), words, numbers,
    ),
    st.builds(
        lambda ends, port: endpoint_slice("x", ends, ports=[{"name": "p", "port": port}]),
        st.lists(words, max_size=3), numbers,
    ),
)  # fmt: skip
def test_no_object_breaks_planning(odd: Service, piece: EndpointSlice) -> None:
    facts = situation(Config(), NodeFacts("node1", (bytes([192, 0, 2, 11]),)))
    for exposure in plan_service(odd, [piece], facts).exposures.values():
        assert 0 < exposure.server.port <= 65535
        assert exposure.server.timeout <= 86400
        assert all(0 < real.port <= 65535 for real in exposure.reals)


def _files(folder: Path) -> list[str]:
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    (folder / "config").write_text(head)
    objects = folder / "objects"
    objects.mkdir()
    web = service_body("web", "203.0.113.10", created="2024-01-01T00:00:00Z")
    (objects / "a.yaml").write_text(
        f"{msgspec.yaml.encode(web).decode()}---\nkind: Other\napiVersion: v1\n---\n"
    )
    listed = {"apiVersion": "v1", "kind": "List", "items": [slice_body("web", ["198.51.100.1"])]}
    (objects / "b.json").write_text(json.dumps(listed))
    (objects / "notes.txt").write_text("not: read: at all")
    return ["proxy", "plan", "--config", str(folder / "config"), "--node", "node1", "--node-address", HERE]


def test_the_command_reads_folders_several_documents_and_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*_files(tmp_path), "--objects", str(tmp_path / "objects")]) == 0
    made = json.loads(capsys.readouterr().out)
    assert backends(made, "203.0.113.10") == {"198.51.100.1": 1}
    assert made.keys() == {
        "virtualServers", "addresses", "sets", "sysctls", "healthCheckNodePorts", "warnings",
    }  # fmt: skip


def test_nodes_among_the_objects_tell_which_addresses_are_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = _files(tmp_path)
    held = [{"type": "InternalIP", "address": "192.0.2.12"}, {"type": "Hostname", "address": "192.0.2.13"}]
    nodes = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}}
        for name, addresses in (("node1", [{"type": "InternalIP", "address": "192.0.2.14"}]), ("node2", held))
    ]
    outside = service_body("web", "203.0.113.10", externalIPs=["192.0.2.12", "192.0.2.13", "192.0.2.14"])
    (tmp_path / "o.json").write_text(json.dumps({"kind": "List", "items": [outside, *nodes]}))
    assert main([*argv, "--objects", str(tmp_path / "o.json")]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["addresses"] == ["192.0.2.13", "192.0.2.14", "203.0.113.10"]
    assert ["node node2" in warning for warning in made["warnings"]] == [True]


def test_an_object_that_is_given_twice_counts_as_it_is_given_last_and_is_told_when_it_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = _files(tmp_path)
    web, other = service_body("web", "203.0.113.10"), service_body("web", "203.0.113.11")
    (tmp_path / "again.json").write_text(json.dumps({"kind": "List", "items": [web, web, other]}))
    assert main([*argv, "--objects", str(tmp_path / "again.json")]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["addresses"] == ["203.0.113.11"]
    assert [warning.split(": ")[:2] for warning in made["warnings"]] == [
        ["Service default/web", "metadata.name"]
    ]


def test_networks_of_the_other_family_alone_are_warned_of_as_the_daemon_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*_files(tmp_path), "--objects", str(tmp_path / "objects")]
    file = tmp_path / "config"
    file.write_text(file.read_text() + 'nodePortAddresses: ["2001:db8::/32"]\n')
    assert main(argv) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert warning.startswith(f"KubeProxyConfiguration {file}: nodePortAddresses: nothing of IPv4")
    assert main([*argv, "--node-address", "2001:db8::11"]) == 0
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 1


def test_refused_input_prints_nothing_but_faults_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*_files(tmp_path), "--objects", str(tmp_path / "bad.yaml")]
    (tmp_path / "bad.yaml").write_text("apiVersion: v1\nkind: [\n")
    assert main(argv) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "bad.yaml: " in shown.err
    (tmp_path / "config").write_text("kind: KubeProxyConfiguration\nmode: ipvs\nipvs: {scheduler: best}\n")
    assert main(argv) == 1
    shown = capsys.readouterr()
    assert [line.split(":")[0] for line in shown.err.splitlines()] == ["apiVersion", "ipvs.scheduler"]
    assert main(["proxy", "plan", "--node", "n"]) == 64

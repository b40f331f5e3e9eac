"""`strictarp speaker plan`: what the daemon's own functions decide, from files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from strictarp.cli.main import program

CONFIG = """
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: lab, namespace: metallb-system}
spec: {addresses: [192.0.2.100-192.0.2.119, "2001:db8::/120"]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: lab, namespace: metallb-system}
spec: {interfaces: [eth0]}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [198.51.100.9], nodeName: node2, conditions: {ready: true}}]
"""


def service(*ips: str, spec: str = "type: LoadBalancer") -> str:
    ingress = ", ".join(f"{{ip: '{ip}'}}" for ip in ips)
    return (
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\n"
        f"spec: {{{spec}}}\nstatus: {{loadBalancer: {{ingress: [{ingress}]}}}}\n"
    )


def node(name: str, status: str = "") -> str:
    return f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nstatus: {{{status}}}\n"


def plan(folder: Path, *documents: str, argv: tuple[str, ...] = (), code: int = 0) -> dict:
    (folder / "objects.yaml").write_text("\n---\n".join(documents))
    given = ("speaker", "plan", "--objects", str(folder), *argv)
    if "--alive" not in argv:
        given += ("--alive", "node1,node2,node3")
    result = CliRunner().invoke(program, list(given), standalone_mode=False)
    assert result.exception is None, result.exception
    assert result.return_value == code
    return json.loads(result.stdout)


def test_the_first_of_the_order_owns_and_its_interfaces_are_told(tmp_path: Path) -> None:
    found = plan(tmp_path, CONFIG, SLICE, service("192.0.2.100"))
    (told,) = found["ips"].values()
    assert set(told["order"]) == {"node1", "node2", "node3"}
    assert told["owner"] == told["order"][0]
    assert told["interfaces"] == ["eth0"]
    assert told["reasons"] == {}
    assert found["errors"] == []


def test_an_incumbent_keeps_while_alive_and_a_candidate(tmp_path: Path) -> None:
    documents = (CONFIG, SLICE, service("192.0.2.100", "2001:db8::1"))
    order = plan(tmp_path, *documents)["ips"]["192.0.2.100"]["order"]
    last = order[-1]
    kept = plan(tmp_path, *documents, argv=("--owner", f"2001:DB8:0::1={last}"))
    assert {each["owner"] for each in kept["ips"].values()} == {last}
    dead = plan(tmp_path, *documents, argv=("--owner", "192.0.2.100=node9"))
    assert dead["ips"]["192.0.2.100"]["owner"] == order[0]


def test_dual_stack_follows_its_first_address(tmp_path: Path) -> None:
    found = plan(tmp_path, CONFIG, SLICE, service("192.0.2.100", "2001:db8::1"))["ips"]
    assert found["192.0.2.100"]["order"] == found["2001:db8::1"]["order"]


def test_nodes_put_behind_come_last_and_who_is_out_has_a_reason(tmp_path: Path) -> None:
    nodes = (
        node("node1", "conditions: [{type: Ready, status: Unknown}]"),
        node("node3", 'conditions: [{type: NetworkUnavailable, status: "True"}]'),
        node("node4"),
    )
    told = plan(tmp_path, CONFIG, SLICE, service("192.0.2.100"), *nodes)["ips"]["192.0.2.100"]
    assert told["order"] == ["node2", "node1"]
    assert "NetworkUnavailable" in told["reasons"]["node3"]
    assert told["reasons"]["node4"] == "no living speaker"


def test_silence_is_explained_for_each_node(tmp_path: Path) -> None:
    told = plan(tmp_path, CONFIG, service("192.0.2.100"))["ips"]["192.0.2.100"]
    assert (told["order"], told["owner"], told["interfaces"]) == ([], None, [])
    assert set(told["reasons"]) == {"node1", "node2", "node3"}
    assert "endpoint" in told["reasons"]["node1"]


def test_what_is_not_ours_is_not_listed(tmp_path: Path) -> None:
    other = service("192.0.2.100", spec="type: LoadBalancer, loadBalancerClass: other")
    assert plan(tmp_path, CONFIG, SLICE, other)["ips"] == {}
    assert plan(tmp_path, CONFIG, SLICE, service("203.0.113.9"))["ips"] == {}
    mine = plan(tmp_path, CONFIG, SLICE, other, argv=("--lb-class", "other"))
    assert list(mine["ips"]) == ["192.0.2.100"]


def test_a_lease_that_tells_links_excludes_a_node_elsewhere(tmp_path: Path) -> None:
    links = '{"eth0": {"mac": "02:00:00:00:00:01", "addresses": ["203.0.113.1/24"]}}'
    lease = (
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\n"
        "metadata: {name: strictarp-speaker-node1, namespace: metallb-system, "
        f"annotations: {{strictarp.io/links: '{links}'}}}}\n"
    )
    told = plan(tmp_path, CONFIG, SLICE, service("192.0.2.100"), lease)["ips"]["192.0.2.100"]
    assert "node1" not in told["order"]
    assert told["reasons"]["node1"] == "no link in the segment of 192.0.2.100"


def test_a_node_is_told_what_it_would_do(tmp_path: Path) -> None:
    documents = (
        CONFIG,
        SLICE,
        service("192.0.2.100", spec="type: LoadBalancer, externalTrafficPolicy: Local"),
    )
    mine = plan(tmp_path, *documents, argv=("--self", "node2"))["ips"]["192.0.2.100"]
    assert mine["self"] == "announce it: first choice"
    other = plan(tmp_path, *documents, argv=("--self", "node1"))["ips"]["192.0.2.100"]
    assert other["self"].startswith("stay silent: externalTrafficPolicy is Local")


def test_a_pool_that_cannot_be_read_is_an_error_and_the_plan_is_printed(tmp_path: Path) -> None:
    broken = CONFIG.replace("192.0.2.100-192.0.2.119", "192.0.2.119-192.0.2.100")
    found = plan(tmp_path, broken, SLICE, service("2001:db8::1"), code=1)
    assert found["errors"][0].startswith("IPAddressPool lab: spec.addresses")
    assert list(found["ips"]) == ["2001:db8::1"]


def test_a_selector_that_means_nothing_is_an_error_with_its_field(tmp_path: Path) -> None:
    odd = "nodeSelectors: [{matchExpressions: [{key: a, operator: Equals, values: [b]}]}]"
    found = plan(tmp_path, CONFIG.replace("interfaces: [eth0]", odd), SLICE, service("192.0.2.100"), code=1)
    (error,) = found["errors"]
    assert error.startswith("L2Advertisement lab: spec.nodeSelectors[0]: matchExpressions[0].operator: ")
    assert found["ips"]["192.0.2.100"]["order"] == []


@pytest.mark.parametrize("owner", ["192.0.2.100", "192.0.2.100=", "=node1", "x=node1"])
def test_an_owner_that_is_no_pair_is_a_usage_error(tmp_path: Path, owner: str) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG)
    argv = ["speaker", "plan", "--objects", str(tmp_path), "--alive", "node1", "--owner", owner]
    assert CliRunner().invoke(program, argv).exit_code == 2


@pytest.mark.parametrize("second", ["203.0.113.7", "198.51.100.7", "nonsense"])
def test_an_address_of_a_pool_is_listed_though_the_one_beside_it_forbids_the_announcement(
    tmp_path: Path, second: str
) -> None:
    other = CONFIG.replace("name: lab", "name: other").replace("192.0.2.100-192.0.2.119", "198.51.100.0/24")
    found = plan(
        tmp_path, CONFIG, other.replace(', "2001:db8::/120"', ""), SLICE, service("192.0.2.100", second)
    )
    assert set(found["ips"]) == {"192.0.2.100"} | ({second} if second == "198.51.100.7" else set())
    for told in found["ips"].values():
        assert (told["order"], told["owner"], set(told["reasons"])) == ([], None, {"node1", "node2", "node3"})


def test_who_may_not_announce_a_shared_address_for_one_service_is_told_its_reason(tmp_path: Path) -> None:
    local = "type: LoadBalancer, externalTrafficPolicy: Local"
    other = service("192.0.2.100", spec=local).replace("name: web", "name: zone")
    others = SLICE.replace("web", "zone").replace("node2", "node3")
    found = plan(tmp_path, CONFIG, SLICE, others, service("192.0.2.100"), other)["ips"]["192.0.2.100"]
    assert found["order"] == ["node3"]
    assert {name for name, why in found["reasons"].items() if "Local" in why} == {"node1", "node2"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("ipAddressPools: [lab, lab]", "spec.ipAddressPools"),
        ("nodeSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]", "spec.nodeSelectors[1]"),
        ("ipAddressPoolSelectors: [{}, {}]", "spec.ipAddressPoolSelectors[1]"),
        ("serviceSelectors: [{}, {}]", "spec.serviceSelectors[1]"),
        ("preferredNodeSelectors: [{weight: 101, preference: {}}]", "spec.preferredNodeSelectors[0].weight"),
    ],
)
def test_what_metallb_refuses_of_an_advertisement_is_an_error(tmp_path: Path, spec: str, field: str) -> None:
    found = plan(tmp_path, CONFIG.replace("interfaces: [eth0]", spec), SLICE, code=1)
    (error,) = found["errors"]
    assert error.startswith(f"L2Advertisement lab: {field}: ")


def test_pools_that_the_controller_refuses_are_errors_too(tmp_path: Path) -> None:
    twin = CONFIG.split("---", maxsplit=1)[0].replace("name: lab", "name: twin")
    found = plan(tmp_path, CONFIG, twin, SLICE, service("192.0.2.100"), code=1)
    assert found["ips"]["192.0.2.100"]["order"]
    assert all(each.startswith("IPAddressPool twin: spec.addresses: ") for each in found["errors"])


def test_a_malformed_service_is_left_out_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(service("192.0.2.100", spec="type: [x]"))
    result = CliRunner().invoke(program, ["speaker", "plan", "--objects", str(tmp_path), "--alive", "node1"])
    assert "left out: Service web: spec.type:" in result.stderr

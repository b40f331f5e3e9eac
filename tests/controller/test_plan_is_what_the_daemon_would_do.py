"""`strictarp controller plan`: object files in, JSON out."""

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.cli.main import main
from strictarp.controller.configuring import Rules
from strictarp.controller.plan import document, make_plan
from strictarp.kube.custom import IPAddressPool
from strictarp.kube.objects import Service
from support.controller_objects import lb, pool_object

NS = "metallb-system"


def raw_service(name: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - those of `lb`
    return {"apiVersion": "v1", "kind": "Service", **msgspec.to_builtins(lb(name, **fields))}


def raw_pool(name: str, *addresses: str, **spec: object) -> dict[str, Any]:
    made = msgspec.to_builtins(pool_object(name, *addresses, **spec))
    made["metadata"]["namespace"] = NS
    return {"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", **made}


def run(
    capsys: pytest.CaptureFixture[str], folder: Path, *objects: dict[str, Any], args: tuple[str, ...] = ()
) -> tuple[int, dict[str, Any]]:
    for index, each in enumerate(objects):
        (folder / f"{index}.json").write_text(json.dumps(each))
    code = main(["controller", "plan", "--objects", str(folder), *args])
    return code, json.loads(capsys.readouterr().out)


def test_the_json_holds_services_pools_and_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, plan = run(
        capsys,
        tmp_path,
        raw_pool("lab", "192.0.2.100/31", "2001:db8::/64"),
        raw_service("first", born=1),
        raw_service("second", born=2, has=["192.0.2.101"], pool="lab"),
        raw_service("third", born=3),
        raw_service("cluster", type="ClusterIP"),
        raw_service("theirs", loadBalancerClass="example.com/other"),
    )
    assert code == 0
    assert plan == {
        "services": {
            "default/first": {
                "ips": ["192.0.2.100"],
                "pool": "lab",
                "reason": "",
                "events": [
                    {"type": "Normal", "reason": "IPAllocated", "message": 'Assigned IP ["192.0.2.100"]'}
                ],
            },
            "default/second": {"ips": ["192.0.2.101"], "pool": "lab", "reason": "", "events": []},
            "default/third": {
                "ips": [],
                "pool": "",
                "reason": "no available IPs",
                "events": [
                    {
                        "type": "Warning",
                        "reason": "AllocationFailed",
                        "message": 'Failed to allocate IP for "default/third": no available IPs',
                    }
                ],
            },
        },
        "pools": {
            "lab": {
                "assignedIPv4": 2,
                "availableIPv4": 0,
                "assignedIPv6": 0,
                "availableIPv6": 9223372036854775807,
            }
        },
        "errors": [],
    }


def test_a_class_selects_its_services_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, plan = run(
        capsys,
        tmp_path,
        raw_pool("lab", "192.0.2.100/31"),
        raw_service("ours", loadBalancerClass="example.com/ours"),
        raw_service("plain"),
        args=("--lb-class", "example.com/ours", "--ignore-exclude-lb"),
    )
    assert list(plan["services"]) == ["default/ours"]


def test_pools_elsewhere_do_not_count(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    objects = raw_pool("lab", "192.0.2.100/31"), raw_service("web")
    _, plan = run(capsys, tmp_path, *objects, args=("--namespace", "other"))
    assert plan["pools"] == {}
    assert plan["services"]["default/web"]["ips"] == []
    code, plan = run(capsys, tmp_path, *objects)
    assert (code, plan["services"]["default/web"]["ips"]) == (0, ["192.0.2.100"])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (raw_pool("bad", "192.0.2.0/33"), "IPAddressPool bad: spec.addresses: '192.0.2.0/33' is no CIDR"),
        (
            {**raw_pool("bad"), "spec": {"addresses": "x"}},
            "IPAddressPool bad: spec.addresses: Expected `array`, got `str`",
        ),
        (raw_pool("more", "192.0.2.101/32"), "IPAddressPool more: spec.addresses: 192.0.2.101/32 overlaps"),
        (raw_pool("lab", "198.51.100.0/24"), "IPAddressPool lab: metadata.name: given twice"),
    ],
)
def test_with_an_invalid_pool_nobody_loses_anything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, wrong: dict[str, Any], error: str
) -> None:
    code, plan = run(
        capsys,
        tmp_path,
        raw_pool("lab", "192.0.2.100/31"),
        wrong,
        raw_service("has", has=["203.0.113.7"], pool="gone"),
        raw_service("waits"),
    )
    assert code == 1
    assert len(plan["errors"]) == 1
    assert plan["errors"][0].startswith(error)
    assert plan["services"]["default/has"] == {
        "ips": ["203.0.113.7"],
        "pool": "gone",
        "reason": "",
        "events": [],
    }
    assert plan["services"]["default/waits"]["ips"] == []
    assert error in plan["services"]["default/waits"]["reason"]


def test_the_plan_knows_nodes_and_addresses_found_taken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    conflict = {
        "apiVersion": "strictarp.io/v1alpha1",
        "kind": "AddressConflict",
        "metadata": {"name": "ip-192.0.2.100"},
        "spec": {"address": "192.0.2.100", "mac": "02:00:00:00:00:09"},
    }
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.103"}]},
    }
    for index, each in enumerate((raw_pool("lab", "192.0.2.100/30"), raw_service("web"), conflict, node)):
        (tmp_path / f"{index}.json").write_text(json.dumps(each))
    args = ["--objects", str(tmp_path), "--dhcp-range", "192.0.2.102-192.0.2.200"]
    assert main(["controller", "plan", *args]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["services"]["default/web"]["ips"] == ["192.0.2.101"]
    assert err.splitlines() == [
        "warning: IPAddressPool lab: spec.addresses: 192.0.2.100/30 holds 192.0.2.103, the address of "
        "Node n1; leave the nodes' own addresses out",
        "warning: IPAddressPool lab: spec.addresses: 192.0.2.100/30 overlaps the DHCP range "
        "192.0.2.102-192.0.2.200; give it addresses of its own",
    ]


def test_an_edit_can_be_tried_against_the_policy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    objects = raw_pool("lab", "192.0.2.102/31"), raw_service("web", has=["192.0.2.100"], pool="lab")
    code, plan = run(capsys, tmp_path, *objects, args=("--pool-edits", "refuse"))
    assert (code, plan["services"]["default/web"]["ips"]) == (1, ["192.0.2.100"])
    assert plan["errors"][0].startswith("IPAddressPool lab: spec: no longer gives 192.0.2.100 to Service")
    code, plan = run(capsys, tmp_path, *objects)
    assert (code, plan["services"]["default/web"]["ips"]) == (0, ["192.0.2.102"])


def test_a_service_that_cannot_be_read_is_left_out_and_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: odd}\nspec: {type: 7}\n"
    )
    assert main(["controller", "plan", "--objects", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"services": {}, "pools": {}, "errors": []}
    assert err == "warning: left out: Service odd: spec.type: Expected `str`, got `int`\n"


def test_usage_errors_end_with_64(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["controller", "plan"]) == 64
    assert main(["controller", "plan", "--objects", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err


OBJECTS = st.lists(
    st.builds(
        lambda index, born, has, ask, share, policy, ports: lb(
            f"s{index}",
            born=born,
            has=has,
            annotations={
                **({"metallb.io/loadBalancerIPs": ask} if ask else {}),
                **({"metallb.universe.tf/allow-shared-ip": share} if share else {}),
            },
            cluster_ips=("203.0.113.130", "2001:db8:1::1") if "Dual" in policy else ("203.0.113.130",),
            ipFamilyPolicy=policy,
            ports=[("TCP", port) for port in ports],
        ),
        st.integers(0, 9),
        st.integers(0, 3),
        st.sampled_from([(), (), ("192.0.2.100",), ("192.0.2.101",), ("192.0.2.9",), ("2001:db8::1",)]),
        st.sampled_from(["", "", "", "192.0.2.103", "192.0.2.100,2001:db8::2", "junk"]),
        st.sampled_from(["", "", "key"]),
        st.sampled_from(["SingleStack", "PreferDualStack", "RequireDualStack"]),
        st.sampled_from([(80,), (81,), (80, 81)]),
    ),
    max_size=8,
    unique_by=lambda service: service.key,
)
POOLS = [
    msgspec.convert(each, IPAddressPool)
    for each in (
        raw_pool("a", "192.0.2.100/31"),
        raw_pool("b", "192.0.2.102/31", "2001:db8::/126", serviceAllocation={"priority": 2}),
    )
]


@settings(max_examples=100, deadline=None)
@given(OBJECTS, st.integers(0, 5))
def test_feeding_a_plan_back_as_status_changes_nothing(services: list[Service], seed: int) -> None:
    plan = make_plan([*services, *POOLS], rules=Rules(NS))
    shuffled = [*services, *POOLS]
    random.Random(seed).shuffle(shuffled)
    assert document(make_plan(shuffled, rules=Rules(NS))) == document(plan)
    after = [_with_status(service, plan.services[service.key].ips) for service in services]
    again = make_plan([*after, *POOLS], rules=Rules(NS))
    for key, decision in again.services.items():
        assert decision.ips == plan.services[key].ips
        if decision.ips and not decision.reason:
            assert decision.events == ()
    assert again.pools == plan.pools


def _with_status(service: Service, ips: tuple[str, ...]) -> Service:
    builtins = msgspec.to_builtins(service)
    builtins["status"] = {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"} for ip in ips]}}
    return msgspec.convert(builtins, Service)

"""The plan against MetalLB's documented behaviour, written down naively, on random objects."""

import ipaddress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.controller.configuring import Rules
from strictarp.controller.plan import RESOURCES, document, make_plan
from strictarp.kube.documents import decode
from support.metallb_model import Model, key_of

NS = "metallb-system"
NAMESPACES = {"shop": {"team": "a"}, "web": {"team": "b"}, "old": {}}
ITEMS = (
    ["192.0.2.0/31", "2001:db8::/127"],
    ["192.0.2.10-192.0.2.11", "192.0.2.8/32"],
    ["2001:db8:1::/126"],
    ["192.0.2.254-192.0.3.1"],
    ["192.0.2.30/32", "2001:db8:2::/128"],
)
POLICIES = ["PreferDualStack", "RequireDualStack"]
ASKS = [
    *("192.0.2.0", "192.0.2.8", "192.0.2.255", "2001:db8::1", "198.51.100.1", "junk", "192.0.2.0,192.0.2.1"),
    *("192.0.2.1, 2001:db8::1", "2001:db8::,192.0.2.30", "192.0.2.30,2001:db8:2::"),
]


def selectors(label: str, *values: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    some = st.sampled_from([{"matchLabels": {label: value}} for value in values])
    return st.lists(some, min_size=1, max_size=2, unique_by=str)


allocations = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(0, 2),
        "namespaces": st.lists(st.sampled_from(["shop", "web"]), min_size=1, max_size=2, unique=True),
        "namespaceSelectors": selectors("team", "a", "b", "nobody"),
        "serviceSelectors": selectors("tier", "x", "y"),
    },
)


@st.composite
def pools(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for index, items in enumerate(draw(st.lists(st.sampled_from(ITEMS), max_size=4, unique_by=str))):
        spec: dict[str, Any] = {
            "addresses": items,
            "autoAssign": draw(st.sampled_from([True, True, True, False])),
        }
        spec["avoidBuggyIPs"] = draw(st.booleans())
        if draw(st.booleans()):
            spec["serviceAllocation"] = draw(allocations)
        name = draw(st.sampled_from("abcd")) + str(index)
        found.append(
            {
                "apiVersion": "metallb.io/v1beta1",
                "kind": "IPAddressPool",
                "metadata": {"name": name, "namespace": NS},
                "spec": spec,
            }
        )
    return found


@st.composite
def services(draw: st.DrawFn, index: int) -> dict[str, Any]:
    prefix = draw(st.sampled_from(["metallb.io/", "metallb.universe.tf/"]))
    notes = {
        name: draw(value)
        for name, value in (
            ("address-pool", st.sampled_from(["a0", "b1", "c2", "nowhere"])),
            ("loadBalancerIPs", st.sampled_from(ASKS)),
            ("allow-shared-ip", st.sampled_from(["k", "k", "m"])),
        )
        if draw(st.integers(0, 3)) == 0
    }
    dual = draw(st.booleans())
    cluster = (
        ["203.0.113.1", "2001:db8:ffff::1"]
        if dual
        else [draw(st.sampled_from(["203.0.113.1", "2001:db8:ffff::1"]))]
    )
    spec: dict[str, Any] = {
        "type": "LoadBalancer",
        "clusterIPs": cluster,
        "ipFamilyPolicy": draw(st.sampled_from(POLICIES if dual else ["SingleStack", *POLICIES])),
        "ports": [{"protocol": draw(st.sampled_from(["TCP", "UDP"])), "port": draw(st.integers(80, 81))}],
        "selector": {"app": draw(st.sampled_from(["p", "q"]))},
        "externalTrafficPolicy": draw(st.sampled_from(["Cluster", "Local"])),
    }
    if dual and draw(st.booleans()):
        spec["ipFamilies"] = ["IPv6", "IPv4"]
    if draw(st.integers(0, 9)) == 0:
        spec["loadBalancerIP"] = draw(st.sampled_from(["192.0.2.1", "2001:db8:1::2"]))
    has = draw(
        st.sampled_from(
            [
                *([],) * 4,
                *(["192.0.2.0"], ["192.0.2.1"], ["192.0.2.11"], ["192.0.2.254"], ["2001:db8:1::1"]),
                *(["192.0.2.0", "2001:db8::"], ["2001:db8::1", "192.0.2.1"], ["192.0.2.0", "192.0.2.1"]),
                *(["198.51.100.1"], ["192.0.2.30", "2001:db8::"]),
            ]
        )
    )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"s{index}",
            "namespace": draw(st.sampled_from(sorted(NAMESPACES))),
            "creationTimestamp": f"2024-01-01T00:00:0{draw(st.integers(0, 2))}Z",
            "annotations": {prefix + name: value for name, value in notes.items()},
            "labels": draw(st.sampled_from([{}, {"tier": "x"}, {"tier": "y"}])),
        },
        "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in has]}},
    }


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    count = draw(st.integers(1, 7))
    return draw(pools()), [draw(services(index)) for index in range(count)]


@settings(max_examples=100, deadline=None)
@given(clusters())
def test_addresses_and_counters_are_those_of_the_model(
    cluster: tuple[list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    pool_documents, service_documents = cluster
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in NAMESPACES.items()
    ]
    objects, unreadable = decode([*pool_documents, *service_documents, *namespaces], RESOURCES, namespace=NS)
    assert unreadable == []
    plan: Any = document(make_plan(objects, rules=Rules(NS)))
    assert plan["errors"] == []
    model = Model(pool_documents, NAMESPACES)
    expected = model.plan(service_documents)
    assert {key: each["ips"] for key, each in plan["services"].items()} == expected
    assert plan["pools"] == model.counters()
    for key, each in plan["services"].items():
        assert each["ips"] or each["reason"], key
        assert bool(each["pool"]) == bool(each["ips"])


@settings(max_examples=100, deadline=None)
@given(clusters(), st.booleans())
def test_what_metallb_leaves_is_adopted_without_a_write_and_it_adopts_what_we_leave(
    cluster: tuple[list[dict[str, Any]], list[dict[str, Any]]], with_mode: bool
) -> None:
    pool_documents, service_documents = cluster
    model = Model(pool_documents, NAMESPACES)
    expected = model.plan(service_documents)
    for each in service_documents:
        ips = expected[key_of(each)]
        # The API server adds the mode since 1.30; MetalLB leaves it out.
        mode = {"ipMode": "VIP"} if with_mode else {}
        each["status"]["loadBalancer"]["ingress"] = [{"ip": ip, **mode} for ip in ips]
        if ips:
            first = ipaddress.ip_address(ips[0])
            owner = next(pool.name for pool in model.pools if first in pool.addresses)
            each["metadata"]["annotations"]["metallb.io/ip-allocated-from-pool"] = owner
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in NAMESPACES.items()
    ]
    objects, _ = decode([*pool_documents, *service_documents, *namespaces], RESOURCES, namespace=NS)
    plan = make_plan(objects, rules=Rules(NS))
    for key, decision in plan.services.items():
        assert list(decision.ips) == expected[key]
        # Only what is wrong with a Service is told and written, such as two fields that ask for addresses.
        assert (decision.events, decision.patch) == ((), None) or decision.reason
    # And back: MetalLB begins with the statuses, which are as they were.
    assert Model(pool_documents, NAMESPACES).plan(service_documents) == expected


def test_a_mark_under_the_old_prefix_is_written_anew_and_the_address_kept() -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "annotations": {"metallb.universe.tf/ip-allocated-from-pool": "lab"},
        },
        "spec": {"type": "LoadBalancer", "clusterIPs": ["203.0.113.1"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.105"}]}},
    }
    pool = {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": "lab", "namespace": NS},
        "spec": {"addresses": ["192.0.2.100-192.0.2.119"]},
    }
    (decision,) = make_plan(decode([service, pool], RESOURCES, namespace=NS)[0]).services.values()
    assert decision.ips == ("192.0.2.105",)
    assert decision.events == ()
    assert decision.patch is not None
    assert decision.patch["metadata"] == {"annotations": {"metallb.io/ip-allocated-from-pool": "lab"}}

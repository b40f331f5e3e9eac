"""Who may announce: the rules of MetalLB's Layer 2 mode, and what goes beyond them."""

import pytest

from strictarp.speaker.candidates import OUT_OF_SERVICE_TAINT, Options, Why, evaluate
from support.speaker_objects import advertisement, facts, node, pool, service, slice_of

READY = {"ready": True}


def names(verdict: object) -> list[str]:
    return sorted(each.node for each in verdict.order)


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        (service(type="ClusterIP"), Why.NOT_LOAD_BALANCER),
        (service(loadBalancerClass="other"), Why.OTHER_CLASS),
        (service("web", "nonsense"), Why.INVALID_ADDRESS),
        (service("web", "192.0.2.50"), Why.NOT_IN_POOL),
        (service("web", "192.0.2.100", "192.0.2.50"), Why.NOT_IN_POOL),
    ],
)
def test_a_service_that_is_not_announced_has_its_reason(subject: object, why: Why) -> None:
    verdict = evaluate(subject, [slice_of()], facts())
    assert (verdict.why, verdict.order) == (why, ())


def test_a_class_is_served_by_exactly_that_class() -> None:
    mine = facts(options=Options(lb_class="mine"))
    assert evaluate(service(loadBalancerClass="mine"), [slice_of()], mine).why is None
    assert evaluate(service(), [slice_of()], mine).why is Why.OTHER_CLASS


@pytest.mark.parametrize(
    ("conditions", "serves"),
    [
        ({}, True),
        ({"ready": True, "serving": False}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, True),
        ({"ready": False, "serving": False}, False),
    ],
)
def test_an_endpoint_can_serve_when_ready_or_still_serving(conditions: dict[str, bool], serves: bool) -> None:
    verdict = evaluate(service(), [slice_of("web", ("node1", conditions))], facts())
    assert (verdict.why is None) == serves


def test_without_endpoints_nobody_announces() -> None:
    assert evaluate(service(), [], facts()).why is Why.NO_ENDPOINT


def test_policy_local_leaves_the_nodes_with_endpoints() -> None:
    slices = [slice_of("web", ("node2", READY), ("node9", READY), (None, READY))]
    verdict = evaluate(service(externalTrafficPolicy="Local"), slices, facts())
    assert names(verdict) == ["node2"]
    assert "externalTrafficPolicy" in verdict.reasons["node1"]


def test_excluded_and_unreachable_nodes_stay_out_unknown_ones_count_as_fine() -> None:
    nodes = [
        node("node1", labels={"node.kubernetes.io/exclude-from-external-load-balancers": ""}),
        node("node2", NetworkUnavailable="True"),
    ]
    verdict = evaluate(service(), [slice_of()], facts(nodes=nodes))
    assert names(verdict) == ["node3"]
    assert "exclude-from-external" in verdict.reasons["node1"]
    assert "NetworkUnavailable" in verdict.reasons["node2"]
    option = Options(ignore_exclude_label=True)
    assert names(evaluate(service(), [slice_of()], facts(nodes=nodes, options=option))) == ["node1", "node3"]


def test_not_ready_and_out_of_service_come_last_and_stay_candidates() -> None:
    nodes = [
        node("node1", Ready="Unknown"),
        node("node2", taints=[OUT_OF_SERVICE_TAINT]),
        node("node3", unschedulable=True, Ready="True"),
    ]
    verdict = evaluate(service(), [slice_of()], facts(nodes=nodes))
    assert verdict.order[0].node == "node3"
    assert names(verdict) == ["node1", "node2", "node3"]
    cordoned = evaluate(service(), [slice_of()], facts(nodes=nodes, options=Options(cordoned_last=True)))
    everybody = evaluate(service(), [slice_of()], facts())
    assert cordoned.order == everybody.order, "all of them behind is as good as none"


def test_a_node_whose_links_are_elsewhere_cannot_be_heard_there() -> None:
    here, elsewhere = (bytes([192, 0, 2, 11]), 24), (bytes([203, 0, 113, 11]), 24)
    known = facts(subnets={"node1": (elsewhere,), "node2": (elsewhere, here)})
    verdict = evaluate(service(), [slice_of()], known)
    assert names(verdict) == ["node2", "node3"]
    assert verdict.reasons["node1"] == "no link in the segment of 192.0.2.100"


def test_advertisements_choose_pools_nodes_services_and_add_up_their_weights() -> None:
    nodes = [node("node1", labels={"rack": "a"}), node("node2", labels={"rack": "b"}), node("node3")]
    rack = {"matchLabels": {"rack": "a"}}
    ads = [
        advertisement("all", preferredNodeSelectors=[{"weight": 5, "preference": rack}]),
        advertisement(
            "racks",
            nodeSelectors=[rack, {"matchLabels": {"rack": "b"}}],
            preferredNodeSelectors=[{"weight": 2, "preference": rack}],
        ),
        advertisement("other-pool", ipAddressPools=["elsewhere"]),
        advertisement("some-services", serviceSelectors=[{"matchLabels": {"app": "x"}}]),
    ]
    verdict = evaluate(service(), [slice_of()], facts(advertisements=ads, nodes=nodes))
    assert {each.node: each.score for each in verdict.order} == {"node1": 7, "node2": 0, "node3": 0}
    assert [each.name for each in verdict.matching] == ["all", "racks"]
    only = facts(advertisements=ads[2:], nodes=nodes)
    assert evaluate(service(), [slice_of()], only).why is Why.NO_ADVERTISEMENT
    assert evaluate(service(labels={"app": "x"}), [slice_of()], only).why is None


def test_a_selector_that_matches_no_pool_selects_none() -> None:
    ads = [advertisement("x", ipAddressPoolSelectors=[{"matchLabels": {"tier": "gold"}}])]
    assert evaluate(service(), [slice_of()], facts(advertisements=ads)).why is Why.NO_ADVERTISEMENT
    gold = facts(advertisements=ads, pools=[pool("lab", labels={"tier": "gold"})])
    assert evaluate(service(), [slice_of()], gold).why is None


@pytest.mark.parametrize("prefix", ["metallb.io", "metallb.universe.tf"])
def test_a_shared_address_and_service_selectors_exclude_each_other(prefix: str) -> None:
    ads = [advertisement("x", serviceSelectors=[{}])]
    shared = service(annotations={f"{prefix}/allow-shared-ip": "key"})
    assert evaluate(shared, [slice_of()], facts(advertisements=ads)).why is Why.SHARED_WITH_SELECTOR

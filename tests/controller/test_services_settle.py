"""From Services and pools to decisions: adoption, order, what is written and what is said."""

import msgspec
import pytest

from strictarp.controller.pools import with_taken
from strictarp.controller.reconcile import Book, settle, stand_still
from strictarp.controller.writing import WAITING, status_patch
from strictarp.kube.objects import Service
from strictarp.kube.ranges import parse_ip
from support.controller_objects import FROM_POOL, by_key, lb, pool_object, sound_pools
from support.settling import DUAL, LAB, decide, reasons, written


def test_a_new_service_gets_an_address_a_patch_and_an_event() -> None:
    decision = decide(LAB, lb("web"))["default/web"]
    assert (decision.ips, decision.pool, decision.reason) == (("192.0.2.100",), "lab", "")
    assert [(event.type, event.reason, event.message) for event in decision.events] == [
        ("Normal", "IPAllocated", 'Assigned IP ["192.0.2.100"]')
    ]
    assert decision.patch == {
        "metadata": {"resourceVersion": "7", "annotations": {FROM_POOL: "lab"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.100", "ipMode": "VIP"}]}},
    }


def test_what_is_in_a_status_is_adopted_before_anything_is_given() -> None:
    decisions = decide(
        LAB, lb("old", born=0), lb("young", born=9, has=["192.0.2.100"], pool="lab"), lb("mid", born=5)
    )
    assert {key: decision.ips for key, decision in decisions.items()} == {
        "default/young": ("192.0.2.100",),
        "default/old": ("192.0.2.101",),
        "default/mid": ("192.0.2.102",),
    }
    assert (decisions["default/young"].events, decisions["default/young"].patch) == ((), None)


def test_of_two_with_one_address_the_older_keeps_it() -> None:
    decisions = decide(
        LAB,
        lb("a", born=9, has=["192.0.2.102"], pool="lab"),
        lb("b", born=1, has=["192.0.2.102"], pool="lab"),
    )
    assert decisions["default/b"].ips == ("192.0.2.102",)
    assert decisions["default/a"].ips == ("192.0.2.100",)
    assert [event.reason for event in decisions["default/a"].events] == ["ClearAssignment", "IPAllocated"]
    assert "192.0.2.102 is in use by Service default/b" in decisions["default/a"].events[0].message


def test_those_who_wait_are_served_the_oldest_first_then_by_name() -> None:
    services = [lb("d", born=1), lb("c", born=1), lb("e", born=0), lb("f", born=7), lb("b", born=7)]
    decisions = decide(LAB, *services)
    assert [decisions[f"default/{name}"].ips for name in "ecdbf"] == [
        ("192.0.2.100",), ("192.0.2.101",), ("192.0.2.102",), ("192.0.2.103",), (),
    ]  # fmt: skip
    assert decisions["default/f"].reason == "no available IPs"
    assert decisions["default/f"].patch == {
        "metadata": {"resourceVersion": "7"},
        "status": {
            "conditions": [
                {
                    "type": WAITING,
                    "status": "True",
                    "reason": "AllocationFailed",
                    "message": "no available IPs",
                }
            ]
        },
    }


def test_a_reason_to_wait_is_told_once() -> None:
    services = by_key(*(lb(name) for name in "abcde"))
    book, first = settle(Book(), LAB, services)
    assert [event.reason for event in first["default/e"].events] == ["AllocationFailed"]
    _, second = settle(book, LAB, services)
    assert second["default/e"].events == ()


def test_what_gets_free_goes_to_the_one_who_waits_longest() -> None:
    services = by_key(*(lb(name, born=index) for index, name in enumerate("abcdef")))
    book, _ = settle(Book(), LAB, services)
    del services["default/b"]
    _, decisions = settle(book, LAB, services, {"default/b"})
    assert decisions["default/e"].ips == ("192.0.2.101",)
    assert decisions["default/f"].ips == ()


@pytest.mark.parametrize(
    ("service", "event", "message"),
    [
        (
            lb("x", annotations={"metallb.io/loadBalancerIPs": "198.51.100.1"}),
            "AllocationFailed",
            'Failed to allocate IP for "default/x": 198.51.100.1 lies in no IPAddressPool; the pools are: '
            "lab (192.0.2.100-192.0.2.103)",
        ),
        (
            lb("x", loadBalancerIP="198.51.100.1"),
            "AllocationFailed",
            'Failed to allocate IP for "default/x": 198.51.100.1 lies in no IPAddressPool; the pools are: '
            "lab (192.0.2.100-192.0.2.103)",
        ),
        (
            lb("x", annotations={"metallb.io/loadBalancerIPs": "192.0.2.100, nonsense"}),
            "LoadBalancerFailed",
            "invalid requested loadbalancer IPs: metallb.io/loadBalancerIPs: 'nonsense' is no IP address",
        ),
        (
            lb("x", annotations={"metallb.io/loadBalancerIPs": "2001:db8::1"}),
            "AllocationFailed",
            'Failed to allocate IP for "default/x": 2001:db8::1 is asked for, but the Service is of IPv4',
        ),
        (
            lb("x", annotations={"metallb.io/loadBalancerIPs": "192.0.2.100"}, loadBalancerIP="192.0.2.100"),
            "LoadBalancerFailed",
            "invalid requested loadbalancer IPs: metallb.io/loadBalancerIPs and spec.loadBalancerIP are both "
            "set; keep the annotation only",
        ),
        (
            lb("x", annotations={"metallb.io/address-pool": "nowhere"}),
            "AllocationFailed",
            'Failed to allocate IP for "default/x": unknown IPAddressPool nowhere',
        ),
        (
            lb(
                "x",
                annotations={"metallb.io/address-pool": "no", "metallb.io/loadBalancerIPs": "192.0.2.100"},
            ),
            "AllocationFailed",
            'Failed to allocate IP for "default/x": 192.0.2.100 is of IPAddressPool lab, not of no as asked '
            "for",
        ),
    ],
)
def test_what_cannot_be_had_is_told_with_object_and_field(service: Service, event: str, message: str) -> None:
    decision = decide(LAB, service)["default/x"]
    assert decision.ips == ()
    assert [(each.type, each.reason, each.message) for each in decision.events] == [
        ("Warning", event, message)
    ]


def test_a_request_is_met_under_both_prefixes_and_the_new_one_wins() -> None:
    old = lb("old", annotations={"metallb.universe.tf/loadBalancerIPs": "192.0.2.103"})
    both = lb(
        "both",
        annotations={
            "metallb.universe.tf/loadBalancerIPs": "192.0.2.103",
            "metallb.io/loadBalancerIPs": "192.0.2.102",
        },
    )
    decisions = decide(LAB, old, both)
    assert (decisions["default/old"].ips, decisions["default/both"].ips) == (
        ("192.0.2.103",),
        ("192.0.2.102",),
    )


def test_an_invalid_request_leaves_what_the_service_has() -> None:
    service = lb("x", has=["192.0.2.101"], pool="lab", annotations={"metallb.io/loadBalancerIPs": "what"})
    decision = decide(LAB, service)["default/x"]
    assert decision.ips == ("192.0.2.101",)
    assert decision.patch is not None
    assert list(decision.patch["status"]) == ["conditions"]  # type: ignore[call-overload]
    assert reasons(decision) == ["LoadBalancerFailed"]


def test_another_address_or_pool_asked_for_replaces_the_old_one() -> None:
    pools = sound_pools(pool_object("lab", "192.0.2.100/31"), pool_object("two", "192.0.2.110/31"))
    moved = lb(
        "x", has=["192.0.2.100"], pool="lab", annotations={"metallb.io/loadBalancerIPs": "192.0.2.101"}
    )
    assert decide(pools, moved)["default/x"].ips == ("192.0.2.101",)
    moved = lb("x", has=["192.0.2.100"], pool="lab", annotations={"metallb.io/address-pool": "two"})
    decision = decide(pools, moved)["default/x"]
    assert (decision.ips, decision.pool) == (("192.0.2.110",), "two")


def test_a_pool_that_was_renamed_only_changes_the_annotation() -> None:
    decision = decide(sound_pools(pool_object("new", "192.0.2.0/24")), lb("x", has=["192.0.2.7"], pool="old"))
    assert decision["default/x"].ips == ("192.0.2.7",)
    assert decision["default/x"].patch is not None
    assert decision["default/x"].patch["metadata"]["annotations"] == {FROM_POOL: "new"}  # type: ignore[index]
    assert decision["default/x"].events == ()


def test_services_of_others_are_left_alone() -> None:
    theirs = lb("x", has=["192.0.2.100"], loadBalancerClass="example.com/other")
    assert decide(LAB, theirs) == {}
    assert list(settle(Book(), LAB, by_key(theirs, lb("y")), lb_class="example.com/other")[1]) == [
        "default/x"
    ]


def test_a_service_that_became_a_cluster_ip_is_cleared_also_under_a_class() -> None:
    ours = lb("x", loadBalancerClass="c")
    book, _ = settle(Book(), LAB, by_key(ours), lb_class="c")
    former = lb("x", has=["192.0.2.100"], pool="lab", type="ClusterIP")
    book, decisions = settle(book, LAB, by_key(former), {"default/x"}, lb_class="c")
    assert decisions["default/x"].ips == ()
    assert decisions["default/x"].patch == {
        "metadata": {"resourceVersion": "7", "annotations": {FROM_POOL: None}},
        "status": {"loadBalancer": {"ingress": None}},
    }
    assert book.state.holdings == {}


def test_what_a_pool_no_longer_holds_is_cleared_with_an_event_and_given_anew() -> None:
    decision = decide(LAB, lb("x", has=["192.0.2.200"], pool="lab"))["default/x"]
    assert (decision.ips, reasons(decision)) == (("192.0.2.100",), ["ClearAssignment", "IPAllocated"])
    gone = decide(LAB, lb("x", has=["192.0.2.200"], annotations={"metallb.io/address-pool": "gone"}))
    assert gone["default/x"].ips == ()
    assert reasons(gone["default/x"]) == ["ClearAssignment", "AllocationFailed"]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (lb("x", has=["192.0.2.101"], annotations={"metallb.io/loadBalancerIPs": "192.0.2.102"}), []),
        (lb("x", has=["2001:db8::"]), []),
        (lb("x", has=["192.0.2.100", "192.0.2.101"]), ["nolbIPsIPFamily"]),
        (lb("x", has=["192.0.2.100", "2001:db8::"]), []),
    ],
)
def test_a_change_that_the_service_itself_asks_for_is_told_by_what_it_gets(
    service: Service, expected: list[str]
) -> None:
    decision = decide(DUAL, service)["default/x"]
    assert len(decision.ips) == 1
    assert reasons(decision) == [*expected, "IPAllocated"]


def test_without_any_pool_everybody_is_cleared() -> None:
    decision = decide((), lb("x", has=["192.0.2.100"], pool="lab"))["default/x"]
    assert (decision.ips, decision.reason) == ((), "there is no IPAddressPool")
    assert reasons(decision) == ["ClearAssignment"]


def test_an_annotation_under_the_old_prefix_is_told_with_what_it_changes() -> None:
    service = lb("x", annotations={"metallb.universe.tf/address-pool": "lab"})
    decision = decide(LAB, service)["default/x"]
    assert reasons(decision) == ["IPAllocated", "deprecatedAnnotation"]
    assert reasons(decide(LAB, written(service, decision))["default/x"]) == []


def test_why_a_service_waits_is_a_condition_that_outlives_the_controller() -> None:
    first, second = lb("a"), lb("b")
    pools = sound_pools(pool_object("one", "192.0.2.100/32"))
    _, decisions = settle(Book(), pools, by_key(first, second), now="2026-01-01T00:00:00Z")
    waits = written(second, decisions["default/b"])
    assert waits.status.conditions is not None
    (condition,) = waits.status.conditions
    assert (condition.type, condition.status, condition.reason, condition.message) == (
        WAITING, "True", "AllocationFailed", "no available IPs",
    )  # fmt: skip
    assert condition.last_transition_time == "2026-01-01T00:00:00Z"
    _, later = settle(Book(), pools, by_key(written(first, decisions["default/a"]), waits), now="later")
    assert (later["default/b"].events, later["default/b"].patch) == ((), None)
    served = written(waits, decide(LAB, waits)["default/b"])
    assert served.status.conditions is None


def test_conditions_of_others_are_kept() -> None:
    other = {
        "type": "example.com/Other",
        "status": "True",
        "observedGeneration": 3,
        "reason": "Because",
        "message": "…",
        "lastTransitionTime": "2025-01-01T00:00:00Z",
    }
    document = msgspec.to_builtins(lb("x", ipFamilyPolicy="RequireDualStack"))
    document["status"]["conditions"] = [other]
    service = msgspec.convert(document, Service)
    waiting = written(service, decide(LAB, service)["default/x"])
    assert [each.type for each in waiting.status.conditions or ()] == ["example.com/Other", WAITING]
    spec = {**msgspec.to_builtins(waiting), "spec": msgspec.to_builtins(lb("x").spec)}
    served = msgspec.convert(spec, Service)
    after = msgspec.to_builtins(written(served, decide(LAB, served)["default/x"]))
    assert list(after["status"]["conditions"]) == [other]


def test_while_pools_are_wrong_everybody_keeps_and_nobody_gets() -> None:
    has, waits = lb("a", has=["198.51.100.7"], pool="other"), lb("b")
    book, decisions = stand_still(Book(), by_key(has, waits), why="the pools are wrong")
    assert (decisions["default/a"].ips, decisions["default/a"].patch) == (("198.51.100.7",), None)
    assert (decisions["default/b"].ips, decisions["default/b"].reason) == ((), "the pools are wrong")
    assert decisions["default/b"].events == ()
    after = written(waits, decisions["default/b"])
    assert [each.message for each in after.status.conditions or ()] == ["the pools are wrong"]
    _, again = stand_still(book, by_key(has, after), why="the pools are wrong")
    assert again["default/b"].patch is None


def test_without_ip_mode_in_the_status_nothing_is_written() -> None:
    service = lb("x", has=["192.0.2.100"], pool="lab")
    plain = msgspec.convert(
        {**msgspec.to_builtins(service), "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.100"}]}}},
        Service,
    )
    assert status_patch(plain, ("192.0.2.100",), "lab") is None


def test_an_address_that_somebody_outside_has_is_given_up_and_another_one_given() -> None:
    taken = with_taken(LAB, [parse_ip("192.0.2.100"), parse_ip("198.51.100.1")])
    holds = lb("x", has=["192.0.2.100"], pool="lab")
    decision = decide(taken, holds)["default/x"]
    assert (decision.ips, reasons(decision)) == (("192.0.2.101",), ["AddressTaken", "IPAllocated"])
    assert decision.events[0].type == "Warning"
    assert "somebody else answers for 192.0.2.100" in decision.events[0].message


def test_an_address_that_somebody_outside_has_is_given_to_who_insists() -> None:
    taken = with_taken(LAB, [parse_ip("192.0.2.100")])
    asks = lb("x", annotations={"metallb.io/loadBalancerIPs": "192.0.2.100"})
    decision = decide(taken, asks, lb("y", born=0))
    assert decision["default/x"].ips == ("192.0.2.100",)
    assert decision["default/y"].ips == ("192.0.2.101",)
    assert decide(taken, written(asks, decision["default/x"]))["default/x"].events == ()


def test_one_with_an_address_that_others_share_does_not_join_it_where_it_is_taken() -> None:
    shared = {"metallb.io/allow-shared-ip": "k"}
    pools = with_taken(sound_pools(pool_object("one", "192.0.2.100/32")), [parse_ip("192.0.2.100")])
    first = lb("a", annotations={**shared, "metallb.io/loadBalancerIPs": "192.0.2.100"})
    decisions = decide(pools, first, lb("b", annotations=shared, ports=[("TCP", 81)]))
    assert (decisions["default/a"].ips, decisions["default/b"].ips) == (("192.0.2.100",), ())

"""Services of one family and of two: what they get, keep, and are told."""

from strictarp.controller.reconcile import Book, settle
from support.controller_objects import by_key, lb, pool_object, sound_pools
from support.settling import BOTH_IPS, DUAL, LAB, decide, reasons, written


def test_dual_stack_is_required_preferred_or_single() -> None:
    require = lb("a", cluster_ips=BOTH_IPS, ipFamilyPolicy="RequireDualStack")
    prefer = lb("b", cluster_ips=BOTH_IPS, ipFamilyPolicy="PreferDualStack")
    lonely = lb("c", ipFamilyPolicy="RequireDualStack")
    decisions = decide(DUAL, require, prefer, lonely)
    assert decisions["default/a"].ips == ("192.0.2.100", "2001:db8::")
    assert decisions["default/b"].ips == ("192.0.2.101", "2001:db8::1")
    assert decisions["default/c"].reason.startswith(
        "spec.ipFamilyPolicy: RequireDualStack needs two clusterIPs"
    )


def test_prefer_dual_stack_with_one_cluster_ip_does_not_flip() -> None:
    service = lb("x", ipFamilyPolicy="PreferDualStack")
    for _ in range(4):
        decision = decide(DUAL, service)["default/x"]
        assert decision.ips == ("192.0.2.100",)
        service = written(service, decision)
    assert decision.patch is None


def test_a_service_with_one_family_gets_the_second_when_its_pool_has_it() -> None:
    service = lb("x", has=["192.0.2.100"], pool="lab", cluster_ips=BOTH_IPS, ipFamilyPolicy="PreferDualStack")
    decision = decide(LAB, service)["default/x"]
    assert (decision.ips, decision.events) == (("192.0.2.100",), ())
    assert decision.reason == "no available IPs of the second family in IPAddressPool lab"
    decision = decide(DUAL, service)["default/x"]
    assert decision.ips == ("192.0.2.100", "2001:db8::")
    assert decision.events[0].message == 'Assigned additional IP ["2001:db8::"]'


def test_that_the_second_family_cannot_be_had_is_told_when_it_is_asked_for() -> None:
    before = lb("x", cluster_ips=BOTH_IPS[:1])
    book, _ = settle(Book(), LAB, by_key(before))
    wants = lb("x", has=["192.0.2.100"], pool="lab", cluster_ips=BOTH_IPS, ipFamilyPolicy="PreferDualStack")
    for expected in (["AdditionalAssignFailed"], []):
        book, decisions = settle(book, LAB, by_key(wants), {"default/x"})
        assert reasons(decisions["default/x"]) == expected


def test_only_one_of_two_preferred_families_asked_for_is_kept_and_not_given_again() -> None:
    service = lb(
        "x",
        has=["192.0.2.102"],
        pool="dual",
        cluster_ips=BOTH_IPS,
        ipFamilyPolicy="PreferDualStack",
        annotations={"metallb.io/loadBalancerIPs": "192.0.2.102"},
    )
    decision = decide(DUAL, service)["default/x"]
    assert (decision.ips, decision.events, decision.patch) == (("192.0.2.102",), (), None)


def test_the_primary_family_is_the_first_of_ip_families() -> None:
    pools = sound_pools(pool_object("four", "192.0.2.1/32"), pool_object("six", "2001:db8::1/128"))
    spec = {"cluster_ips": BOTH_IPS[::-1], "ipFamilyPolicy": "PreferDualStack"}
    assert decide(pools, lb("x", **spec))["default/x"].ips == ("192.0.2.1",)  # type: ignore[arg-type]
    six = lb("x", ipFamilies=["IPv6", "IPv4"], **spec)  # type: ignore[arg-type]
    assert decide(pools, six)["default/x"].ips == ("2001:db8::1",)


def test_require_dual_stack_with_one_cluster_ip_is_cleared_and_told_once() -> None:
    service = lb("x", has=["192.0.2.100"], pool="dual", ipFamilyPolicy="RequireDualStack")
    decision = decide(DUAL, service)["default/x"]
    assert (decision.ips, reasons(decision)) == ((), ["not enough clusterips"])
    assert reasons(decide(DUAL, written(service, decision))["default/x"]) == []

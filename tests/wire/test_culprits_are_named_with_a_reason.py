"""Who is to blame when several answer, or the wrong one."""

from __future__ import annotations

import time
from ipaddress import IPv4Address

import pytest

from strictarp.arp.facts import LOCAL, TABLE_LOCAL, Address, Device, Hop, Host, ProxyNeighbour, Route
from strictarp.arp.probing import Answerer, Findings, Verdict
from strictarp.wire.announcers import Announcer
from strictarp.wire.culprits import Culprit, Evidence, Fault, culprits, doubled, evidence
from strictarp.wire.naming import GivenFacts
from support.wire_objects import VIP, answers_of_nodes, facts, found, mac, node, raw

NODES = [node(1), node(2), node(3)]
OTHER = "192.0.2.101"


def knowing(
    *announcers: int, facts_of: dict[str, Host] | None = None, unread: tuple[str, ...] = ()
) -> Evidence:
    """Three nodes whose MACs are known; those named are said to announce both addresses."""
    said = tuple(Announcer(f"n{each}", f"ServiceL2Status metallb-system/l2-{each}") for each in announcers)
    return evidence(
        nodes=NODES,
        answered=answers_of_nodes(1, 2, 3),
        facts=GivenFacts(facts_of or {}, frozenset(unread)),
        vips=[IPv4Address(VIP), IPv4Address(OTHER)],
        announcers={IPv4Address(ip): said for ip in (VIP, OTHER)} if said else None,
    )


def blamed(findings: list[Findings], told: Evidence) -> list[tuple[str, str, Fault, bool]]:
    return [(each.ip, each.who, each.fault, each.sure) for each in culprits(findings, told)]


def one(findings: list[Findings], told: Evidence) -> Culprit:
    (culprit,) = culprits(findings, told)
    return culprit


def test_all_is_well_when_one_answers_or_nobody() -> None:
    assert culprits([found(VIP, mac(1)), found(OTHER)], knowing(1)) == ()
    assert culprits([found(VIP, mac(1))], Evidence()) == ()


def test_who_answers_for_all_disputed_addresses_is_likely_a_kernel() -> None:
    findings = [found(VIP, mac(1), mac(2)), found(OTHER, mac(3), mac(2)), found("192.0.2.102", mac(1))]
    assert blamed(findings, knowing()) == [
        (VIP, "n2", Fault.KERNEL, False),
        (OTHER, "n2", Fault.KERNEL, False),
    ]
    told = culprits(findings, knowing())[0]
    assert "for all 2 addresses" in told.why
    assert told.mend.startswith("on n2: sysctl -w net.ipv4.conf.all.arp_ignore=1")


def test_when_all_nodes_answer_they_are_likely_kernels() -> None:
    findings = [found(VIP, mac(1), mac(2), mac(3))]
    assert {each[2] for each in blamed(findings, knowing())} == {Fault.KERNEL}
    assert [each[1] for each in blamed(findings, knowing(2))] == ["n1", "n3"]  # n2 may


def test_the_announcer_is_left_in_peace_and_the_others_are_not() -> None:
    assert blamed([found(VIP, mac(1), mac(2))], knowing(1)) == [(VIP, "n2", Fault.UNCLEAR, False)]


def test_what_cannot_be_told_is_called_unclear_with_the_command_that_tells() -> None:
    told = culprits([found(VIP, mac(1), mac(2))], knowing())
    assert [each.fault for each in told] == [Fault.UNCLEAR, Fault.UNCLEAR]
    assert told[0].mend == f"on n1: ip -4 addr show to {VIP}; sysctl net.ipv4.conf.all.arp_ignore"


def test_two_nodes_that_both_announce_are_two_announcers() -> None:
    told = culprits([found(VIP, mac(1), mac(2))], knowing(1, 2))
    assert [each.fault for each in told] == [Fault.ANNOUNCER, Fault.ANNOUNCER]
    assert "ServiceL2Status metallb-system/l2-2" in told[0].why


def test_facts_show_a_kernel_and_the_command_that_was_tried_on_the_model() -> None:
    told = one([found(VIP, mac(1), mac(2))], knowing(1, facts_of={"x": facts(2)}))
    assert (told.who, told.fault, told.sure) == ("n2 eth0", Fault.KERNEL, True)
    assert "holds on kube-ipvs0" in told.why
    assert told.mend.startswith("on n2: sysctl -w net.ipv4.conf.eth0.arp_ignore=1")


def test_facts_show_an_address_left_on_an_interface() -> None:
    told = one([found(VIP, mac(1), mac(2))], knowing(1, facts_of={"x": facts(2, vip_on="eth0", strict=True)}))
    assert (told.fault, told.sure) == (Fault.ADDRESS_ON_NIC, True)
    assert told.mend == f"on n2: ip addr del {VIP}/32 dev eth0"


def test_facts_that_show_a_silent_kernel_leave_an_announcer() -> None:
    told = one([found(VIP, mac(1), mac(2))], knowing(1, facts_of={"x": facts(2, strict=True)}))
    assert (told.fault, told.sure) == (Fault.ANNOUNCER, True)
    assert "spec.nodeName=n2" in told.mend


def test_facts_show_a_proxy() -> None:
    base = facts(2, Device("far0", raw(50)), vip_on="", strict=True)
    vip = int(IPv4Address(VIP))
    host = Host(
        base.devices,
        base.addresses,
        (*base.routes, Route(254, "unicast", vip, 32, (Hop("far0"),))),
        sysctls={**base.sysctls, "eth0": {"forwarding": 1}},
        proxy_neighbours=(ProxyNeighbour(vip, "eth0"),),
    )
    told = one([found(VIP, mac(1), mac(2))], knowing(1, facts_of={"x": host}))
    assert (told.fault, told.sure) == (Fault.PROXY_ARP, True)
    assert told.mend == f"on n2: ip neigh del proxy {VIP} dev eth0"


def test_who_answers_only_the_ordinary_form_is_a_proxy() -> None:
    both = Answerer(mac(1), 2, 0.2, None, ("probe", "request"))
    only = Answerer(mac(2), 1, 0.3, None, ("request",))
    findings = [Findings(VIP, "eth0", "both", "192.0.2.9", Verdict.SEVERAL, (both, only), False, 1.2)]
    assert blamed(findings, knowing(1)) == [(VIP, "n2", Fault.PROXY_ARP, False)]
    assert blamed(findings, knowing()) == [(VIP, "n2", Fault.PROXY_ARP, False)]  # n1 is explained by that


def test_a_slow_answer_to_the_ordinary_form_is_likely_a_proxys() -> None:
    slow = Answerer(mac(2), 1, 420.0, None, ("request",))
    fast = Answerer(mac(1), 1, 0.3, None, ("request",))
    findings = [Findings(VIP, "eth0", "request", "192.0.2.9", Verdict.SEVERAL, (fast, slow), False, 1.2)]
    told = one(findings, knowing(1))
    assert told.fault is Fault.PROXY_ARP
    assert "420 ms" in told.why


def test_a_mac_of_no_node_is_a_foreign_host_also_when_it_answers_alone() -> None:
    assert blamed([found(VIP, mac(1), mac(9))], knowing(1)) == [(VIP, "no known node", Fault.FOREIGN, False)]
    told = one([found(VIP, mac(9))], knowing())
    assert told.fault is Fault.FOREIGN
    assert mac(9) in told.mend


def test_an_address_of_no_service_may_be_anybodys() -> None:
    assert culprits([found("192.0.2.1", mac(9))], knowing()) == ()
    assert culprits([found("192.0.2.1", "00:00:5e:00:01:33")], knowing()) == ()


def test_facts_whose_filters_were_not_read_prove_nothing() -> None:
    told = one([found(VIP, mac(1), mac(2))], knowing(1, facts_of={"x": facts(2)}, unread=("x",)))
    assert (told.fault, told.sure, told.lead) == (Fault.KERNEL, False, "likely culprit")
    assert "were not read" in told.why


def test_hundreds_of_addresses_of_a_large_node_are_judged_quickly() -> None:
    base = facts(2)
    ips = [IPv4Address("198.18.0.0") + number for number in range(300)]
    addresses = tuple(Address("kube-ipvs0", int(ip), int(ip), 32) for ip in ips)
    routes = tuple(Route(TABLE_LOCAL, LOCAL, int(ip), 32, (Hop("kube-ipvs0"),)) for ip in ips)
    host = Host(base.devices, base.addresses + addresses, base.routes + routes, sysctls=base.sysctls)
    findings = [found(str(ip), mac(1), mac(2)) for ip in ips]
    began = time.process_time()
    told = culprits(findings, knowing(facts_of={"x": host}))
    assert time.process_time() - began < 5
    assert len(told) == 300
    assert {each.fault for each in told} == {Fault.KERNEL}


def test_a_virtual_router_is_told_by_its_mac() -> None:
    told = one([found(VIP, mac(1), "00:00:5e:00:01:33")], knowing(1))
    assert (told.fault, told.sure) == (Fault.VIRTUAL_ROUTER, True)
    assert "virtual_router_id 51" in told.mend


def test_the_wrong_one_alone_is_blamed_too() -> None:
    assert blamed([found(VIP, mac(2))], knowing(1)) == [(VIP, "n2", Fault.UNCLEAR, False)]
    assert blamed([found(VIP, mac(2))], knowing(2)) == []


@pytest.mark.parametrize(("answers", "lines"), [(1, 0), (2, 1)])
def test_two_voices_of_one_mac_are_told(answers: int, lines: int) -> None:
    answerer = Answerer(mac(1), answers, 0.2)
    findings = [Findings(VIP, "eth0", "probe", "0.0.0.0", Verdict.ONE, (answerer,), False, 1.2)]
    assert len(doubled(findings)) == lines

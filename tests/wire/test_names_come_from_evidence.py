"""MAC addresses become names, and nothing is invented."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp.facts import Device, Host
from strictarp.kube.model import Metadata
from strictarp.kube.objects import Node
from strictarp.netlink.rtnl import Link, Neighbour
from strictarp.wire import macs
from strictarp.wire.naming import Here, Known, Who, known, name, nodes_of_facts
from support.wire_objects import answers_of_nodes, facts, found, mac, node, raw

NODES = [node(1), node(2)]


def test_a_node_is_known_by_the_answer_for_its_own_address() -> None:
    told = name(known(nodes=NODES, answered=answers_of_nodes(1, 2)), raw(2))
    assert (told.who, told.node, told.sure, told.text) == (Who.NODE, "n2", True, "n2")
    assert told.evidence == "it answers for 192.0.2.12, n2's address"


def test_who_shares_a_nodes_address_is_only_probably_that_node() -> None:
    answered = [found("192.0.2.11", mac(1), mac(7))]
    told = name(known(nodes=NODES, answered=answered), raw(7))
    assert (told.who, told.node, told.sure, told.text) == (Who.NODE, "n1", False, "probably n1")


def test_who_answers_for_several_nodes_is_none_of_them() -> None:
    answered = [found("192.0.2.11", mac(9)), found("192.0.2.12", mac(9))]
    told = name(known(nodes=NODES, answered=answered), raw(9))
    assert (told.who, told.node, told.sure) == (Who.FOREIGN, "", False)
    assert "n1, n2: a router or proxy" in told.evidence


def test_foreign_is_said_only_where_nodes_are_known() -> None:
    assert name(Known(), raw(9)).who is Who.UNKNOWN
    assert name(Known(), raw(9)).text == ""
    told = name(known(nodes=NODES, answered=answers_of_nodes(1)), raw(9))
    assert (told.who, told.text) == (Who.FOREIGN, "no known node")


def test_an_answer_for_an_address_of_no_node_names_nobody() -> None:
    assert name(known(nodes=NODES, answered=[found("192.0.2.100", mac(9))]), raw(9)).who is Who.UNKNOWN


def host(*devices: Device) -> Host:
    return Host(devices)


STACKED = {
    "alone": (host(Device("eth0", raw(1))), "n1 eth0"),
    "bond": (
        host(
            Device("eth0", raw(1), master="bond0"),
            Device("eth1", raw(1), master="bond0"),
            Device("bond0", raw(1), kind="bond"),
        ),
        "n1 bond0, same MAC on eth0 (slave of bond0), eth1 (slave of bond0)",
    ),
    "slave with a MAC of its own": (
        host(Device("eth1", raw(1), master="bond0"), Device("bond0", raw(2), kind="bond")),
        "n1 eth1, slave of bond0",
    ),
    "VLAN": (
        host(Device("eth0", raw(1)), Device("eth0.10", raw(1), kind="vlan", lower="eth0", vlan=10)),
        "n1 eth0, same MAC on eth0.10 (VLAN 10 of eth0)",
    ),
    "VLAN with a MAC of its own": (
        host(Device("eth0", raw(2)), Device("v10", raw(1), kind="vlan", lower="eth0", vlan=10)),
        "n1 v10, VLAN 10 of eth0",
    ),
    "macvlan": (
        host(Device("eth0", raw(2)), Device("mac0", raw(1), kind="macvlan", lower="eth0")),
        "n1 mac0, macvlan of eth0",
    ),
    "bridge": (
        host(Device("eth0", raw(1), master="br0"), Device("br0", raw(1), kind="bridge")),
        "n1 br0, same MAC on eth0 (port of br0)",
    ),
}


@pytest.mark.parametrize("case", STACKED)
def test_facts_tell_the_interface_and_how_it_is_stacked(case: str) -> None:
    facts_of_n1, text = STACKED[case]
    assert name(known(facts={"n1": facts_of_n1}), raw(1)).text == text


def test_a_mac_in_the_facts_of_several_nodes_is_not_settled() -> None:
    same = host(Device("eth0", raw(1)))
    told = name(known(facts={"n1": same, "n2": same}), raw(1))
    assert (told.sure, told.text) == (False, "probably n1, n2")


def test_facts_belong_to_the_node_whose_address_they_hold() -> None:
    given_facts = {"a-file": facts(2), "other": host(Device("eth0", raw(5)))}
    assert nodes_of_facts(given_facts, NODES) == {"a-file": "n2", "other": "other"}


def test_this_host_and_its_neighbours_are_known() -> None:
    here = Here(
        links=(Link(2, "eth0", 1, raw(1)), Link(1, "lo", 8, bytes(6))),
        addresses=(bytes([192, 0, 2, 11]),),
        neighbours=(Neighbour(2, bytes([192, 0, 2, 1]), raw(8), 2), Neighbour(2, b"\0\0\0\0", b"", 1)),
    )
    told = known(nodes=NODES, here=here, answered=answers_of_nodes(2))
    assert name(told, raw(1)).text == "this host (n1) eth0"
    assert name(told, raw(8)).evidence == "this host's neighbour table has it as 192.0.2.1"
    assert name(told, bytes(6)).who is not Who.THIS_HOST


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("00005e000133", "virtual MAC of VRRP group 51 (keepalived, CARP or a router)"),
        ("00000c07ac05", "virtual MAC of HSRP group 5 (a router)"),
        ("00000c9ff123", "virtual MAC of HSRP group 291 (a router)"),
        ("525400123456", "a virtual machine of QEMU/KVM"),
        ("eeeeeeeeeeee", "the host's end of a pod's interface as Calico makes it"),
        ("03bf0a000001", "a multicast address, as some load balancer clusters use"),
        ("0242ac110002", macs.LOCALLY_ADMINISTERED),
        ("001b21000001", ""),
        ("00000c9f0123", ""),
    ],
)
def test_reserved_macs_speak_for_themselves(text: str, hint: str) -> None:
    assert macs.hint(bytes.fromhex(text)) == hint


def test_a_vrrp_mac_is_a_virtual_router_unless_facts_say_whose() -> None:
    vrrp = bytes.fromhex("00005e000133")
    assert name(Known(), vrrp).who is Who.VIRTUAL_ROUTER
    keepalived = host(Device("eth0", raw(1)), Device("vrrp.51", vrrp, kind="macvlan", lower="eth0"))
    told = name(known(facts={"n1": keepalived}), vrrp)
    assert told.text.startswith("n1 vrrp.51, macvlan of eth0, virtual MAC of VRRP group 51")


@given(st.binary(min_size=6, max_size=6))
def test_any_mac_has_a_name_of_some_kind(any_mac: bytes) -> None:
    told = name(
        known(nodes=[*NODES, Node(metadata=Metadata(name="n3"))], answered=answers_of_nodes(1)), any_mac
    )
    assert told.who in (Who.NODE, Who.FOREIGN, Who.VIRTUAL_ROUTER)
    assert told.mac == any_mac.hex(":")

"""When /healthz and /livez say no, and whether strictARP is said to be in force."""

import json

import pytest

from strictarp.kube.model import Metadata
from strictarp.kube.objects import Node, NodeSpec, Taint
from strictarp.netlink.rtnl import IFF_LOOPBACK, IFF_NOARP, IFF_UP, Link
from strictarp.proxy.health import AUTOSCALER_TAINT, Health
from strictarp.proxy.status import answering_links, strictarp_status


def test_a_change_that_waits_longer_than_the_limit_is_unhealthy() -> None:
    queued: float | None = None
    told = Health(lambda: queued, 60.0, lambda: None)
    assert told.verdict(1000.0) == (True, True)
    queued = 930.0
    assert told.verdict(989.0) == (True, True)
    assert told.verdict(991.0) == (False, True)


@pytest.mark.parametrize(
    "node",
    [
        Node(metadata=Metadata(name="n", deletion_timestamp="2024-01-01T00:00:00Z")),
        Node(spec=NodeSpec(taints=(Taint(AUTOSCALER_TAINT, "NoSchedule"),))),
    ],
)
def test_a_node_that_goes_is_not_eligible_but_alive(node: Node) -> None:
    told = Health(lambda: None, 60.0, lambda: node)
    assert told.verdict(0.0) == (True, False)


def test_last_updated_stands_still_while_unhealthy() -> None:
    told = Health(lambda: None, 60.0, lambda: None)
    first = json.loads(told.body(alive=True, eligible=None))
    later = json.loads(told.body(alive=False, eligible=True))
    assert later["lastUpdated"] == first["lastUpdated"]
    assert later["nodeEligible"] is True
    assert first["currentTime"].endswith(" +0000 UTC")


def test_only_links_that_answer_arp_count() -> None:
    links = [
        Link(1, "lo", IFF_UP | IFF_LOOPBACK, b""),
        Link(2, "eth0", IFF_UP, bytes(6)),
        Link(3, "eth1", 0, bytes(6)),
        Link(4, "tun0", IFF_UP | IFF_NOARP, b""),
        Link(5, "kube-ipvs0", IFF_UP, bytes(6)),
    ]
    assert [link.name for link in answering_links(links)] == ["eth0"]


def test_one_interface_with_a_setting_of_its_own_breaks_it_and_is_named() -> None:
    values = {
        "all": {"arp_ignore": 1, "arp_announce": 2},
        "eth0": {"arp_ignore": 0, "arp_announce": 0},
        "eth1": {"arp_ignore": 3, "arp_announce": 0},
    }
    good = strictarp_status(requested=True, values=values, interfaces=["eth0", "gone0"])
    assert (good["inForce"], list(good["interfaces"])) == (True, ["eth0"])  # type: ignore[call-overload]
    bad = strictarp_status(requested=True, values=values, interfaces=["eth0", "eth1"])
    assert bad["inForce"] is False
    assert str(bad["reason"]).startswith("eth1: ")

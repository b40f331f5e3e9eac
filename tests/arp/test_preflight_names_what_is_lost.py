"""Each known way in which strictARP breaks something, and each in which it does not."""

from ipaddress import IPv4Address

import pytest

from strictarp.arp.facts import Host
from strictarp.arp.losses import Asked, Evidence, Loss, Reason
from strictarp.arp.preflight import Report, preflight
from strictarp.arp.preflight_text import text
from strictarp.arp.switching import Scope
from support.command_hosts import IPVS, VIP, host, nic

NODE = "addr add 192.0.2.11/24 dev eth0"
DEFAULT = "route add default via 192.0.2.1"


def report_of(made: Host, scope: Scope = Scope.ALL, asked: Asked | None = None) -> Report:
    return preflight(made, scope, asked=asked)


def loss(report: Report, interface: str, target: str) -> Loss | None:
    found = [each for each in report.losses if (each.interface, each.target) == (interface, target)]
    assert len(found) <= 1
    return found[0] if found else None


def test_service_ips_fall_silent_and_that_is_wanted() -> None:
    report = report_of(host(NODE, VIP, devices=[nic(), IPVS]))
    found = loss(report, "eth0", "192.0.2.100")
    assert found is not None
    assert (found.reason, found.evidence) == (Reason.VIP, Evidence.WANTED)
    assert report.harmful == ()


def test_the_node_address_itself_is_kept() -> None:
    assert loss(report_of(host(NODE, VIP, devices=[nic(), IPVS])), "eth0", "192.0.2.11") is None


def test_many_service_ips_are_one_line() -> None:
    more = [f"addr add 10.96.0.{i}/32 dev kube-ipvs0" for i in range(1, 51)]
    report = report_of(host(NODE, *more, devices=[nic(), IPVS]))
    assert [(each.target, each.count) for each in report.losses] == [("50 Service IPs", 50)]


LOST = {
    "a pod behind an interface without an address asks for the node": (
        [nic(), nic("cali1", 17)],
        [NODE, "route add 10.244.0.5/32 dev cali1"],
        ("cali1", "192.0.2.11", Reason.UNNUMBERED, Evidence.LIKELY),
    ),
    "the gateway 169.254.1.1 on lo": (
        [nic(), nic("veth1", 17)],
        [NODE, "addr add 169.254.1.1/32 dev lo", "route add 10.244.0.5/32 dev veth1"],
        ("veth1", "169.254.1.1", Reason.UNNUMBERED, Evidence.LIKELY),
    ),
    "anycast on lo in the subnet of the NIC": (
        [nic()],
        [NODE, "addr add 192.0.2.53/32 dev lo"],
        ("eth0", "192.0.2.53", Reason.ON_LOOPBACK, Evidence.LIKELY),
    ),
    "a keepalived address on a dummy": (
        [nic(), nic("vip0", 17, kind="dummy", arp=False)],
        [NODE, "addr add 192.0.2.60/32 dev vip0"],
        ("eth0", "192.0.2.60", Reason.ON_DUMMY, Evidence.LIKELY),
    ),
    "a keepalived address on another NIC": (
        [nic(), nic("eth1", 17)],
        [NODE, "addr add 10.1.0.1/24 dev eth1", "addr add 192.0.2.60/32 dev eth1"],
        ("eth0", "192.0.2.60", Reason.OTHER_INTERFACE, Evidence.LIKELY),
    ),
    "a point-to-point address": (
        [nic()],
        ["addr add 192.0.2.11 peer 192.0.2.1/32 dev eth0"],
        ("eth0", "192.0.2.11", Reason.POINT_TO_POINT, Evidence.LIKELY),
    ),
    "AnyIP": (
        [nic()],
        [NODE, "route add local 192.0.2.128/25 dev lo"],
        ("eth0", "192.0.2.128/25", Reason.PREFIX, Evidence.LIKELY),
    ),
    "a prefix on lo": (
        [nic()],
        [NODE, "addr add 198.51.100.1/28 dev lo"],
        ("eth0", "198.51.100.0/28", Reason.PREFIX, Evidence.NONE),
    ),
    "an address left on a bridge port": (
        [nic("br0", 30, kind="bridge"), nic(master="br0")],
        ["addr add 192.0.2.11/24 dev br0", "addr add 192.0.2.12/24 dev eth0"],
        ("br0", "192.0.2.12", Reason.ON_PORT, Evidence.LIKELY),
    ),
    "an address of the default VRF on a slave": (
        [nic("vrf1", 30, kind="vrf", table=10), nic(master="vrf1"), nic("eth1", 17)],
        [NODE, "addr add 10.1.0.1/24 dev eth1"],
        ("eth0", "10.1.0.1", Reason.OTHER_VRF, Evidence.NONE),
    ),
    "the other NIC's address, of another subnet": (
        [nic(), nic("eth1", 17)],
        [NODE, "addr add 10.1.0.1/24 dev eth1"],
        ("eth0", "10.1.0.1", Reason.OTHER_INTERFACE, Evidence.NONE),
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_is_named_with_its_reason(name: str) -> None:
    devices, lines, (interface, target, reason, evidence) = LOST[name]
    found = loss(report_of(host(*lines, devices=devices)), interface, target)
    assert found is not None
    assert (found.reason, found.evidence) == (reason, evidence)


KEPT = {
    "a secondary address": ([nic()], [NODE, "addr add 192.0.2.12/24 dev eth0"], ("eth0", "192.0.2.12")),
    "an address of scope host": (
        [nic()],
        ["addr add 192.0.2.11/24 dev eth0 scope host"],
        ("eth0", "192.0.2.11"),
    ),
    "a bond": (
        [nic("bond0", 30, kind="bond", mode="active-backup"), nic(master="bond0")],
        ["addr add 192.0.2.11/24 dev bond0"],
        ("bond0", "192.0.2.11"),
    ),
    "a bridge": (
        [nic("br0", 30, kind="bridge"), nic(master="br0")],
        ["addr add 192.0.2.11/24 dev br0"],
        ("br0", "192.0.2.11"),
    ),
    "a VLAN's own address": (
        [nic(), nic("eth0.10", 30, kind="vlan", lower="eth0", vlan=10)],
        [NODE, "addr add 10.10.0.1/24 dev eth0.10"],
        ("eth0.10", "10.10.0.1"),
    ),
    "the /32 of a veth": ([nic("veth1")], ["addr add 10.244.0.1/32 dev veth1"], ("veth1", "10.244.0.1")),
    "a peer with a prefix that covers": (
        [nic()],
        ["addr add 192.0.2.11 peer 192.0.2.1/24 dev eth0"],
        ("eth0", "192.0.2.11"),
    ),
    "an external IP that is the node's own": (
        [nic(), IPVS],
        [NODE, "addr add 192.0.2.11/32 dev kube-ipvs0"],
        ("eth0", "192.0.2.11"),
    ),
    "what is silent already": (
        [nic(), nic("eth1", 17)],
        [NODE, "addr add 10.1.0.1/24 dev eth1", "all.arp_ignore=1"],
        ("eth0", "10.1.0.1"),
    ),
    "a proxy's answer": (
        [nic(), nic("cali1", 17)],
        [NODE, DEFAULT, "route add 10.244.0.5/32 dev cali1", "all.forwarding=1", "cali1.proxy_arp=1"],
        ("cali1", "169.254.1.1"),
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_is_not_reported(name: str) -> None:
    devices, lines, (interface, target) = KEPT[name]
    assert loss(report_of(host(*lines, devices=devices)), interface, target) is None


def test_two_nics_of_one_subnet_answer_for_their_own_only() -> None:
    made = host(NODE, "addr add 192.0.2.12/24 dev eth1", devices=[nic(), nic("eth1", 17)])
    fewer = {each.target: (each.before, each.after) for each in report_of(made).fewer}
    assert fewer["192.0.2.11"] == (("eth0", "eth1"), ("eth0",))


def test_a_macvlan_over_the_nic_no_longer_answers_twice() -> None:
    devices = [nic(), nic("vrrp51", 17, kind="macvlan", lower="eth0", mode="bridge")]
    made = host(NODE, "addr add 192.0.2.60/32 dev vrrp51", devices=devices)
    fewer = {each.target: each.after for each in report_of(made).fewer}
    assert fewer["192.0.2.60"] == ("vrrp51",)


def test_an_interface_whose_own_value_defeats_strictarp_is_named() -> None:
    for key in ("arp_ignore=3", "arp_announce=3"):
        report = report_of(host(NODE, VIP, f"eth0.{key}", devices=[nic(), IPVS]))
        assert [each.split(":")[0] for each in report.ineffective] == ["eth0"]
        assert key in report.ineffective[0]


@pytest.mark.parametrize("scope", Scope)
def test_requests_no_longer_carry_a_service_ip(scope: Scope) -> None:
    report = report_of(host(NODE, VIP, "route add default via 192.0.2.1", devices=[nic(), IPVS]), scope)
    assert [(each.source, each.after) for each in report.senders] == [("192.0.2.100", "192.0.2.11")]


def test_a_request_that_was_heard_is_the_best_evidence() -> None:
    made = host(NODE, "addr add 10.1.0.1/24 dev eth1", devices=[nic(), nic("eth1", 17)])
    heard = {("eth0", int(IPv4Address("10.1.0.1"))): int(IPv4Address("192.0.2.77"))}
    found = loss(report_of(made, asked=heard), "eth0", "10.1.0.1")
    assert found is not None
    assert found.evidence is Evidence.SEEN
    assert "192.0.2.77" in found.because


def test_a_request_that_was_heard_for_any_address_of_a_local_prefix_counts() -> None:
    made = host(NODE, "route add local 198.51.100.0/24 dev lo", devices=[nic()])
    heard = {("eth0", int(IPv4Address("198.51.100.200"))): int(IPv4Address("192.0.2.77"))}
    found = loss(report_of(made, asked=heard), "eth0", "198.51.100.0/24")
    assert found is not None
    assert (found.evidence, "192.0.2.77" in found.because) == (Evidence.SEEN, True)


def test_the_uplinks_alone_spare_the_pods() -> None:
    devices = [nic(), nic("cali1", 17), IPVS]
    made = host(NODE, DEFAULT, "route add 10.244.0.5/32 dev cali1", VIP, devices=devices)
    assert {each.interface for each in report_of(made, Scope.UPLINKS).losses} == {"eth0"}


def test_scope_vips_silences_nothing_but_service_ips() -> None:
    devices = [nic(), nic("cali1", 17), IPVS]
    lines = [NODE, DEFAULT, "addr add 192.0.2.53/32 dev lo", VIP, "addr add 192.0.2.11/32 dev kube-ipvs0"]
    report = report_of(host(*lines, devices=devices), Scope.VIPS)
    assert [(each.interface, each.target) for each in report.losses] == [("eth0", "192.0.2.100")]
    assert report.ineffective == ()


def test_an_address_that_another_interface_holds_is_no_vip() -> None:
    made = host(NODE, VIP, "addr add 192.0.2.11/32 dev kube-ipvs0", devices=[nic(), IPVS])
    assert made.vips == {int(IPv4Address("192.0.2.100"))}


def test_the_text_says_what_to_do_and_what_it_comes_to() -> None:
    made = host(NODE, VIP, "addr add 192.0.2.53/32 dev lo", devices=[nic(), IPVS])
    shown = text(report_of(made))
    for part in (
        "192.0.2.53 on eth0",
        "mend: ",
        "Silenced, as wanted",
        "1 answer(s) would be missed",
        "--watch",
    ):
        assert part in shown
    assert "No answer would be missed." in text(report_of(host(NODE, VIP, devices=[nic(), IPVS])))

"""What is masqueraded, let in, refused, and kept from the NAT of others: kube-proxy's table, row by row."""

import pytest

from strictarp.proxy.config import Config, DetectLocal
from strictarp.proxy.fields import parse_network
from strictarp.proxy.nftables import whole_table
from support.nft_model import Packet, Rules
from support.planning import HERE, elements_of, plan
from support.proxy_objects import endpoint_slice, service

CLUSTER_IP, EXTERNAL, VIP, OUTSIDE = "203.0.113.10", "192.0.2.102", "192.0.2.100", "192.0.2.1"
POD, OTHER_POD, FAR_POD = "198.51.100.18", "198.51.100.19", "198.51.100.130"
POD_CIDRS = (parse_network("198.51.100.0/25"), parse_network("2001:db8:2::/64"))
NO_DETECTOR = Config()
DETECTORS = {
    "ClusterCIDR": Config(detect_local=DetectLocal("ClusterCIDR", (parse_network("198.51.100.0/24"),))),
    "NodeCIDR": Config(detect_local=DetectLocal("NodeCIDR")),
    "BridgeInterface": Config(detect_local=DetectLocal("BridgeInterface", (), "cbr0")),
    "InterfaceNamePrefix": Config(detect_local=DetectLocal("InterfaceNamePrefix", (), "veth")),
}


def rules(config: Config = NO_DETECTOR, *, policy: str = "Cluster", **rest: object) -> Rules:
    """Of a Service with every way in, and endpoints here and elsewhere."""
    elements = elements_of(
        service(
            "web", CLUSTER_IP, type="LoadBalancer", ingress=[VIP], externalIPs=[EXTERNAL],
            ports=[{"name": "http", "port": 80, "nodePort": 30080}], externalTrafficPolicy=policy, **rest,
        ),
        endpoint_slice("web", [(POD, "node1"), (FAR_POD, "node2")]),
        config=config,
    )  # fmt: skip
    return Rules(whole_table(config, POD_CIDRS, elements))


def seen(made: Rules, source: str, to: str, port: int = 80, *, iif: str = "eth0", end: str = FAR_POD) -> bool:
    return made.masqueraded(Packet(source, to, port, iif=iif), end, 8080)


WAYS = [(EXTERNAL, 80), (VIP, 80), (HERE, 30080)]


@pytest.mark.parametrize("to", WAYS)
@pytest.mark.parametrize("end", [POD, FAR_POD])
@pytest.mark.parametrize(("source", "iif"), [(OUTSIDE, "eth0"), (OTHER_POD, "veth1"), (HERE, "")])
def test_policy_cluster_is_always_masqueraded_and_policy_local_never(
    to: tuple[str, int], end: str, source: str, iif: str
) -> None:
    assert seen(rules(), source, *to, iif=iif, end=end)
    assert not seen(rules(policy="Local"), source, *to, iif=iif, end=end)


@pytest.mark.parametrize(
    ("mode", "source", "iif", "masqueraded"),
    [
        ("ClusterCIDR", OTHER_POD, "eth0", False),
        ("ClusterCIDR", FAR_POD, "eth0", False),
        ("ClusterCIDR", OUTSIDE, "eth0", True),
        ("ClusterCIDR", CLUSTER_IP, "", True),
        ("NodeCIDR", OTHER_POD, "eth0", False),
        ("NodeCIDR", FAR_POD, "eth0", True),
        ("NodeCIDR", CLUSTER_IP, "", True),
        ("BridgeInterface", OUTSIDE, "cbr0", False),
        ("BridgeInterface", OTHER_POD, "cbr01", True),
        ("BridgeInterface", CLUSTER_IP, "", True),
        ("InterfaceNamePrefix", OUTSIDE, "veth7", False),
        ("InterfaceNamePrefix", OTHER_POD, "eth0", True),
        ("InterfaceNamePrefix", CLUSTER_IP, "", True),
    ],
)
def test_to_a_cluster_ip_is_masqueraded_what_the_detector_does_not_call_local(
    mode: str, source: str, iif: str, masqueraded: bool
) -> None:
    assert seen(rules(DETECTORS[mode]), source, CLUSTER_IP, iif=iif) == masqueraded
    # The external policy has no say there.
    assert seen(rules(DETECTORS[mode], policy="Local"), source, CLUSTER_IP, iif=iif) == masqueraded


def test_without_a_detector_only_the_node_itself_is_masqueraded_and_masquerade_all_wins() -> None:
    assert not seen(rules(), OUTSIDE, CLUSTER_IP)
    assert not seen(rules(), HERE, CLUSTER_IP, iif="")
    assert seen(rules(), CLUSTER_IP, CLUSTER_IP, iif="")  # a VIP that is local is the node's source
    for mode, config in DETECTORS.items():
        every = Config(detect_local=config.detect_local, masquerade_all=True)
        assert seen(rules(every), OTHER_POD, CLUSTER_IP, iif="cbr0"), mode


def test_a_detector_without_a_network_of_the_family_is_none() -> None:
    six = Config(detect_local=DetectLocal("ClusterCIDR", (parse_network("2001:db8:2::/64"),)))
    assert not seen(rules(six), OUTSIDE, CLUSTER_IP)
    assert seen(rules(six), CLUSTER_IP, CLUSTER_IP, iif="")


@pytest.mark.parametrize("to", [*WAYS, (CLUSTER_IP, 80)])
@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_a_pod_that_reaches_itself_is_always_masqueraded(to: tuple[str, int], policy: str) -> None:
    config = DETECTORS["ClusterCIDR"]
    assert seen(rules(config, policy=policy), POD, *to, end=POD)
    assert not seen(rules(config, policy=policy), POD, CLUSTER_IP, end=FAR_POD)
    # Only endpoints of this node: elsewhere another proxy sees to it.
    assert not seen(rules(config, policy="Local"), FAR_POD, VIP, end=FAR_POD)


def test_loopback_is_never_masqueraded() -> None:
    for to, port in [*WAYS, (CLUSTER_IP, 80)]:
        assert not seen(rules(Config(masquerade_all=True)), "127.0.0.1", to, port, iif="")


def test_the_mark_is_the_configured_bit_and_others_bits_stay() -> None:
    made = rules(Config(masquerade_bit=5))
    packet = Packet(OUTSIDE, VIP, 80, mark=0x100)
    assert made._nat(packet)[1].mark == 0x120
    assert made._chain("postrouting", packet._replace(to=POD, port=8080, mark=0x120))[1].mark == 0x100


RANGES = {"loadBalancerSourceRanges": ["10.0.0.0/8"]}


def test_source_ranges_are_for_the_balancers_addresses_alone() -> None:
    made = rules(**RANGES)
    for source, wanted in (("10.1.2.3", "accept"), (OUTSIDE, "drop"), (OTHER_POD, "drop")):
        assert made.filtered(Packet(source, VIP, 80)) == wanted
        for to, port in ((CLUSTER_IP, 80), (EXTERNAL, 80), (HERE, 30080)):
            assert made.filtered(Packet(source, to, port)) == "accept"


def test_the_node_reaches_a_limited_balancer_only_when_a_range_holds_it() -> None:
    for source in (VIP, HERE):
        assert rules(**RANGES).filtered(Packet(source, VIP, 80, iif="")) == "drop"
    let_in = rules(loadBalancerSourceRanges=["10.0.0.0/8", f"{HERE}/32"])
    assert let_in.filtered(Packet(VIP, VIP, 80, iif="")) == "accept"
    assert let_in.filtered(Packet(OUTSIDE, VIP, 80)) == "drop"


def test_a_range_of_everything_lets_everybody_in_and_none_that_can_be_read_nobody() -> None:
    everybody = rules(loadBalancerSourceRanges=["0.0.0.0/0"])
    nobody = rules(loadBalancerSourceRanges=["everybody"])
    for packet in (Packet(OUTSIDE, VIP, 80), Packet(VIP, VIP, 80, iif="")):
        assert (everybody.filtered(packet), nobody.filtered(packet)) == ("accept", "drop")


def test_host_services_are_closed_on_vips_and_open_on_the_node() -> None:
    made = rules(policy="Local", healthCheckNodePort=32000)
    for vip in (CLUSTER_IP, EXTERNAL, VIP):
        assert made.filtered(Packet(OUTSIDE, vip, 80)) == "accept"
        assert made.filtered(Packet(OUTSIDE, vip, 22)) == "reject"
        assert made.filtered(Packet(OUTSIDE, vip, 80, "udp")) == "reject"
        assert made.filtered(Packet(OUTSIDE, vip, 22, state="established")) == "accept"
    for port in (22, 32000, 30080):
        assert made.filtered(Packet(OUTSIDE, HERE, port)) == "accept"


def test_a_load_balancer_may_ask_for_the_health_check_port_at_the_vip() -> None:
    local, cluster = rules(policy="Local", healthCheckNodePort=32000), rules(healthCheckNodePort=32000)
    for vip in (CLUSTER_IP, EXTERNAL, VIP):
        assert local.filtered(Packet(OUTSIDE, vip, 32000)) == "accept"
        assert local.filtered(Packet(OUTSIDE, vip, 32000, "udp")) == "reject"
        assert cluster.filtered(Packet(OUTSIDE, vip, 32000)) == "reject"


def test_traffic_to_vips_is_kept_from_other_nat_rules_and_nothing_else_is() -> None:
    for policy in ("Cluster", "Local"):
        made = rules(policy=policy)
        for iif in ("eth0", ""):
            for vip in (CLUSTER_IP, EXTERNAL, VIP):
                assert made.kept(Packet(OUTSIDE, vip, 80, iif=iif))
                assert not made.kept(Packet(OUTSIDE, vip, 81, iif=iif))
                assert not made.kept(Packet(OUTSIDE, vip, 80, iif=iif, local=False))
            assert not made.kept(Packet(OUTSIDE, HERE, 30080, iif=iif))
            assert not made.kept(Packet(OUTSIDE, HERE, 80, iif=iif))


def test_ipv6_follows_the_same_table() -> None:
    vip, here, pod = "2001:db8:1::100", "2001:db8:1::11", "2001:db8:2::12"
    config = Config(detect_local=DetectLocal("ClusterCIDR", (parse_network("2001:db8:2::/64"),)))
    made = plan(
        service(
            "six", "2001:db8:9::10", type="LoadBalancer", ingress=[vip], ports=[{"name": "http", "port": 80}],
            externalTrafficPolicy="Local", loadBalancerSourceRanges=["2001:db8:1::/64"],
        ),
        endpoint_slice("six", [(pod, "node1")], kind="IPv6"),
        config=config,
        addresses=(HERE, here),
    )  # fmt: skip
    elements = {(name, element) for name, some in made["sets"].items() for element in some}
    table = Rules(whole_table(config, (), elements), "ip6")
    client = "2001:db8:1::1"
    assert not table.masqueraded(Packet(client, vip, 80), pod, 8080)
    assert table.masqueraded(Packet(pod, vip, 80), pod, 8080)
    assert table.masqueraded(Packet(client, "2001:db8:9::10", 80), pod, 8080)
    assert not table.masqueraded(Packet("2001:db8:2::13", "2001:db8:9::10", 80), pod, 8080)
    assert table.filtered(Packet(client, vip, 80)) == "accept"
    assert table.filtered(Packet("2001:db8:7::1", vip, 80)) == "drop"
    assert table.filtered(Packet(client, vip, 22)) == "reject"
    assert table.kept(Packet(client, vip, 80))

"""IPv6 and dual stack, protocols, schedulers, source ranges: the plan of one node."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.kube.objects import Service
from strictarp.proxy.config import SCHEDULERS, Config, NodePortAddresses
from strictarp.proxy.fields import parse_network
from strictarp.proxy.fronts import fronts, reach
from strictarp.proxy.situation import NodeFacts, situation
from support.planning import HERE, HERE6, Document, plan, servers
from support.proxy_objects import endpoint_slice, service

V4, V6 = "203.0.113.10", "2001:db8::10"
PORTS = ({"name": "http", "port": 80, "nodePort": 30080},)
BOTH = (HERE, HERE6)


def dual(**rest: object) -> Service:
    rest = {
        "type": "LoadBalancer",
        "clusterIPs": [V4, V6],
        "ipFamilies": ["IPv4", "IPv6"],
        "ports": PORTS,
        "ingress": ["192.0.2.100", "2001:db8::100"],
        **rest,
    }
    return service("web", V4, **rest)


def reals(made: Document) -> dict[str, set[str]]:
    return {
        each["address"]: {f"{real['address']}:{real['port']}" for real in each["realServers"]}
        for each in made["virtualServers"]
    }


def test_a_dual_stack_service_is_served_in_both_families_by_endpoints_of_each() -> None:
    made = plan(
        dual(externalIPs=["192.0.2.102", "2001:db8::102"]),
        endpoint_slice("web", [("198.51.100.1", "node1")]),
        endpoint_slice("web", [("2001:db8:2::1", "node1")], name="six", kind="IPv6"),
        addresses=BOTH,
    )
    four, six = {"198.51.100.1:8080"}, {"2001:db8:2::1:8080"}
    assert reals(made) == {
        V4: four,
        "192.0.2.100": four,
        "192.0.2.102": four,
        HERE: four,
        V6: six,
        "2001:db8::100": six,
        "2001:db8::102": six,
        HERE6: six,
    }
    assert made["addresses"] == ["192.0.2.100", "192.0.2.102", V4, V6, "2001:db8::100", "2001:db8::102"]
    assert set(made["sets"]["vips"]) == set(made["addresses"])
    assert made["sets"]["nodePort"] == [f"{HERE} . tcp . 30080", f"{HERE6} . tcp . 30080"]
    assert made["sets"]["hairpin"] == [
        "198.51.100.1 . tcp . 8080 . 198.51.100.1",
        "2001:db8:2::1 . tcp . 8080 . 2001:db8:2::1",
    ]


def test_without_a_cluster_ip_of_a_family_nothing_of_it_is_served() -> None:
    only_four = {"clusterIPs": [V4], "ipFamilies": ["IPv4"]}
    made = plan(dual(**only_four, externalIPs=["2001:db8::102"]), addresses=BOTH)
    assert servers(made) == {f"TCP {V4}:80", "TCP 192.0.2.100:80", f"TCP {HERE}:30080"}
    assert made["warnings"] == []
    made = plan(dual(ipFamilies=["IPv4"]), addresses=BOTH)
    assert V6 not in made["addresses"]


def test_a_service_of_ipv6_only_is_served_on_ipv6_only() -> None:
    made = plan(dual(clusterIP=V6, clusterIPs=[V6], ipFamilies=["IPv6"]), addresses=BOTH)
    assert servers(made) == {f"TCP {V6}:80", "TCP 2001:db8::100:80", f"TCP {HERE6}:30080"}


def test_cluster_ips_come_from_cluster_ip_and_the_other_way_round() -> None:
    assert servers(plan(service("web", V6))) == {f"TCP {V6}:80"}
    assert servers(plan(service("web", "", clusterIPs=[V4]))) == {f"TCP {V4}:80"}
    assert servers(plan(service("web", "None", clusterIPs=["None"]))) == set()


def test_addresses_are_written_in_one_way() -> None:
    made = plan(service("web", "2001:DB8:0:0::0010", externalIPs=["2001:db8::0102", "2001:DB8::102"]))
    assert made["addresses"] == [V6, "2001:db8::102"]


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_each_protocol_is_served_everywhere(protocol: str) -> None:
    ports = ({**PORTS[0], "protocol": protocol},)
    piece = endpoint_slice(
        "web", ["198.51.100.1"], ports=[{"name": "http", "port": 8080, "protocol": protocol}]
    )
    made = plan(dual(ports=ports), piece)
    assert servers(made) == {
        f"{protocol} {V4}:80",
        f"{protocol} {V6}:80",
        f"{protocol} 192.0.2.100:80",
        f"{protocol} 2001:db8::100:80",
        f"{protocol} {HERE}:30080",
    }
    assert made["sets"]["nodePort"] == [f"{HERE} . {protocol.lower()} . 30080"]
    assert reals(made)["192.0.2.100"] == {"198.51.100.1:8080"}


@pytest.mark.parametrize("scheduler", SCHEDULERS[1:])
def test_every_scheduler_has_its_flags_by_file_and_by_annotation(scheduler: str) -> None:
    flags = ["mh-fallback", "mh-port"] if scheduler == "mh" else []
    made = plan(dual(), config=Config(scheduler=scheduler))
    assert {(each["scheduler"], *each["flags"]) for each in made["virtualServers"]} == {(scheduler, *flags)}
    made = plan(dual(annotations={"strictarp.io/scheduler": scheduler}), config=Config(scheduler="lc"))
    assert {(each["scheduler"], *each["flags"]) for each in made["virtualServers"]} == {(scheduler, *flags)}
    made = plan(
        dual(annotations={"strictarp.io/scheduler": scheduler}, sessionAffinity="ClientIP"),
    )
    assert {tuple(each["flags"]) for each in made["virtualServers"]} == {(*flags, "persistent")}


def test_an_unknown_scheduler_is_named_and_the_files_is_used() -> None:
    made = plan(dual(annotations={"strictarp.io/scheduler": "best"}), config=Config(scheduler="wlc"))
    assert {each["scheduler"] for each in made["virtualServers"]} == {"wlc"}
    (warning,) = made["warnings"]
    assert warning.startswith("Service default/web: metadata.annotations[strictarp.io/scheduler]: 'best'")


@pytest.mark.parametrize(
    ("ranges", "allowed"),
    [
        (["10.0.0.0/8"], ["192.0.2.100 . tcp . 80 . 10.0.0.0/8"]),
        (["0.0.0.0/0"], ["192.0.2.100 . tcp . 80 . 0.0.0.0/0"]),
        (["10.1.2.3/8 "], ["192.0.2.100 . tcp . 80 . 10.0.0.0/8"]),
        (["2001:db8:5::/48", "10.0.0.0/8"], [
            "192.0.2.100 . tcp . 80 . 10.0.0.0/8", "2001:db8::100 . tcp . 80 . 2001:db8:5::/48",
        ]),
        (["::/0", "192.0.2.11/32"], [
            "192.0.2.100 . tcp . 80 . 192.0.2.100/32", "192.0.2.100 . tcp . 80 . 192.0.2.11/32",
            "2001:db8::100 . tcp . 80 . ::/0",
        ]),
        (["10.0.0.0/9", "10.128.0.0/9"], [
            "192.0.2.100 . tcp . 80 . 10.0.0.0/9", "192.0.2.100 . tcp . 80 . 10.128.0.0/9",
        ]),
    ],
)  # fmt: skip
def test_source_ranges_open_the_balancers_addresses_of_their_family(
    ranges: list[str], allowed: list[str]
) -> None:
    made = plan(dual(loadBalancerSourceRanges=ranges), addresses=BOTH)
    assert made["sets"]["loadBalancerSource"] == allowed
    limited = {element.split()[0] for element in allowed}
    assert {element.split()[0] for element in made["sets"]["loadBalancerFirewall"]} == limited


def test_source_ranges_that_cannot_be_read_let_nobody_in() -> None:
    made = plan(dual(loadBalancerSourceRanges=["everybody"]))
    assert made["sets"]["loadBalancerSource"] == []
    assert len(made["sets"]["loadBalancerFirewall"]) == 2
    assert len(made["warnings"]) == 1


@given(
    st.lists(
        st.builds(
            lambda value, length: str(ipaddress.ip_network((value << 16, length), strict=False)),
            st.integers(0, 2**16 - 1),
            st.integers(0, 32),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_ranges_do_not_overlap_and_let_in_the_same_sources(texts: list[str]) -> None:
    facts = situation(Config(), NodeFacts("node1", (bytes([192, 0, 2, 11]),), (bytes([192, 0, 2, 11]),)))
    wanted = dual(loadBalancerSourceRanges=texts)
    reached = reach(wanted, 4, [])
    assert reached is not None
    assert wanted.spec.ports is not None
    made = next(
        front.ranges
        for front in fronts(wanted, wanted.spec.ports[0], reached, facts)
        if "loadBalancerFirewall" in front.sets
    )
    assert not any(one.overlaps(two) for one in made for two in made if one is not two)
    asked = [ipaddress.ip_network(text) for text in texts]
    edges = [network[at] for network in asked for at in (0, -1)]
    sources = [each + step for each in edges for step in (-1, 0, 1) if 0 <= int(each) + step < 2**32]
    in_range = any(ipaddress.ip_address(HERE) in network for network in asked)
    for source in sources:
        expected = any(source in network for network in asked)
        expected = expected or (in_range and source == ipaddress.ip_address("192.0.2.100"))
        assert any(source in network for network in made) == expected


@pytest.mark.parametrize(
    ("texts", "served"),
    [
        (["192.0.2.0/24"], {"192.0.2.11", HERE6, "2001:db8:1::12"}),
        (["192.0.2.0/24", "2001:db8:1::12/128"], {"192.0.2.11", "2001:db8:1::12"}),
        (["::/0", "10.0.0.0/8"], {"10.0.0.1", HERE6, "2001:db8:1::12"}),
        (["172.16.0.0/12", "2001:db8:9::/48"], set()),
    ],
)
def test_node_port_addresses_are_chosen_by_family(texts: list[str], served: set[str]) -> None:
    config = Config(node_port_addresses=NodePortAddresses(networks=tuple(map(parse_network, texts))))
    made = plan(
        dual(),
        config=config,
        addresses=("192.0.2.11", "10.0.0.1", HERE6, "2001:db8:1::12", "fe80::1", "::1", "127.0.0.1"),
    )
    assert {each["address"] for each in made["virtualServers"] if each["port"] == 30080} == served


def test_primary_is_the_first_address_of_each_family() -> None:
    made = plan(
        dual(),
        config=Config(node_port_addresses=NodePortAddresses(primary=True)),
        addresses=("192.0.2.11", "10.0.0.1", HERE6, "2001:db8:1::12"),
    )
    assert {each["address"] for each in made["virtualServers"] if each["port"] == 30080} == {HERE, HERE6}


def test_a_balancer_that_wants_no_node_ports_has_none() -> None:
    made = plan(dual(allocateLoadBalancerNodePorts=False))
    assert made["sets"]["nodePort"] == []


def test_health_ports_are_open_where_node_ports_are_or_else_on_all_addresses() -> None:
    balancer = dual(externalTrafficPolicy="Local", healthCheckNodePort=32000)
    chosen = NodePortAddresses(networks=(parse_network("10.0.0.0/8"),))
    made = plan(balancer, config=Config(node_port_addresses=chosen), addresses=(HERE, "10.0.0.1"))
    assert made["sets"]["healthCheckNodePort"] == ["10.0.0.1 . tcp . 32000"]
    made = plan(balancer, config=Config(node_port_addresses=chosen), addresses=BOTH)
    assert made["sets"]["healthCheckNodePort"] == [f"{HERE6} . tcp . 32000"]
    nowhere = NodePortAddresses(networks=(parse_network("10.0.0.0/8"), parse_network("2001:db8:9::/48")))
    made = plan(balancer, config=Config(node_port_addresses=nowhere), addresses=BOTH)
    assert made["sets"]["healthCheckNodePort"] == [f"{HERE} . tcp . 32000", f"{HERE6} . tcp . 32000"]
    assert made["sets"]["nodePort"] == []


def test_policies_put_each_way_in_into_its_set() -> None:
    local = plan(dual(externalIPs=["192.0.2.102"], externalTrafficPolicy="Local"))["sets"]
    cluster = plan(dual(externalIPs=["192.0.2.102"]))["sets"]
    assert (len(local["externalIP"]), len(local["externalIPLocal"])) == (0, 1)
    assert (len(cluster["externalIP"]), len(cluster["externalIPLocal"])) == (1, 0)
    assert local["loadBalancer"] == local["loadBalancerLocal"] == cluster["loadBalancer"]
    assert local["nodePort"] == local["nodePortLocal"] == cluster["nodePort"]
    assert cluster["loadBalancerLocal"] == cluster["nodePortLocal"] == []

"""Which virtual servers, addresses and sets a Service gets: kube-proxy's ipvs mode, row by row."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.kube.objects import Node, Service
from strictarp.netlink.rtnl import IFF_LOOPBACK, Address, Link
from strictarp.proxy.addresses import pack
from strictarp.proxy.config import Config, NodePortAddresses
from strictarp.proxy.fields import parse_network
from strictarp.proxy.operations import AddServer, RemoveServer, SetServer
from strictarp.proxy.seam import HostLinks
from strictarp.proxy.situation import node_facts
from support.model_kernel import ModelKernel
from support.planning import HERE, HERE6, backends, plan, servers
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node as SyncedNode

CLUSTER_IP, VIP, EXTERNAL = "203.0.113.10", "192.0.2.100", "192.0.2.102"
PORT = {"name": "http", "port": 80, "nodePort": 30080}


def balancer(**rest: object) -> Service:
    rest = {"type": "LoadBalancer", "ports": [PORT], "ingress": [VIP], "externalIPs": [EXTERNAL], **rest}
    return service("web", CLUSTER_IP, **rest)


# --- which Services --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster_ip", "rest"),
    [
        ("None", {"clusterIPs": ["None"]}),
        ("", {}),
        (CLUSTER_IP, {"type": "ExternalName", "externalName": "host.example"}),
        (CLUSTER_IP, {"labels": {"service.kubernetes.io/service-proxy-name": ""}}),
        (CLUSTER_IP, {"labels": {"service.kubernetes.io/headless": "x"}}),
    ],
)
def test_a_service_that_is_not_ours_has_nothing_also_no_way_in_from_outside(
    cluster_ip: str, rest: dict[str, object]
) -> None:
    outside = {"externalIPs": [EXTERNAL], "ingress": [VIP], "ports": [PORT], "healthCheckNodePort": 32000}
    kind = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    made = plan(
        service("web", cluster_ip, **(outside | kind | rest)), endpoint_slice("web", ["198.51.100.1"])
    )
    assert (made["virtualServers"], made["addresses"], made["healthCheckNodePorts"]) == ([], [], {})
    assert not any(made["sets"].values())
    assert made["warnings"] == []


def test_addresses_may_have_blanks_around_them_and_empty_ones_are_left_out() -> None:
    made = plan(balancer(externalIPs=[f" {EXTERNAL}\t", "", "  "], ingress=[f"{VIP} ", ""]))
    assert made["addresses"] == [VIP, EXTERNAL, CLUSTER_IP]
    assert made["warnings"] == []


def test_what_is_of_a_family_without_cluster_ip_is_dropped_in_silence() -> None:
    made = plan(
        balancer(
            externalIPs=[EXTERNAL, "2001:db8::102"],
            ingress=[VIP, "2001:db8::100"],
            loadBalancerSourceRanges=["10.0.0.0/8", "2001:db8::/32"],
        ),
        addresses=(HERE, HERE6),
    )
    assert servers(made) == {f"TCP {a}:80" for a in (CLUSTER_IP, VIP, EXTERNAL)} | {f"TCP {HERE}:30080"}
    assert made["sets"]["loadBalancerSource"] == [f"{VIP} . tcp . 80 . 10.0.0.0/8"]
    assert made["warnings"] == []


def test_ports_are_told_apart_by_service_name_and_protocol() -> None:
    ports = [{"name": "a", "port": 53}, {"name": "a", "port": 53, "protocol": "UDP"}]
    ends = [{"name": "a", "port": 5300}, {"name": "a", "port": 5301, "protocol": "UDP"}]
    made = plan(
        service("web", CLUSTER_IP, ports=ports),
        service("web", "203.0.113.11", ports=ports, namespace="other"),
        endpoint_slice("web", ["198.51.100.1"], ports=ends),
        endpoint_slice("web", ["198.51.100.2"], ports=ends, namespace="other"),
    )
    found = {
        (each["address"], each["protocol"]): [(r["address"], r["port"]) for r in each["realServers"]]
        for each in made["virtualServers"]
    }
    assert found == {
        (CLUSTER_IP, "TCP"): [("198.51.100.1", 5300)],
        (CLUSTER_IP, "UDP"): [("198.51.100.1", 5301)],
        ("203.0.113.11", "TCP"): [("198.51.100.2", 5300)],
        ("203.0.113.11", "UDP"): [("198.51.100.2", 5301)],
    }


# --- virtual servers -------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_there_is_one_for_each_port_on_each_address(
    ports: int, external: int, balancers: int, own: int
) -> None:
    made = plan(
        balancer(
            ports=[{"name": f"p{n}", "port": 80 + n, "nodePort": 30080 + n} for n in range(ports)],
            externalIPs=[f"192.0.2.{n}" for n in range(100, 100 + external)],
            ingress=[f"192.0.2.{n}" for n in range(200, 200 + balancers)],
        ),
        addresses=tuple(f"192.0.2.{n}" for n in range(11, 11 + own)),
    )
    assert len(made["virtualServers"]) == ports * (1 + external + balancers + own)
    assert len(made["addresses"]) == 1 + external + balancers


def test_affinity_is_that_of_all_ways_in_and_none_is_none() -> None:
    for affinity, wanted in (("ClientIP", {("persistent", 10800)}), ("None", {("", 0)}), (None, {("", 0)})):
        made = plan(balancer(sessionAffinity=affinity))
        assert len(made["virtualServers"]) == 4
        assert {(",".join(v["flags"]), v["timeout"]) for v in made["virtualServers"]} == wanted
    limit = {"clientIP": {"timeoutSeconds": 60}}
    made = plan(balancer(sessionAffinity="None", sessionAffinityConfig=limit))
    assert {v["timeout"] for v in made["virtualServers"]} == {0}


def test_without_endpoints_it_is_there_and_its_addresses_are_bound() -> None:
    for pieces in ((), (endpoint_slice("web", []),)):
        made = plan(balancer(), *pieces)
        assert [each["realServers"] for each in made["virtualServers"]] == [[]] * 4
        assert made["addresses"] == [VIP, EXTERNAL, CLUSTER_IP]


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": {"strictarp.io/scheduler": "lc"}},
        {"annotations": {"strictarp.io/scheduler": "mh"}},
        {"sessionAffinity": "ClientIP"},
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
    ],
)
async def test_a_change_of_how_it_balances_is_made_in_place(change: dict[str, object]) -> None:
    kernel = ModelKernel()
    node = SyncedNode(kernel)
    node.put(balancer(), endpoint_slice("web", ["198.51.100.1"]))
    await node.turn()
    reals = {key: dict(held) for key, (_, held) in kernel.servers.items()}
    kernel.log.clear()
    node.put(balancer(**change))
    await node.turn()
    assert {type(operation) for operation in kernel.log} == {SetServer}
    assert len(kernel.log) == len(kernel.servers) == 4
    assert {key: dict(held) for key, (_, held) in kernel.servers.items()} == reals
    kernel.log.clear()
    node.put(balancer(ports=[{**PORT, "port": 81}]))
    await node.turn(5.0)
    kinds = [type(operation) for operation in kernel.log]
    assert (kinds.count(AddServer), RemoveServer in kinds) == (3, True)


# --- addresses -------------------------------------------------------------------------------------------


def test_a_cluster_ip_is_always_bound_and_others_only_if_no_interface_has_them() -> None:
    made = plan(balancer(), addresses=(HERE, VIP, EXTERNAL, CLUSTER_IP))
    assert made["addresses"] == [CLUSTER_IP]
    assert made["sets"]["vips"] == [CLUSTER_IP]
    assert {f"TCP {address}:80" for address in (CLUSTER_IP, VIP, EXTERNAL)} <= servers(made)
    assert made["sets"]["loadBalancer"] == [f"{VIP} . tcp . 80"]
    assert made["sets"]["externalIP"] == [f"{EXTERNAL} . tcp . 80"]


def test_node_ports_bind_nothing() -> None:
    made = plan(
        service("web", CLUSTER_IP, type="NodePort", ports=[PORT]), addresses=(HERE, HERE6, "10.0.0.1")
    )
    assert made["addresses"] == [CLUSTER_IP]


def test_addresses_of_the_node_are_those_of_every_interface_but_its_own_device_and_loopback() -> None:
    links = (
        Link(1, "lo", IFF_LOOPBACK | 1, b""), Link(2, "eth0", 1, bytes(6)), Link(3, "docker0", 1, bytes(6)),
        Link(4, "kube-ipvs0", 0, bytes(6), kind="dummy"),
    )  # fmt: skip
    held = {
        1: ("127.0.0.1", "::1", "192.0.2.77"), 2: (HERE, HERE6, "fe80::1"), 3: ("172.17.0.1",),
        4: (CLUSTER_IP, VIP, "2001:db8::10"),
    }  # fmt: skip
    addresses = [
        Address(index, packed, 8 * len(packed))
        for index, texts in held.items()
        for packed in map(pack, texts)
        if packed is not None
    ]
    node = {"metadata": {"name": "n"}, "status": {"addresses": [
        {"type": "Hostname", "address": "n"}, {"type": "ExternalIP", "address": "192.0.2.77"},
        {"type": "InternalIP", "address": HERE6}, {"type": "InternalIP", "address": HERE},
    ]}}  # fmt: skip
    facts = node_facts("n", HostLinks(links, tuple(addresses)), msgspec.convert(node, Node), (4, 16))
    assert set(facts.addresses) == {pack(t) for t in ("192.0.2.77", HERE, HERE6, "fe80::1", "172.17.0.1")}
    assert facts.primary == (pack(HERE), pack(HERE6))
    # VIPs may be bound elsewhere; what a kube-proxy left on its own device is no address of the node either.
    seen = HostLinks((*links, Link(5, "vips0", 0, bytes(6), kind="dummy")), tuple(addresses))
    more = msgspec.structs.replace(seen, addresses=(*addresses, Address(5, bytes([192, 0, 2, 200]), 32)))
    assert node_facts("n", more, msgspec.convert(node, Node), (4, 16), device="vips0") == facts


def test_an_address_of_another_node_is_served_but_not_bound() -> None:
    """Who holds it too no longer reaches that node (kubernetes issues 80738 and 75290)."""
    objects = balancer(externalIPs=[EXTERNAL]), endpoint_slice("web", ["198.51.100.1"])
    usual = plan(*objects)
    made = plan(*objects, others={EXTERNAL: "node2", VIP: "node3"})
    assert made["virtualServers"] == usual["virtualServers"]
    assert set(usual["addresses"]) - set(made["addresses"]) == {EXTERNAL, VIP}
    assert set(usual["sets"]["vips"]) - set(made["sets"]["vips"]) == {EXTERNAL, VIP}
    assert made["sets"]["externalIP"] == usual["sets"]["externalIP"]
    (warning,) = made["warnings"]
    told = f"Service default/web: spec.externalIPs: {EXTERNAL} is an address of node node2"
    assert warning.startswith(told)


# --- load balancers and NodePorts ------------------------------------------------------------------------


def test_only_the_status_gives_addresses_of_a_load_balancer() -> None:
    ingress = [
        {"hostname": "lb.example"},
        {"ip": "192.0.2.103", "ipMode": "Proxy"},
        {"ip": VIP, "ipMode": None},
    ]
    made = plan(balancer(ingress=ingress, loadBalancerIP="192.0.2.104", externalIPs=[]))
    assert made["addresses"] == [VIP, CLUSTER_IP]
    assert made["sets"]["loadBalancer"] == [f"{VIP} . tcp . 80"]


def test_source_ranges_limit_no_other_way_in() -> None:
    made = plan(balancer(loadBalancerSourceRanges=["10.0.0.0/8"]))["sets"]
    assert made["loadBalancerFirewall"] == [f"{VIP} . tcp . 80"]
    assert {element.split()[0] for element in made["loadBalancerSource"]} == {VIP}


def test_loopback_serves_no_node_port_whatever_is_asked_for() -> None:
    for texts in (["127.0.0.0/8", "::1/128"], ["0.0.0.0/0", "::/0"], []):
        wanted = NodePortAddresses(networks=tuple(map(parse_network, texts)))
        made = plan(
            balancer(clusterIPs=[CLUSTER_IP, "2001:db8::10"]),
            config=Config(node_port_addresses=wanted),
            addresses=(HERE, "127.0.0.1", "127.0.0.53", HERE6, "::1", "fe80::1"),
        )
        served = {each["address"] for each in made["virtualServers"] if each["port"] == 30080}
        assert served == (set() if "127.0.0.0/8" in texts else {HERE, HERE6})


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_every_set_holds_its_places_by_protocol_and_policy(protocol: str, policy: str) -> None:
    local = policy == "Local"
    port = {**PORT, "protocol": protocol.upper()}
    end = {"name": "http", "port": 8080, "protocol": protocol.upper()}
    made = plan(
        balancer(
            ports=[port], externalTrafficPolicy=policy, healthCheckNodePort=32000,
            loadBalancerSourceRanges=["10.0.0.0/8", f"{HERE}/32"],
        ),
        endpoint_slice("web", [("198.51.100.1", "node1"), ("198.51.100.2", "node2")], ports=[end]),
    )  # fmt: skip
    place, node_port = f"{VIP} . {protocol} . 80", f"{HERE} . {protocol} . 30080"
    assert made["sets"] == {
        "clusterIP": [f"{CLUSTER_IP} . {protocol} . 80"],
        "externalIP": [] if local else [f"{EXTERNAL} . {protocol} . 80"],
        "externalIPLocal": [f"{EXTERNAL} . {protocol} . 80"] if local else [],
        "hairpin": [f"198.51.100.1 . {protocol} . 8080 . 198.51.100.1"],
        "healthCheckNodePort": [f"{HERE} . tcp . 32000"] if local else [],
        "loadBalancer": [place],
        "loadBalancerFirewall": [place],
        "loadBalancerLocal": [place] if local else [],
        "loadBalancerSource": [
            f"{place} . 10.0.0.0/8", f"{place} . {VIP}/32", f"{place} . {HERE}/32",
        ],
        "nodePort": [node_port],
        "nodePortLocal": [node_port] if local else [],
        "vips": [VIP, EXTERNAL, CLUSTER_IP],
    }  # fmt: skip


# --- endpoints -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "port", [{"name": "http"}, {"name": "http", "port": None}, {"name": "http", "port": 0}]
)
def test_a_slices_port_without_number_is_left_out(port: dict[str, object]) -> None:
    made = plan(
        service("web", CLUSTER_IP),
        endpoint_slice("web", ["198.51.100.1"], name="odd", ports=[port]),
        endpoint_slice("web", ["198.51.100.2"]),
    )
    assert backends(made, CLUSTER_IP) == {"198.51.100.2": 1}


@pytest.mark.parametrize(
    ("ready", "serving", "terminating"), list(itertools.product([None, True, False], repeat=3))
)
def test_conditions_that_are_not_given_mean_ready_serving_and_not_terminating(
    ready: bool | None, serving: bool | None, terminating: bool | None
) -> None:
    conditions = {"ready": ready, "serving": serving, "terminating": terminating}
    end = {"addresses": ["198.51.100.1"], "conditions": conditions}
    made = plan(service("web", CLUSTER_IP), endpoint_slice("web", [end]))
    serves = ready is not False or (serving is not False and terminating is True)
    assert backends(made, CLUSTER_IP) == ({"198.51.100.1": 1} if serves else {})


def _ends(*numbers: int) -> list[object]:
    return [(f"198.51.100.{number}", "node1") for number in numbers]


async def test_an_endpoint_that_moves_to_another_slice_is_not_touched() -> None:
    kernel = ModelKernel()
    node = SyncedNode(kernel)
    node.put(balancer(), endpoint_slice("web", _ends(1, 2), name="a"), endpoint_slice("web", [], name="b"))
    await node.turn()
    kernel.log.clear()
    node.put(endpoint_slice("web", _ends(1), name="a"), endpoint_slice("web", _ends(2), name="b"))
    await node.turn()
    assert kernel.log == []
    node.put(endpoint_slice("web", _ends(1, 2), name="b"))
    node.delete("default/a")
    await node.turn()
    assert kernel.log == []


async def test_what_has_no_bearing_costs_no_message() -> None:
    kernel = ModelKernel()
    node = SyncedNode(kernel)
    node.put(balancer(), endpoint_slice("web", _ends(1)))
    await node.turn()
    kernel.log.clear()
    node.put(balancer(selector={"a": "b"}, annotations={"x": "y"}, publishNotReadyAddresses=True))
    node.put(endpoint_slice("web", _ends(1), labels={"x": "y"}, ports=[
        {"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "other", "port": 9090},
    ]))  # fmt: skip
    await node.turn()
    assert kernel.log == []

"""Which endpoints serve a virtual server: topology, policies, terminating ones, health."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.kube.objects import EndpointSlice
from strictarp.proxy.endpoints import Target, cluster_targets, local_targets
from support.planning import Document, backends, plan
from support.proxy_objects import endpoint_slice, service

VIP, CLUSTER = "192.0.2.100", "203.0.113.10"
NODE_PORT = ({"name": "http", "port": 80, "nodePort": 30080},)


def end(
    number: int,
    node: str = "node2",
    zones: tuple[str, ...] = (),
    nodes: tuple[str, ...] = (),
    **conditions: bool,
) -> Document:
    made: Document = {"addresses": [f"198.51.100.{number}"], "nodeName": node, "conditions": conditions}
    if zones or nodes:
        made["hints"] = {
            "forZones": [{"name": zone} for zone in zones],
            "forNodes": [{"name": name} for name in nodes],
        }
    return made


def chosen(*ends: Document, zone: str = "a", address: str = CLUSTER, **rest: object) -> set[int]:
    rest = {"type": "LoadBalancer", "ports": NODE_PORT, "ingress": [VIP], **rest}
    made = plan(service("web", CLUSTER, **rest), endpoint_slice("web", ends), zone=zone)
    return {int(real.rpartition(".")[2]) for real in backends(made, address)}


@pytest.mark.parametrize(
    ("ends", "zone", "wanted"),
    [
        ([end(1, zones=("a",)), end(2, zones=("b",))], "a", {1}),
        ([end(1, zones=("a", "b")), end(2, zones=("b",))], "b", {1, 2}),
        ([end(1, zones=("a",)), end(2)], "a", {1, 2}),
        ([end(1, zones=("a",)), end(2, zones=("b",))], "c", {1, 2}),
        ([end(1, zones=("a",)), end(2, zones=("b",))], "", {1, 2}),
        ([end(1, zones=("a",)), end(2, ready=False)], "a", {1}),
        ([end(1, nodes=("node1",), zones=("b",)), end(2, nodes=("node2",), zones=("a",))], "a", {1}),
        ([end(1, nodes=("node1",)), end(2, nodes=("node2",))], "", {1}),
        ([end(1, nodes=("node1",), zones=("b",)), end(2, zones=("a",))], "a", {2}),
        ([end(1, nodes=("node3",), zones=("b",)), end(2, nodes=("node2",), zones=("a",))], "a", {2}),
        ([end(1, nodes=("node3",)), end(2, nodes=("node2",))], "a", {1, 2}),
    ],
)
def test_hints_count_when_all_ready_endpoints_have_them_and_one_is_for_here(
    ends: list[Document], zone: str, wanted: set[int]
) -> None:
    assert chosen(*ends, zone=zone) == wanted


def test_hints_alone_decide_whatever_the_service_says() -> None:
    ends = [end(1, zones=("a",)), end(2, zones=("b",))]
    assert chosen(*ends, trafficDistribution="PreferClose") == {1}
    assert chosen(*ends, annotations={"service.kubernetes.io/topology-mode": "disabled"}) == {1}


def test_terminating_endpoints_are_not_chosen_by_their_hints() -> None:
    going = {"ready": False, "serving": True, "terminating": True}
    assert chosen(end(1, zones=("a",), **going), end(2, zones=("b",), **going)) == {1, 2}


def test_local_policy_does_not_look_at_hints_but_what_it_falls_back_to_does() -> None:
    local = [end(1, "node1", zones=("b",)), end(2, zones=("a",))]
    assert chosen(*local, address=VIP, externalTrafficPolicy="Local") == {1}
    remote = [end(1, "node3", zones=("b",)), end(2, zones=("a",))]
    assert chosen(*remote, address=VIP, externalTrafficPolicy="Local") == {2}


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        ([end(1, "node1"), end(2)], {1}),
        ([end(1, "node1", ready=False, serving=True, terminating=True), end(2)], {1}),
        ([end(1, "node1", ready=False, serving=False, terminating=True), end(2)], {2}),
        ([end(1, "node1", ready=False), end(2)], {2}),
        ([end(1, "node1", ready=False), end(2, ready=False, serving=True, terminating=True)], {2}),
        ([end(1, "NODE1"), end(2)], {1, 2}),
    ],
)
def test_local_policy_prefers_local_ready_then_local_terminating_then_all(
    ends: list[Document], wanted: set[int]
) -> None:
    assert chosen(*ends, address=VIP, externalTrafficPolicy="Local") == wanted


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        ({"type": "ClusterIP", "ingress": []}, set()),
        ({"type": "LoadBalancer"}, {2}),
        ({"type": "NodePort", "ingress": []}, {2}),
        ({"type": "ClusterIP", "ingress": [], "externalIPs": ["192.0.2.102"]}, {2}),
        ({"type": "ClusterIP", "ingress": [], "externalIPs": ["2001:db8::102"]}, set()),
        ({"ports": ({"name": "http", "port": 80},), "ingress": []}, set()),
        ({"ports": ({"name": "http", "port": 80},), "ingress": [{"ip": VIP, "ipMode": "Proxy"}]}, set()),
    ],
)
def test_internal_policy_local_falls_back_only_if_the_port_is_reached_from_outside(
    rest: dict[str, object], wanted: set[int]
) -> None:
    assert chosen(end(2), internalTrafficPolicy="Local", **rest) == wanted


def test_internal_and_external_policies_are_independent() -> None:
    ends = (end(1, "node1"), end(2))
    both = {"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Cluster"}
    assert chosen(*ends, **both) == {1}
    assert chosen(*ends, address=VIP, **both) == {1, 2}
    assert chosen(*ends, address="192.0.2.11", externalTrafficPolicy="Local") == {1}


def test_endpoints_published_although_not_ready_serve_by_their_condition() -> None:
    assert chosen(end(1, ready=True, serving=False), publishNotReadyAddresses=True) == {1}
    assert chosen(end(1, ready=True, serving=False, terminating=True), publishNotReadyAddresses=True) == {1}


def _slices(*made: EndpointSlice) -> Document:
    return plan(service("web", CLUSTER), *made)


def test_an_endpoint_in_two_slices_is_one_and_the_local_copy_wins() -> None:
    first = endpoint_slice("web", [end(1, "node2", ready=False)], name="s1")
    again = endpoint_slice("web", [end(1, "node1")], name="s2")
    for order in ((first, again), (again, first)):
        made = _slices(*order)
        assert backends(made, CLUSTER) == {"198.51.100.1": 1}
        assert made["sets"]["hairpin"] == ["198.51.100.1 . tcp . 8080 . 198.51.100.1"]


def test_slices_without_owner_of_names_and_for_other_proxies_are_ignored() -> None:
    made = _slices(
        endpoint_slice("web", ["host.example"], kind="FQDN", name="s1"),
        endpoint_slice("other", [end(1)], name="s2"),
        endpoint_slice("web", [end(2)], namespace="else", name="s3"),
        endpoint_slice("web", [end(3)], labels={"service.kubernetes.io/service-proxy-name": "x"}, name="s4"),
        endpoint_slice("web", [end(4)], labels={"service.kubernetes.io/headless": ""}, name="s5"),
        endpoint_slice("web", [end(5)], labels={"kubernetes.io/service-name": ""}, name="s6"),
    )
    assert backends(made, CLUSTER) == {}
    assert made["warnings"] == []


def test_only_the_first_address_of_an_endpoint_counts() -> None:
    made = _slices(endpoint_slice("web", [{"addresses": ["198.51.100.1", "198.51.100.2"]}]))
    assert backends(made, CLUSTER) == {"198.51.100.1": 1}


def test_every_local_endpoint_may_reach_itself_also_one_that_goes() -> None:
    made = _slices(endpoint_slice("web", [end(1, "node1"), end(2, "node1", ready=False), end(3)]))
    assert [element.split()[0] for element in made["sets"]["hairpin"]] == ["198.51.100.1", "198.51.100.2"]


def test_health_counts_distinct_local_ready_addresses_over_all_ports() -> None:
    ports = [{"name": "http", "port": 8080}, {"name": "https", "port": 8443}]
    made = plan(
        service(
            "web",
            CLUSTER,
            type="LoadBalancer",
            ports=[{"name": "http", "port": 80}, {"name": "https", "port": 443}],
            externalTrafficPolicy="Local",
            healthCheckNodePort=32000,
        ),
        endpoint_slice(
            "web",
            [end(1, "node1"), end(2, "node1"), end(3, "node1", ready=False, serving=True, terminating=True)],
            ports=ports,
        ),
        endpoint_slice("web", [end(1, "node1"), end(4)], name="again", ports=ports),
    )
    assert made["healthCheckNodePorts"] == {"default/web": {"port": 32000, "localEndpoints": 2}}
    assert made["sets"]["healthCheckNodePort"] == ["192.0.2.11 . tcp . 32000"]


@pytest.mark.parametrize(
    "rest",
    [
        {"externalTrafficPolicy": "Cluster"},
        {"type": "NodePort"},
        {"healthCheckNodePort": 0},
        {"healthCheckNodePort": 70000},
    ],
)
def test_health_ports_are_of_load_balancers_with_policy_local_only(rest: dict[str, object]) -> None:
    rest = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 32000,
        **rest,
    }
    made = plan(service("web", CLUSTER, **rest), endpoint_slice("web", [end(1, "node1")]))
    assert (made["healthCheckNodePorts"], made["sets"]["healthCheckNodePort"]) == ({}, [])


names = st.sampled_from(["a", "b", "c"])
some_targets = st.lists(
    st.builds(
        lambda number, node, ready, draining, zones, nodes: Target(
            bytes([198, 51, 100, number]), 80, node, node == "a", ready, draining, zones, nodes
        ),
        st.integers(1, 9),
        names,
        st.booleans(),
        st.booleans(),
        st.lists(names, max_size=2).map(tuple),
        st.lists(names, max_size=2).map(tuple),
    ),
    max_size=6,
)


@given(some_targets, names | st.just(""))
def test_whoever_is_chosen_can_serve_and_nobody_is_only_if_nobody_can(found: list[Target], zone: str) -> None:
    cluster, local = cluster_targets(found, "a", zone), local_targets(found)
    for some, among in ((cluster, found), (local, [target for target in found if target.local])):
        assert set(some) <= set(among)
        assert all(target.ready for target in some) or all(target.draining for target in some)
        assert bool(some) == any(target.ready or target.draining for target in among)
        if any(target.ready for target in among):
            assert all(target.ready for target in some)

"""Each kind of Service and policy, with real packets through real IPVS; and what must be blocked is."""

import socket

import pytest

from strictarp.kube.objects import ENDPOINTSLICES
from strictarp.lab.namespaces import entered
from support.forked import until
from support.more_traffic import (
    EXTERNAL,
    FAR,
    INNER,
    KEPT,
    KEPT6,
    KEPT_PORT,
    LIMITED6,
    NEAR,
    OPEN,
    SCTP_PORT,
    SPREAD6,
    STICKY,
    STICKY6,
    STICKY_PORT,
    UDP6,
    UDP_PORT,
    UDP_VIP,
    Load,
)
from support.traffic import (
    BOTH,
    CLIENT,
    CLIENT6,
    LOCAL,
    NODE,
    NODE6,
    OTHER,
    POD,
    POD_GATEWAY,
    POD_GATEWAY6,
    VIP,
    World,
    web_slice,
)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]
GOING = {"ready": False, "serving": True, "terminating": True}


def test_affinity_sticks_through_every_way_in_and_without_it_connections_spread(kinds: World) -> None:
    assert len(kinds.callers(STICKY, 80, count=5)) == 1
    assert len(kinds.callers(NODE, STICKY_PORT, count=5)) == 1
    assert len(kinds.callers(STICKY6, 80, count=5)) == 1
    assert kinds.callers(VIP, 80) == {NODE, POD_GATEWAY}
    assert kinds.callers(SPREAD6, 80) == {NODE6, POD_GATEWAY6}


def test_source_ranges_block_udp_and_ipv6_and_a_range_of_all_lets_everybody_in(kinds: World) -> None:
    assert kinds.udp_caller(UDP_VIP, 53) == POD_GATEWAY
    with pytest.raises(TimeoutError):
        kinds.udp_caller(UDP_VIP, 53, "other", limit=1.5)
    assert kinds.callers(LIMITED6, 80) == {NODE6, POD_GATEWAY6}
    with pytest.raises(TimeoutError):
        kinds.connect(LIMITED6, 80, "other", limit=1.5)
    for space in ("client", "other", "node"):
        assert len(kinds.callers(OPEN, 80, space)) == 2


def test_node_ports_are_not_limited_by_source_ranges(kinds: World) -> None:
    assert kinds.udp_caller(NODE, UDP_PORT) == POD_GATEWAY
    assert kinds.udp_caller(NODE, UDP_PORT, "other") == POD_GATEWAY


def test_policy_local_keeps_the_source_by_node_port_external_ip_and_ipv6(kinds: World) -> None:
    assert kinds.callers(NODE, KEPT_PORT) == {CLIENT}
    assert kinds.callers(KEPT, 80) == {CLIENT}
    assert kinds.callers(KEPT6, 80) == {CLIENT6}
    assert kinds.callers(NODE, KEPT_PORT, "other") == {OTHER}


def test_a_pod_reaches_itself_also_where_nothing_else_is_masqueraded(kinds: World) -> None:
    assert kinds.callers(LOCAL, 80, "pod", count=2) == {POD_GATEWAY}
    assert kinds.callers(KEPT6, 80, "pod", count=2) == {POD_GATEWAY6}
    assert kinds.callers(NODE, KEPT_PORT, "pod", count=2) == {POD_GATEWAY}


def test_an_external_ip_is_masqueraded_and_an_internal_policy_local_stays_here(kinds: World) -> None:
    assert kinds.callers(EXTERNAL, 80) == {NODE, POD_GATEWAY}
    assert kinds.callers(INNER, 80) == {POD_GATEWAY}


def test_udp_goes_through_ipv6(kinds: World) -> None:
    assert kinds.udp_caller(UDP6, 53) == POD_GATEWAY6


def test_sctp_goes_through_a_node_port(kinds: World) -> None:
    with entered(kinds.spaces["client"]):
        asking = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    with asking:
        asking.settimeout(5)
        asking.connect((NODE, SCTP_PORT))
        assert asking.recv(100).decode().strip() == POD_GATEWAY


def test_a_host_port_takes_no_traffic_of_a_vip(kinds: World) -> None:
    """Rules for host ports, as CNI plugins make them, match every local address, and VIPs are local."""
    hooks = (("pre", "prerouting"), ("out", "output"))
    chains = " ".join(
        f"chain {name} {{ type nat hook {hook} priority -100; "
        f"fib daddr type local tcp dport 80 dnat to {POD}:8080; }};"
        for name, hook in hooks
    )
    kinds.run("nft", f"table ip hostports {{ {chains} }}")
    try:
        assert kinds.callers(NODE, 80) == {CLIENT}
        assert kinds.callers(NEAR, 80) == {NODE}
        assert kinds.callers(FAR, 80) == {NODE}
        assert kinds.callers(FAR, 80, "node") == {NODE}
        kept = kinds.run("nft", "list", "chain", "ip", "strictarp", "kept")
        kinds.run("nft", "flush", "chain", "ip", "strictarp", "kept")
        assert kinds.callers(NEAR, 80) == {POD_GATEWAY}  # what the chain is for
        kinds.run("nft", kept)
        assert kinds.callers(NEAR, 80) == {NODE}
    finally:
        kinds.run("nft", "delete", "table", "ip", "hostports")


def test_a_drain_under_load_resets_and_refuses_nothing(kinds: World) -> None:
    """While an endpoint terminates, goes, and comes back."""
    load = Load(kinds, VIP, 80, 12)
    try:
        assert load.held == {NODE: 6, POD_GATEWAY: 6}
        assert load.go_on(6).keys() == {NODE, POD_GATEWAY}
        going = {"addresses": [POD], "nodeName": "node1", "conditions": GOING}
        kinds.put(ENDPOINTSLICES, web_slice(going, (OTHER, "node2")))
        until(lambda: kinds.weights() == {POD: 0, OTHER: 1}, 30, "the terminating endpoint drains")
        assert load.go_on(6).keys() == {NODE}
        kinds.put(ENDPOINTSLICES, web_slice((OTHER, "node2")))
        assert load.go_on(6).keys() == {NODE}
        assert kinds.weights() == {POD: 0, OTHER: 1}
        kinds.put(ENDPOINTSLICES, BOTH)
        until(lambda: kinds.weights() == {POD: 1, OTHER: 1}, 30, "the endpoint is back")
        assert load.go_on(6).keys() == {NODE, POD_GATEWAY}
    finally:
        load.stop()
        kinds.put(ENDPOINTSLICES, BOTH)
    assert load.losses == []

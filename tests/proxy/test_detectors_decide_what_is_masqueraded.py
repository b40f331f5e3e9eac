"""Traffic to ClusterIPs is masqueraded as detectLocalMode says, with real packets through real IPVS.

The configuration file changes while the proxy runs, and so do the node's podCIDRs.
"""

from typing import NamedTuple

import pytest

from strictarp.kube.objects import NODES
from support.forked import until
from support.more_traffic import FAR, INNER, SPREAD_CLUSTER_IP6
from support.traffic import (
    CLIENT,
    CLIENT6,
    CLUSTER_IP6,
    NODE,
    NODE6,
    POD,
    POD6,
    POD_GATEWAY,
    POD_GATEWAY6,
    World,
)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

CLUSTER_CIDR = "clusterCIDR: 198.51.100.0/24,2001:db8:2::/64"
NODE_CIDR = "detectLocalMode: NodeCIDR"


class Seen(NamedTuple):
    """Who calls, after the backends: a pod one on another node, and a client one on this node."""

    pod: str
    client: str


class Step(NamedTuple):
    """A configuration, the Node's podCIDRs, and what is seen then by IPv4 and IPv6."""

    lines: str
    pod_cidrs: tuple[str, ...]
    seen: Seen
    seen6: Seen


STEPS = (
    Step(
        "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: br}", (),
        Seen(NODE, CLIENT), Seen(NODE6, CLIENT6),
    ),
    # A family without a network has no detector.
    Step(NODE_CIDR, (), Seen(POD, CLIENT), Seen(POD6, CLIENT6)),
    Step(NODE_CIDR, ("198.51.100.16/28",), Seen(POD, POD_GATEWAY), Seen(POD6, CLIENT6)),
    Step(
        NODE_CIDR, ("198.51.100.32/28", "2001:db8:2::/64"), Seen(NODE, POD_GATEWAY), Seen(POD6, POD_GATEWAY6)
    ),
    Step("iptables: {masqueradeAll: true}", (), Seen(NODE, POD_GATEWAY), Seen(NODE6, POD_GATEWAY6)),
    Step(
        "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: pod0}", (),
        Seen(POD, POD_GATEWAY), Seen(POD6, POD_GATEWAY6),
    ),
    Step("detectLocalMode: ClusterCIDR", (), Seen(POD, CLIENT), Seen(POD6, CLIENT6)),
    Step(CLUSTER_CIDR, (), Seen(POD, POD_GATEWAY), Seen(POD6, POD_GATEWAY6)),
)  # fmt: skip
"""Each is seen otherwise than the one before, so that an answer tells that it is in force."""


def _seen(kinds: World) -> tuple[set[str], ...]:
    # The ClusterIP that the pod calls by IPv6 has two backends, and the pod itself is one of them.
    pod6 = kinds.callers(SPREAD_CLUSTER_IP6, 80, "pod", count=2) - {POD_GATEWAY6}
    return (
        kinds.callers(FAR, 80, "pod", count=1),
        kinds.callers(INNER, 80, count=1),
        pod6,
        kinds.callers(CLUSTER_IP6, 80, count=1),
    )


def test_traffic_to_cluster_ips_is_masqueraded_as_each_detector_says(kinds: World) -> None:
    file, node = kinds.folder / "config", {"metadata": {"name": "node1"}}
    text = file.read_text()
    assert CLUSTER_CIDR in text
    cidrs: tuple[str, ...] = ()
    try:
        for step in STEPS:
            file.write_text(text.replace(CLUSTER_CIDR, step.lines))
            if step.pod_cidrs != cidrs:
                cidrs = step.pod_cidrs
                kinds.put(NODES, {**node, "spec": {"podCIDRs": list(cidrs)}})
            wanted = tuple({address} for address in (*step.seen, *step.seen6))
            until(lambda wanted=wanted: _seen(kinds) == wanted, 30, str(step))
            assert kinds.callers(FAR, 80, "node", count=1) == {NODE}
    finally:
        file.write_text(text)
        kinds.put(NODES, node)

"""The lab's network on paper: names, addresses and the iproute2 lines that build it. Pure.

One segment (a bridge in the namespace `wire`) joins the client, which is also the nodes' default gateway, and
the nodes. A second bridge joins everybody to the control plane, so that a cut segment does not cut the API.
Each node has one pod in a namespace of its own.
"""

from __future__ import annotations

import ipaddress

import msgspec

SEGMENT = ipaddress.IPv4Network("192.0.2.0/24")
MANAGEMENT = ipaddress.IPv4Network("203.0.113.0/25")
SERVICES = ipaddress.IPv4Network("203.0.113.128/25")
PODS = ipaddress.IPv4Network("198.51.100.0/24")
POOL = "192.0.2.100-192.0.2.119"
POD_SUBNET_BITS = 28

WIRE = "wire"
CONTROL_PLANE = "control-plane"
CLIENT = "client"
CLIENT_ADDRESS = str(SEGMENT[1])
CONTROL_PLANE_ADDRESS = str(MANAGEMENT[1])
API_URL = f"http://{CONTROL_PLANE_ADDRESS}:6443"
UNUSED_ADDRESS = str(SEGMENT[200])
MAX_NODES = 9
WITNESS_LINK, WITNESS_PORT, WITNESS_MAC = "witness0", "p-witness", "02:00:00:00:00:fe"
STAND_IN = "kube-ipvs0"


class Host(msgspec.Struct, frozen=True):
    """A host on the segment: the client, or a node with its pod."""

    name: str
    address: str
    mac: str
    management: str
    pod_subnet: str = ""
    pod_gateway: str = ""
    pod_address: str = ""

    @property
    def port(self) -> str:
        """Name of the segment's port that this host's cable is in."""
        return f"p-{self.name}"

    @property
    def management_port(self) -> str:
        """Name of the management network's port of this host."""
        return f"m-{self.name}"

    @property
    def pod(self) -> str:
        """Name of the namespace of this node's pod."""
        return f"pod-{self.name}"


def with_next_mac(host: Host) -> Host:
    """The host with a card that it never had: the last byte but one counts up."""
    head, count, last = host.mac[:-6], int(host.mac[-5:-3], 16), host.mac[-2:]
    return msgspec.structs.replace(host, mac=f"{head}:{(count + 1) & 0xFF:02x}:{last}")


def client() -> Host:
    """The client and gateway."""
    return Host(CLIENT, CLIENT_ADDRESS, "02:00:00:00:00:c1", str(MANAGEMENT[2]))


def nodes(count: int) -> tuple[Host, ...]:
    """The nodes node1 to nodeN; raises ValueError outside 1 to MAX_NODES."""
    if not 1 <= count <= MAX_NODES:
        raise ValueError(f"a lab has 1 to {MAX_NODES} nodes, not {count}")
    subnets = list(PODS.subnets(new_prefix=POD_SUBNET_BITS))
    return tuple(
        Host(
            name=f"node{number}",
            address=str(SEGMENT[10 + number]),
            mac=f"02:00:00:00:00:{number:02x}",
            management=str(MANAGEMENT[10 + number]),
            pod_subnet=str(subnets[number]),
            pod_gateway=str(subnets[number][1]),
            pod_address=str(subnets[number][2]),
        )
        for number in range(1, count + 1)
    )


def bridge_lines(bridge: str) -> list[str]:
    """A switch. No STP, no snooping: a port forwards at once."""
    return [
        f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"link set {bridge} up",
    ]


def wire_lines() -> list[str]:
    """The two switches, in the namespace `wire`."""
    return [*bridge_lines("segment"), *bridge_lines("management")]


def address_lines(host: Host) -> list[str]:
    """Addresses of a host whose cables `eth0` and `mgmt0` are in."""
    return [
        f"addr add {host.address}/{SEGMENT.prefixlen} dev eth0",
        f"addr add {host.management}/{MANAGEMENT.prefixlen} dev mgmt0",
    ]


def client_routes(all_nodes: tuple[Host, ...]) -> list[str]:
    """The client reaches pods by way of their nodes, as a top-of-rack router would."""
    return [f"route add {node.pod_subnet} via {node.address}" for node in all_nodes]


def segment_routes(node: Host, all_nodes: tuple[Host, ...]) -> list[str]:
    """A node's routes by way of the segment: the default route, and the pods of the other nodes."""
    lines = [f"route add default via {CLIENT_ADDRESS}"]
    lines += [
        f"route add {other.pod_subnet} via {other.address}" for other in all_nodes if other.name != node.name
    ]
    return lines


def node_routes(node: Host, all_nodes: tuple[Host, ...]) -> list[str]:
    """All routes of a node: those of the segment, and its own pod's subnet."""
    own = f"addr add {node.pod_gateway}/{POD_SUBNET_BITS} dev pod0"
    return [*segment_routes(node, all_nodes), own]


def pod_lines(node: Host) -> list[str]:
    """The pod's address and its way out."""
    return [
        f"addr add {node.pod_address}/{POD_SUBNET_BITS} dev eth0",
        f"route add default via {node.pod_gateway}",
    ]

"""The lab's network in the kernel: builds what `layout` says, cuts and mends cables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from strictarp.lab import layout, namespaces
from strictarp.lab.namespaces import Namespace

# Every namespace starts from these, whatever the host has: new namespaces may inherit the host's values.
BOOT_SYSCTLS: Mapping[str, str] = {
    f"net/ipv4/conf/{scope}/{key}": "0"
    for key in ("arp_ignore", "arp_announce", "rp_filter")
    for scope in ("all", "default")
}
ROUTER_SYSCTLS: Mapping[str, str] = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/send_redirects": "0"}
SHOWN_SYSCTLS = ("arp_ignore", "arp_announce", "rp_filter")


class Network:
    """The namespaces of a lab and the cables between them."""

    def __init__(self, node_count: int) -> None:
        self.client = layout.client()
        self.nodes = {node.name: node for node in layout.nodes(node_count)}
        self.spaces: dict[str, Namespace] = {}
        self._islands: dict[str, tuple[str, ...]] = {}

    def build(self) -> None:
        """Make everything. Raises OSError or RuntimeError with the kernel's or iproute2's message."""
        wire = self._space(layout.WIRE)
        namespaces.ip(wire, *layout.wire_lines())
        ends = ((wire, layout.WITNESS_PORT), (wire, layout.WITNESS_LINK))
        namespaces.veth(*ends, mac_b=layout.WITNESS_MAC)
        namespaces.ip(wire, f"link set {layout.WITNESS_PORT} master segment")
        control = self._space(layout.CONTROL_PLANE)
        namespaces.veth((wire, "m-control"), (control, "mgmt0"))
        namespaces.ip(wire, "link set m-control master management")
        prefix = layout.MANAGEMENT.prefixlen
        namespaces.ip(control, f"addr add {layout.CONTROL_PLANE_ADDRESS}/{prefix} dev mgmt0")
        self._connect(self.client)
        for name in self.nodes:
            self.build_node(name)
        namespaces.ip(self.spaces[layout.CLIENT], *layout.client_routes(tuple(self.nodes.values())))

    def _space(self, name: str, sysctls: Mapping[str, str] = BOOT_SYSCTLS) -> Namespace:
        space = namespaces.create(name)
        write_sysctls(space, sysctls)
        self.spaces[name] = space
        return space

    def _connect(self, host: layout.Host) -> Namespace:
        """A namespace for a host, with its two cables and addresses."""
        wire = self.spaces[layout.WIRE]
        space = self._space(host.name, {**BOOT_SYSCTLS, **ROUTER_SYSCTLS})
        namespaces.veth((wire, host.port), (space, "eth0"), mac_b=host.mac)
        namespaces.veth((wire, host.management_port), (space, "mgmt0"))
        namespaces.ip(
            wire,
            f"link set {host.port} master segment",
            f"link set {host.management_port} master management",
        )
        namespaces.ip(space, *layout.address_lines(host))
        return space

    def build_node(self, name: str) -> None:
        """Make a node and its pod, as after power-on: nothing is left of what it was before."""
        node = self.nodes[name]
        space = self._connect(node)
        pod = self._space(node.pod)
        namespaces.veth((space, "pod0"), (pod, "eth0"))
        namespaces.ip(pod, *layout.pod_lines(node))
        namespaces.ip(space, *layout.node_routes(node, tuple(self.nodes.values())))

    def cut(self, name: str) -> None:
        """Pull both cables of a host, on the switch's side."""
        host = self.host(name)
        namespaces.set_links(self.spaces[layout.WIRE], host.port, host.management_port, up=False)

    def forget_node(self, name: str) -> None:
        """Let go of a node that is off: its namespaces end with their last process."""
        host = self.nodes[name]
        namespaces.ip(self.spaces[layout.WIRE], f"link del {host.port}", f"link del {host.management_port}")
        for space in (host.name, host.pod):
            self.spaces.pop(space).close()

    def set_cable(self, name: str, *, plugged: bool) -> None:
        """Pull the segment's cable of a host, or put it in again, on the switch's side."""
        namespaces.set_links(self.spaces[layout.WIRE], self.host(name).port, up=plugged)

    def divide(self, islands: Sequence[Sequence[str]]) -> None:
        """Give each island a switch of its own; hosts that are not named stay where they are."""
        for names in islands:
            bridge = f"island{len(self._islands) + 1}"
            self._islands[bridge] = tuple(names)
            lines = [f"link set {self.host(name).port} master {bridge}" for name in names]
            namespaces.ip(self.spaces[layout.WIRE], *layout.bridge_lines(bridge), *lines)

    def join(self) -> None:
        """All hosts on one segment again."""
        wire = self.spaces[layout.WIRE]
        for bridge, names in self._islands.items():
            ports = [self.host(name).port for name in names if name in self.spaces]
            lines = [f"link set {port} master segment" for port in ports]
            namespaces.ip(wire, *lines, f"link del {bridge}")
        self._islands.clear()

    def remove_card(self, name: str) -> None:
        """A node's card on the segment is gone, with its addresses and routes."""
        namespaces.ip(self.spaces[layout.WIRE], f"link del {self.nodes[name].port}")

    def insert_card(self, name: str) -> None:
        """Another card in its place: another index, another MAC, the same addresses and routes."""
        node = self.nodes[name] = layout.with_next_mac(self.nodes[name])
        wire, space = self.spaces[layout.WIRE], self.spaces[name]
        namespaces.veth((wire, node.port), (space, "eth0"), mac_b=node.mac)
        namespaces.ip(wire, f"link set {node.port} master segment")
        address = f"addr add {node.address}/{layout.SEGMENT.prefixlen} dev eth0"
        namespaces.ip(space, address, *layout.segment_routes(node, tuple(self.nodes.values())))

    def change_mac(self, name: str) -> None:
        """The card of a node has another MAC from now on."""
        node = self.nodes[name] = layout.with_next_mac(self.nodes[name])
        namespaces.ip(self.spaces[name], f"link set eth0 address {node.mac}")

    def set_delay(self, name: str, *, delay_ms: float, jitter_ms: float) -> None:
        """Delay what the segment sends to a host, as real switches and drivers do."""
        argv = ["tc", "qdisc", "replace", "dev", self.host(name).port, "root", "netem"]
        argv += ["delay", f"{delay_ms}ms", f"{jitter_ms}ms", "limit", "10000"]
        namespaces.run(self.spaces[layout.WIRE], argv)

    def host(self, name: str) -> layout.Host:
        """The host of that name; raises KeyError."""
        return self.client if name == layout.CLIENT else self.nodes[name]

    def shown_sysctls(self, name: str) -> dict[str, str]:
        """The values of arp_ignore, arp_announce and rp_filter that are in force for `all` in a namespace."""
        with namespaces.entered(self.spaces[name]):
            root = Path("/proc/sys/net/ipv4/conf/all")
            return {key: (root / key).read_text(encoding="ascii").strip() for key in SHOWN_SYSCTLS}


def write_sysctls(space: Namespace, values: Mapping[str, str]) -> None:
    """Write sysctls, named by their path below /proc/sys, in a namespace. Raises OSError."""
    with namespaces.entered(space):
        for path, value in values.items():
            Path("/proc/sys", path).write_text(value, encoding="ascii")

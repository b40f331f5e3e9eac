"""What all nodes and the cluster show together, worked out once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from ipaddress import IPv4Address

import msgspec

from strictarp.arp.facts import LOOPBACK, VIP_DEVICE, Device, Host
from strictarp.arp.losses import is_enslaved
from strictarp.arp.uplinks import default_route_devices, devices_covering
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.node.view import NodeView
from strictarp.wire.vips import service_vips


class Scene(msgspec.Struct, frozen=True, dict=True):
    """All that was seen, with what follows from it once for all nodes."""

    cluster: ClusterView | None
    nodes: Mapping[str, NodeView]

    @cached_property
    def announced(self) -> frozenset[int] | None:
        """IPv4 addresses that Services show to the outside and that are asked for by ARP.

        None when the cluster was not looked at. Where nothing announces on the segment (BGP alone), only
        those in a subnet of a node are.
        """
        cluster = self.cluster
        if cluster is None:
            return None
        texts = service_vips(cluster.objects.services)
        found = frozenset(int(each) for each in texts if isinstance(each, IPv4Address))
        if any(each.layer2 for each in cluster.announcers):
            return found
        return frozenset(each for each in found if self._is_on_link(each))

    @cached_property
    def vips(self) -> frozenset[int]:
        """All that clients ask for by ARP: by the Services, else by what the nodes hold on kube-ipvs0."""
        if self.announced is not None:
            return self.announced
        views = self.nodes.values()
        held = {each.local for view in views for each in view.host.on_device.get(VIP_DEVICE, ())}
        return frozenset(each for each in held if self._is_on_link(each))

    def _is_on_link(self, address: int) -> bool:
        return any(on_link(view.host, address) for view in self.nodes.values())

    @cached_property
    def own_addresses(self) -> Mapping[int, str]:
        """Addresses that are a node's own → the node: by the API, and those with a subnet on an interface."""
        found = {
            each.local: view.node
            for view in self.nodes.values()
            for each in view.host.addresses
            if each.prefix < 32 and not each.secondary and each.device not in (LOOPBACK, VIP_DEVICE)
        }
        cluster = self.cluster
        for node in cluster.objects.nodes if cluster is not None else ():
            for address in node.status.addresses or ():
                if address.type in ("InternalIP", "ExternalIP") and is_ipv4(address.address):
                    found.setdefault(int(IPv4Address(address.address)), node.metadata.name)
        return found

    @cached_property
    def uplinks(self) -> Mapping[str, tuple[str, ...]]:
        """Node → the interfaces that clients come in by: with a default route, or in the subnet of a VIP."""
        return {view.node: tuple(self._uplinks_of(view.host)) for view in self.nodes.values()}

    def _uplinks_of(self, host: Host) -> Iterable[str]:
        covering = devices_covering(host, self.vips)
        found = [each.name for each in host.devices if each.name in covering and is_plain(host, each)]
        return dict.fromkeys([*default_route_devices(host), *found])


def is_ipv4(text: str) -> bool:
    """It is an IPv4 address."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def on_link(host: Host, address: int, device: str = "") -> bool:
    """A subnet of an interface (of `device`) covers it: its hosts ask for it by ARP."""
    return any(
        each.prefix < 32 and each.covers(address)
        for name, addresses in host.on_device.items()
        if name not in (LOOPBACK, VIP_DEVICE) and device in ("", name)
        for each in addresses
    )


def is_plain(host: Host, device: Device) -> bool:
    """It may be an uplink: not lo, kube-ipvs0, or a port of something."""
    return device.name not in (LOOPBACK, VIP_DEVICE) and not is_enslaved(host, device)

"""`lab up --proxy none`: VIPs on a stand-in for kube-ipvs0, without IPVS.

A port-less bridge with ARP off behaves for ARP as the dummy device does, and every kernel has it. Each node
serves the VIPs itself.
"""

from __future__ import annotations

import logging

from strictarp.kube.cache import Cache, Delta
from strictarp.kube.client import Client
from strictarp.kube.objects import SERVICES, Service
from strictarp.lab import layout, namespaces
from strictarp.lab.topology import Network, write_sysctls

log = logging.getLogger(__name__)

STRICT_ARP = {"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2"}


def prepare_node(network: Network, name: str) -> None:
    """Give a node the stand-in device, and strictARP, since no proxy will."""
    space = network.spaces[name]
    namespaces.ip(space, f"link add {layout.STAND_IN} type bridge", f"link set {layout.STAND_IN} arp off")
    write_sysctls(space, STRICT_ARP)


def addresses(service: Service | None) -> set[str]:
    """The IPv4 addresses in a Service's load balancer status."""
    ingress = service.status.load_balancer.ingress if service else None
    return {entry.ip for entry in ingress or () if entry.ip and ":" not in entry.ip}


class StandIn:
    """Binds every VIP on the stand-in device of every node."""

    def __init__(self, network: Network, client: Client) -> None:
        self._network = network
        self._bound: set[str] = set()
        self._services = Cache(client, SERVICES, on_delta=self._on_service)

    async def run(self) -> None:
        """Follow the Services, forever."""
        await self._services.run()

    def _on_service(self, delta: Delta[Service]) -> None:
        before, after = addresses(delta.old), addresses(delta.new)
        for address in sorted(after - before):
            self._everywhere(f"addr add {address}/32 dev {layout.STAND_IN}")
        for address in sorted(before - after):
            self._everywhere(f"addr del {address}/32 dev {layout.STAND_IN}")
        self._bound = (self._bound - before) | after

    def _everywhere(self, line: str) -> None:
        for name in self._network.nodes:
            if name in self._network.spaces:
                namespaces.ip(self._network.spaces[name], line)

    def restore_node(self, name: str) -> None:
        """Bind what is bound everywhere on a node that came back."""
        prepare_node(self._network, name)
        lines = [f"addr add {address}/32 dev {layout.STAND_IN}" for address in sorted(self._bound)]
        if lines:
            namespaces.ip(self._network.spaces[name], *lines)

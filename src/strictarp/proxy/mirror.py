"""What we believe the kernel holds of ours: read from it in full looks, followed by what was done. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from strictarp.netlink.ipvs import Key, VirtualServer
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    ChangeSets,
    Element,
    Operation,
    RemoveReal,
    RemoveServer,
    SetReal,
    SetServer,
    UnbindAddress,
)
from strictarp.proxy.seam import KernelView, Place


class Held(msgspec.Struct):
    """A virtual server in the kernel; weights of its real servers."""

    server: VirtualServer
    reals: dict[Place, int]


class Mirror:
    """Virtual servers, addresses of kube-ipvs0 and set elements."""

    def __init__(self) -> None:
        self.servers: dict[Key, Held] = {}
        self.bound: set[bytes] = set()
        self.elements: set[Element] = set()

    def size(self) -> int:
        """How many virtual servers, real servers and addresses there are."""
        return len(self.servers) + sum(len(held.reals) for held in self.servers.values()) + len(self.bound)

    def look(
        self, view: KernelView, ours: Callable[[Key], bool], our_address: Callable[[bytes], bool]
    ) -> None:
        """Replace virtual servers and addresses by what was seen; what is not ours stays out."""
        self.bound = {address for address in view.bound if our_address(address)}
        self.servers = {
            key: Held(held.server, {place: state.server.weight for place, state in held.reals.items()})
            for key, held in view.servers.items()
            if ours(key)
        }

    def record(self, operation: Operation) -> None:
        """An operation was carried out."""
        match operation:
            case AddServer(server):
                self.servers.setdefault(server.key, Held(server, {})).server = server
            case SetServer(server):
                self.servers[server.key].server = server
            case RemoveServer(key):
                self.servers.pop(key, None)
            case AddReal(key, real) | SetReal(key, real):
                if key in self.servers:
                    self.servers[key].reals[(real.address, real.port)] = real.weight
            case RemoveReal(key, real):
                if key in self.servers:
                    self.servers[key].reals.pop((real.address, real.port), None)
            case BindAddress(address):
                self.bound.add(address)
            case UnbindAddress(address):
                self.bound.discard(address)
            case ChangeSets(add, remove):
                self.elements.update(add)
                self.elements.difference_update(remove)

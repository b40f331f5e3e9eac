"""What we believe the kernel holds of ours: read from it in full looks, followed by what was done. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from strictarp.netlink.ipvs import Key, RealServer, VirtualServer
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


class Held:
    """A virtual server in the kernel.

    Nearly always it has just the real servers that are wanted: then it refers to them (`as_wanted`), which
    costs no memory of its own, and telling that nothing is to be done costs one look.
    """

    __slots__ = ("_reals", "_wanted", "server")

    def __init__(self, server: VirtualServer, reals: dict[Place, int]) -> None:
        self.server = server
        self._reals: dict[Place, int] | None = reals
        self._wanted: tuple[RealServer, ...] = ()

    @property
    def reals(self) -> Mapping[Place, int]:
        """Weights of its real servers."""
        if self._reals is None:
            return {(real.address, real.port): real.weight for real in self._wanted}
        return self._reals

    @property
    def empty(self) -> bool:
        """It has no real server."""
        return not (self._wanted if self._reals is None else self._reals)

    def has(self, reals: tuple[RealServer, ...]) -> bool:
        """It refers to exactly these real servers."""
        return self._reals is None and self._wanted is reals

    def as_wanted(self, reals: tuple[RealServer, ...]) -> None:
        """Refer to what is wanted from now on, if it is the same."""
        if self._reals is None:
            if self._wanted == reals:
                self._wanted = reals
            return
        if len(reals) == len(self._reals) and all(
            self._reals.get((real.address, real.port)) == real.weight for real in reals
        ):
            self._reals, self._wanted = None, reals

    def own(self) -> dict[Place, int]:
        """Weights of its real servers, to be changed."""
        if self._reals is None:
            self._reals, self._wanted = dict(self.reals), ()
        return self._reals


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
        match operation:  # the most frequent first
            case AddReal(key, real) | SetReal(key, real):
                if key in self.servers:
                    self.servers[key].own()[(real.address, real.port)] = real.weight
            case AddServer(server):
                self.servers.setdefault(server.key, Held(server, {})).server = server
            case SetServer(server):
                self.servers[server.key].server = server
            case RemoveServer(key):
                self.servers.pop(key, None)
            case RemoveReal(key, real):
                if key in self.servers:
                    self.servers[key].own().pop((real.address, real.port), None)
            case BindAddress(address):
                self.bound.add(address)
            case UnbindAddress(address):
                self.bound.discard(address)
            case ChangeSets(add, remove):
                self.elements.update(add)
                self.elements.difference_update(remove)

"""Drives engine and syncer turn by turn on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterable

from strictarp.kube.objects import EndpointSlice, Service
from strictarp.netlink.ipvs import RealServer, VirtualServer
from strictarp.proxy import nftables
from strictarp.proxy.config import Config
from strictarp.proxy.engine import Engine
from strictarp.proxy.metrics import Metrics
from strictarp.proxy.operations import Element
from strictarp.proxy.plan import plan_objects
from strictarp.proxy.seam import Kernel
from strictarp.proxy.situation import NodeFacts, Situation, situation
from strictarp.proxy.sync import Syncer
from support.model_kernel import ModelKernel

NODE = NodeFacts("node1", (bytes([192, 0, 2, 11]),), (bytes([192, 0, 2, 11]),))
HOUR = 3600.0

State = tuple[dict[VirtualServer, frozenset[RealServer]], frozenset[bytes], frozenset[Element]]


class Node:
    """One proxy without its shell. `objects` is what the API holds."""

    def __init__(self, kernel: Kernel, config: Config | None = None, *, full_look: float = 60.0) -> None:
        self.config = config or Config()
        self.kernel = kernel
        self.services: dict[str, Service] = {}
        self.slices: dict[str, EndpointSlice] = {}
        self.engine = Engine(self.config, situation(self.config, NODE), 900.0)
        self.now = 1000.0
        self.metrics = Metrics()
        self.syncer = Syncer(
            self.engine,
            kernel,
            lambda elements: nftables.whole_table(self.config, (), elements),
            min_period=0.0,
            full_look=full_look,
            metrics=self.metrics,
            clock=lambda: self.now,
        )

    def put(self, *items: Service | EndpointSlice) -> None:
        for item in items:
            if isinstance(item, Service):
                self.services[item.key] = item
                self.engine.store.service(item.key, item)
            else:
                self.engine.store.slice(item.key, self.slices.get(item.key), item)
                self.slices[item.key] = item

    def delete(self, *keys: str) -> None:
        for key in keys:
            if key in self.services:
                del self.services[key]
                self.engine.store.service(key, None)
            elif key in self.slices:
                self.engine.store.slice(key, self.slices.pop(key), None)

    async def turn(self, after: float = 0.0) -> None:
        self.now += after
        await self.syncer.turn()

    async def turns(self, count: int, after: float) -> None:
        for _ in range(count):
            await self.turn(after)


def planned(services: Iterable[Service], slices: Iterable[EndpointSlice], facts: Situation) -> State:
    """What a fresh plan says, in the form of `programmed`."""
    desired, _ = plan_objects(services, slices, facts)
    exposures = [desired.exposure(key) for key in tuple(desired.keys())]
    return (
        {each.server: frozenset(each.reals) for each in exposures if each is not None},
        frozenset(desired.bound),
        frozenset(desired.elements),
    )


def programmed(kernel: ModelKernel) -> State:
    """What the model holds."""
    return (
        {server: frozenset(reals.values()) for server, reals in kernel.servers.values()},
        frozenset(kernel.bound),
        frozenset(kernel.elements),
    )

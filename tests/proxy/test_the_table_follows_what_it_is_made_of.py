"""Our nftables table is loaded anew when its text changes: also while nft works, or fails."""

import asyncio

import pytest

from strictarp.proxy.config import Config
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node, planned, programmed

BIT = 5
MARK = f"meta mark | {1 << BIT:#x}"


class GatedKernel(ModelKernel):
    """nft waits at the place `stops` until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.stopped = asyncio.Event(), asyncio.Event()
        self.stops = ""

    async def load_rules(self, text: str) -> None:
        await self._stop("before it loads")
        await super().load_rules(text)
        await self._stop("before it says so")

    async def list_rules(self, family: str, table: str, *, elements: bool = True) -> bytes:
        if not elements:
            await self._stop("before it lists")
        return await super().list_rules(family, table, elements=elements)

    async def _stop(self, here: str) -> None:
        if here == self.stops:
            self.stopped.set()
            await self.gate.wait()


def _node(kernel: ModelKernel) -> Node:
    node = Node(kernel, full_look=3600.0)
    node.put(service("web", "203.0.113.10"), endpoint_slice("web", ["198.51.100.1"]))
    return node


def _change(node: Node, config: Config) -> None:
    node.config = config
    node.syncer.reload_table()


@pytest.mark.parametrize("stops", ["before it loads", "before it says so", "before it lists"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_change_while_nft_works_is_loaded_next(stops: str, first: bool) -> None:
    kernel = GatedKernel()
    node = _node(kernel)
    if not first:
        await node.turn()
        _change(node, Config(masquerade_all=True))
    kernel.stops = stops
    turn = asyncio.create_task(node.turn())
    await kernel.stopped.wait()
    _change(node, Config(masquerade_bit=BIT))
    kernel.gate.set()
    await turn
    before = kernel.loads
    await node.turn()
    assert MARK in kernel.rules
    assert kernel.loads == before + 1
    await node.turn()
    assert kernel.loads == before + 1
    assert programmed(kernel) == planned(node.services.values(), node.slices.values(), node.engine.facts)


async def test_a_change_that_nft_refuses_is_loaded_once_it_does_not() -> None:
    kernel = ModelKernel()
    node = _node(kernel)
    await node.turn()
    kernel.rules_fail = True
    _change(node, Config(masquerade_bit=BIT))
    await node.turns(3, 0.1)
    assert node.syncer.failing
    kernel.rules_fail = False
    await node.turn(0.1)
    assert MARK in kernel.rules
    assert not node.syncer.failing


async def test_a_repair_that_nft_refuses_holds_up_no_endpoints() -> None:
    kernel = ModelKernel()
    node = _node(kernel)
    await node.turn()
    kernel.rules += "  # somebody's"
    kernel.rules_fail = True
    await node.turn(3601.0)
    assert node.syncer.failing
    node.put(endpoint_slice("web", ["198.51.100.1", "198.51.100.2"]))
    await node.turn(0.1)
    [(_, reals)] = kernel.servers.values()
    assert len(reals) == 2

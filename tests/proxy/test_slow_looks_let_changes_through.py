"""The periodic comparison of a large table with the kernel holds no change up, and still finds drift."""

import asyncio
from collections.abc import Mapping

import pytest

from strictarp.netlink.ipvs import Key, RealServerState
from strictarp.proxy import slow_look
from strictarp.proxy.seam import KernelRefused, KernelView, Place
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node

ADDRESSES = [f"203.0.113.{number}" for number in range(10, 16)]


class GatedKernel(ModelKernel):
    """A slow look comes to a real server only when the gate is open. `views`: looks at once."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.views = 0
        self.asked = 0
        self.breaks = False

    async def view(self) -> KernelView:
        self.views += 1
        return await super().view()

    async def reals(self, key: Key) -> Mapping[Place, RealServerState]:
        self.asked += 1
        found = await super().reals(key)
        await self.gate.wait()
        if self.breaks:
            raise KernelRefused("the dump was interrupted")
        return found


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(slow_look, "FEW", 0)
    made = Node(GatedKernel())
    for number, address in enumerate(ADDRESSES):
        made.put(service(f"web-{number}", address), endpoint_slice(f"web-{number}", [f"198.51.100.{number}"]))
    await made.turn()
    return made


def _kernel(node: Node) -> GatedKernel:
    assert isinstance(node.kernel, GatedKernel)
    return node.kernel


async def _slow_look(node: Node) -> None:
    """It is due, and comes as far as the gate lets it."""
    await node.turn(after=61.0)
    for _ in range(50):
        await asyncio.sleep(0)


async def test_changes_go_on_while_it_looks_and_are_no_drift(node: Node) -> None:
    kernel, drift = _kernel(node), list[int]()
    node.syncer.on_drift = drift.append
    await _slow_look(node)
    assert (kernel.asked, kernel.views) == (1, 1)
    for number in range(len(ADDRESSES)):
        node.put(endpoint_slice(f"web-{number}", [f"198.51.100.{100 + number}"]))
    kernel.log.clear()
    await node.turn()
    assert len(kernel.log) == 2 * len(ADDRESSES), "an addition and a weight of 0 each"
    kernel.gate.set()
    await _slow_look(node)
    assert (kernel.views, drift) == (1, [])


async def test_what_others_changed_is_found_repaired_and_told(node: Node) -> None:
    kernel, drift = _kernel(node), list[int]()
    node.syncer.on_drift = drift.append
    kernel.gate.set()
    del kernel.servers[max(kernel.servers)][1][(bytes([198, 51, 100, 5]), 8080)]
    await _slow_look(node)
    await node.turn()
    assert (kernel.views, drift) == (2, [1])
    assert len(kernel.servers[max(kernel.servers)][1]) == 1


@pytest.mark.parametrize("part", ["address", "element", "server", "rules"])
async def test_every_part_is_compared(node: Node, part: str) -> None:
    kernel = _kernel(node)
    kernel.gate.set()
    if part == "address":
        kernel.bound.pop()
    elif part == "element":
        kernel.elements.pop()
    elif part == "server":
        del kernel.servers[max(kernel.servers)]
    else:
        kernel.rules += "  # somebody's"
    before = kernel.views
    await _slow_look(node)
    await node.turn()
    assert kernel.views == before + 1


async def test_one_that_fails_is_followed_by_a_look_at_once(node: Node) -> None:
    kernel = _kernel(node)
    kernel.breaks = True
    kernel.gate.set()
    await _slow_look(node)
    await node.turn()
    assert kernel.views == 2
    assert not node.syncer.failing

"""Somebody else flushes or changes what is programmed: it is repaired soon, counted, and told."""

from collections.abc import Callable

import pytest

from strictarp.netlink.ipvs import VirtualServer
from strictarp.proxy.config import Config
from strictarp.proxy.fields import parse_network
from strictarp.proxy.operations import AddServer, RemoveServer
from strictarp.proxy.seam import KernelView
from strictarp.proxy.sync import WATCH_SECONDS
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node, planned, programmed

VIP = bytes([203, 0, 113, 10])
OBJECTS = (service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))


class GoingTable(ModelKernel):
    """Loses the table behind the back of the look that has just listed it; `on_view` is told of it."""

    on_view: Callable[[], None] | None = None

    async def view(self) -> KernelView:
        told, self.on_view = self.on_view, None
        if told is not None:
            self.rules, self.elements = "", set()
            told()
        return await super().view()


def _node(kernel: ModelKernel, config: Config | None = None) -> tuple[Node, list[int]]:
    node, told = Node(kernel, config), []
    node.syncer.on_drift = told.append
    node.put(*OBJECTS)
    return node, told


def _as_planned(node: Node) -> bool:
    return programmed(node.kernel) == planned(node.services.values(), node.slices.values(), node.engine.facts)


async def test_a_flush_is_seen_within_seconds_without_any_change_of_objects() -> None:
    kernel = ModelKernel()
    node, told = _node(kernel)
    await node.turns(2, 1.0)
    assert told == []
    kernel.flush()
    await node.turn(WATCH_SECONDS)
    assert _as_planned(node)
    assert len(told) == 1


async def test_a_flush_of_ipvs_alone_is_seen_too() -> None:
    kernel = ModelKernel()
    node, told = _node(kernel)
    await node.turn()
    kernel.servers.clear()
    await node.turn(WATCH_SECONDS)
    assert _as_planned(node)
    assert told == [2]


async def test_a_change_that_meets_a_flush_makes_nothing_piecemeal_but_repairs_everything_at_once() -> None:
    kernel = ModelKernel()
    node, told = _node(kernel)
    node.put(service("b", "203.0.113.11"), endpoint_slice("b", ["198.51.100.1"]))
    await node.turn()
    kernel.flush()
    kernel.log.clear()
    node.put(endpoint_slice("a", ["198.51.100.1", "198.51.100.2"]))
    await node.turn()
    assert _as_planned(node)
    assert node.syncer.failing == ""
    assert len(told) == 1
    assert sum(isinstance(operation, AddServer) for operation in kernel.log) == 2


async def test_what_was_to_change_anyhow_is_no_drift() -> None:
    kernel = ModelKernel()
    node, told = _node(kernel)
    await node.turn()
    node.put(service("b", "203.0.113.11"))
    node.delete("default/a")
    await node.turn(61.0)
    kernel.refuse = lambda operation: "no" if isinstance(operation, AddServer) else None
    node.put(service("c", "203.0.113.12"))
    await node.turn(1.0)
    kernel.refuse = lambda _: None
    await node.turns(2, 61.0)
    assert _as_planned(node)
    assert told == []


async def test_removals_that_wait_in_doubt_are_no_drift() -> None:
    kernel = ModelKernel()
    node, told = _node(kernel)
    await node.turn()
    kernel.servers[(6, VIP, 99)] = (VirtualServer(6, VIP, 99), {})
    other = Node(kernel)
    other.syncer.on_drift = told.append
    await other.turn()
    await other.turn(30.0)
    other.syncer.look_soon()
    await other.turn(1.0)
    assert told == []


async def test_a_table_that_goes_while_a_look_is_under_way_leads_to_another_look() -> None:
    kernel = GoingTable()
    node, _ = _node(kernel)
    await node.turn()
    kernel.on_view = node.syncer.look_soon
    await node.turn(61.0)
    assert not kernel.rules
    await node.turn()
    assert _as_planned(node)
    assert kernel.rules


async def test_a_tampered_table_is_drift() -> None:
    kernel = ModelKernel()
    node, told = _node(kernel)
    await node.turn()
    kernel.rules += "more"
    await node.turn(61.0)
    assert told == [1]


async def test_addresses_that_others_put_on_the_device_later_are_left_alone() -> None:
    kernel = ModelKernel()
    excluded, early, late = bytes([192, 0, 2, 77]), bytes([192, 0, 2, 78]), bytes([192, 0, 2, 79])
    kernel.bound = {excluded, early}
    node, told = _node(kernel, Config(exclude=(parse_network("192.0.2.77/32"),)))
    await node.turn()
    assert kernel.bound == {VIP, excluded}
    kernel.bound.add(late)
    await node.turn(61.0)
    assert (kernel.bound, told) == ({VIP, excluded, late}, [])


async def test_a_server_that_cannot_be_removed_keeps_its_name_until_it_can() -> None:
    """By its name in the sets the next process tells that it is ours."""
    kernel = ModelKernel()
    node, _ = _node(kernel)
    await node.turn()
    kernel.refuse = lambda operation: "busy" if isinstance(operation, RemoveServer) else None
    node.delete("default/a")
    await node.turn(1.0)
    assert {name for name, _ in kernel.elements} == {"clusterIP"}
    fresh = Node(kernel)
    fresh.put(service("b", "203.0.113.11"), endpoint_slice("b", ["198.51.100.1"]))
    kernel.refuse = lambda _: None
    await fresh.turn()
    assert {key[1] for key in kernel.servers} == {bytes([203, 0, 113, 11])}


@pytest.mark.parametrize("kind", ["table", "device"])
async def test_what_a_new_server_stands_on_is_missed_at_once(kind: str) -> None:
    kernel = ModelKernel()
    node, told = _node(kernel)
    await node.turn()
    if kind == "table":
        kernel.rules, kernel.elements = "", set()
    else:
        kernel.lose_device()
    node.put(service("b", "203.0.113.11"), endpoint_slice("b", ["198.51.100.1"]))
    await node.turn(1.0)
    assert _as_planned(node)
    assert len(told) == 1

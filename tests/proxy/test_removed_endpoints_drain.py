"""TCP endpoints that were removed keep their connections, for a bounded time."""

import pytest

from strictarp.netlink.ipvs import RealServer
from strictarp.proxy.operations import AddReal, RemoveReal, SetReal
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node

ONE, TWO = (bytes([198, 51, 100, n]) for n in (1, 2))
PLACE = (TWO, 8080)


async def drained(protocol: str = "TCP", connections: int = 3) -> tuple[ModelKernel, Node]:
    """A Service of which the second endpoint has just been removed."""
    kernel = ModelKernel()
    node = Node(kernel, full_look=1e9)
    ports = [{"name": "http", "port": 80, "protocol": protocol}]
    ends = [{"name": "http", "port": 8080, "protocol": protocol}]
    node.put(
        service("a", "203.0.113.10", ports=ports),
        endpoint_slice("a", ["198.51.100.1", "198.51.100.2"], ports=ends),
    )
    await node.turn()
    kernel.connections[(key(kernel), PLACE)] = connections
    kernel.log.clear()
    node.put(endpoint_slice("a", ["198.51.100.1"], ports=ends))
    await node.turn(1.0)
    return kernel, node


def key(kernel: ModelKernel) -> tuple[int, bytes, int]:
    return next(iter(kernel.servers))


async def test_it_gets_weight_0_and_goes_when_its_last_connection_has_gone() -> None:
    kernel, node = await drained()
    assert kernel.log == [SetReal(key(kernel), RealServer(*PLACE, 0))]
    await node.turns(5, 10.0)
    assert len(kernel.log) == 1
    kernel.connections.clear()
    await node.turn(31.0)
    assert kernel.log[1:] == [RemoveReal(key(kernel), RealServer(*PLACE, 0))]
    assert node.engine.drains.next_look() is None


async def test_without_connections_it_goes_at_the_first_look() -> None:
    kernel, node = await drained(connections=0)
    await node.turn(1.0)
    assert kernel.log[1:] == [RemoveReal(key(kernel), RealServer(*PLACE, 0))]


async def test_connections_that_never_end_are_cut_at_the_limit() -> None:
    kernel, node = await drained()
    await node.turns(29, 30.0)
    assert len(kernel.log) == 1
    await node.turns(2, 30.0)
    assert isinstance(kernel.log[-1], RemoveReal)


async def test_one_that_returns_gets_its_weight_back_and_is_never_deleted() -> None:
    kernel, node = await drained()
    node.put(endpoint_slice("a", ["198.51.100.1", "198.51.100.2"]))
    await node.turn(1.0)
    await node.turns(3, 60.0)
    assert kernel.log[1:] == [SetReal(key(kernel), RealServer(*PLACE, 1))]
    assert len(node.engine.drains) == 0


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
async def test_other_protocols_do_not_drain(protocol: str) -> None:
    kernel, _ = await drained(protocol)
    assert kernel.log == [RemoveReal(key(kernel), RealServer(*PLACE, 1))]


async def test_replacements_are_there_before_the_old_ones_leave() -> None:
    kernel, node = await drained(connections=0)
    kernel.log.clear()
    node.put(endpoint_slice("a", ["198.51.100.3"]))
    await node.turn(0.0)
    assert [type(operation) for operation in kernel.log] == [AddReal, SetReal]


async def test_looks_become_rarer_while_connections_stay() -> None:
    _, node = await drained()
    gaps = []
    for _ in range(8):
        due = node.engine.drains.next_look()
        assert due is not None
        gaps.append(due - node.now)
        await node.turn(due - node.now)
    assert gaps == [1, 2, 4, 8, 16, 30, 30, 30]

"""A deleted Service lets its TCP connections end, on the model of the kernel."""

import pytest

from strictarp.kube.objects import EndpointSlice, Service
from strictarp.netlink.ipvs import Key
from strictarp.proxy.seam import Place
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node, planned, programmed

CLUSTER, VIP, POD = bytes([203, 0, 113, 10]), bytes([192, 0, 2, 100]), bytes([198, 51, 100, 1])
KEY: Key = (6, CLUSTER, 80)
PLACE: Place = (POD, 8080)


def web(**rest: object) -> tuple[Service, EndpointSlice]:
    return service("web", "203.0.113.10", **rest), endpoint_slice("web", ["198.51.100.1"])


async def busy(*objects: Service | EndpointSlice, keys: tuple[Key, ...] = (KEY,)) -> tuple[ModelKernel, Node]:
    """Everything programmed, and a connection through each virtual server named."""
    kernel = ModelKernel()
    node = Node(kernel)
    node.put(*objects)
    await node.turns(2, 1.0)
    for key in keys:
        kernel.connections[key, PLACE] = 1
    return kernel, node


def weights(kernel: ModelKernel, key: Key = KEY) -> dict[Place, int] | None:
    held = kernel.servers.get(key)
    return {place: real.weight for place, real in held[1].items()} if held else None


async def deleted(node: Node) -> None:
    node.delete("default/web", "default/web-1")
    await node.turn(1.0)


async def test_its_connections_go_on_and_it_goes_when_they_are_over() -> None:
    kernel, node = await busy(*web())
    await deleted(node)
    await node.turns(3, 20.0)
    assert weights(kernel) == {PLACE: 0}
    assert kernel.bound == {CLUSTER}
    assert ("clusterIP", "203.0.113.10 . tcp . 80") in kernel.elements
    kernel.connections.clear()
    await node.turns(2, 31.0)
    assert programmed(kernel) == ({}, frozenset(), frozenset())
    assert kernel.violations == []


async def test_without_connections_it_goes_at_once() -> None:
    kernel, node = await busy(*web(), keys=())
    await deleted(node)
    assert programmed(kernel) == ({}, frozenset(), frozenset())


async def test_its_time_is_bounded() -> None:
    kernel, node = await busy(*web())
    await deleted(node)
    await node.turns(40, 31.0)
    assert programmed(kernel) == ({}, frozenset(), frozenset())


async def test_udp_goes_at_once() -> None:
    key = (17, CLUSTER, 80)
    ports = [{"name": "http", "port": 80, "protocol": "UDP"}]
    piece = endpoint_slice("web", ["198.51.100.1"], ports=[{"name": "http", "port": 8080, "protocol": "UDP"}])
    kernel, node = await busy(service("web", "203.0.113.10", ports=ports), piece, keys=(key,))
    await deleted(node)
    assert kernel.servers == {}


async def test_an_address_of_the_load_balancer_is_released_at_once() -> None:
    vip = (6, VIP, 80)
    kernel, node = await busy(*web(type="LoadBalancer", ingress=["192.0.2.100"]), keys=(KEY, vip))
    await deleted(node)
    assert kernel.bound == {CLUSTER}
    assert kernel.servers.keys() == {KEY}


async def test_another_service_that_wants_address_and_port_has_them_at_once() -> None:
    kernel, node = await busy(*web())
    await deleted(node)
    assert weights(kernel) == {PLACE: 0}
    other = service("other", "203.0.113.10")
    node.put(other, endpoint_slice("other", ["198.51.100.2"]))
    await node.turn(1.0)
    assert weights(kernel) == {PLACE: 0, (bytes([198, 51, 100, 2]), 8080): 1}
    kernel.connections.clear()
    await node.turns(3, 31.0)
    assert programmed(kernel) == planned(node.services.values(), node.slices.values(), node.engine.facts)


async def test_the_service_itself_may_come_back() -> None:
    kernel, node = await busy(*web())
    await deleted(node)
    node.put(*web())
    await node.turns(3, 31.0)
    assert weights(kernel) == {PLACE: 1}


@pytest.mark.parametrize("after_deletion", [True, False])
async def test_a_restart_lets_them_end_too(*, after_deletion: bool) -> None:
    kernel, node = await busy(*web())
    if after_deletion:
        await deleted(node)
    fresh = Node(kernel)
    fresh.now = node.now
    fresh.put(service("stays", "203.0.113.11"))
    await fresh.turns(3, 61.0)
    assert weights(kernel) == {PLACE: 0}
    assert CLUSTER in kernel.bound
    kernel.connections.clear()
    await fresh.turns(3, 31.0)
    assert programmed(kernel) == planned(fresh.services.values(), fresh.slices.values(), fresh.engine.facts)


async def test_what_is_flushed_meanwhile_does_not_come_back() -> None:
    kernel, node = await busy(*web())
    await deleted(node)
    kernel.flush()
    await node.turns(2, 61.0)
    assert programmed(kernel) == ({}, frozenset(), frozenset())


async def test_while_a_loss_is_doubted_endpoints_without_connections_stay_too() -> None:
    kernel, node = await busy(*web(), keys=())
    fresh = Node(kernel)
    fresh.now = node.now
    fresh.put(web()[0])
    await fresh.turns(3, 5.0)
    assert weights(kernel) == {PLACE: 1}

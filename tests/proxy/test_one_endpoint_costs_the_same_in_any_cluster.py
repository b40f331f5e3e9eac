"""One changed endpoint costs the work of its Service: counted, so that no slow machine can blur it."""

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from types import FrameType

import msgspec
import pytest

from strictarp.kube.objects import EndpointSlice, Service
from strictarp.lab import namespaces
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from strictarp.proxy import nftables
from strictarp.proxy.config import Config
from strictarp.proxy.engine import Engine
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.operations import AddReal, RemoveReal, SetReal
from strictarp.proxy.seam import Kernel
from strictarp.proxy.situation import NodeFacts, situation
from support.fake_ipvs import FakeIpvs
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node

AFTER_THE_DRAIN = 1.5


def _objects(count: int) -> Iterator[Service | EndpointSlice]:
    first, pods = IPv4Address("10.96.1.0"), IPv4Address("10.128.0.0")
    for number in range(count):
        name = f"web-{number}"
        yield service(name, str(first + number))
        yield endpoint_slice(name, [str(pods + 5 * number + slot) for slot in range(5)])


def _changed(number: int, *, node: str = "node2") -> EndpointSlice:
    """One of five endpoints goes, and another comes."""
    pods = IPv4Address("10.128.0.0") + 5 * number
    kept: list[object] = [str(pods + slot) for slot in range(1, 5)]
    return endpoint_slice(f"web-{number}", [*kept, (str(IPv4Address("10.160.0.0") + number), node)])


async def _synced(kernel: Kernel, count: int) -> Node:
    node = Node(kernel, full_look=3600.0)
    node.put(*_objects(count))
    await node.turn()
    await node.turn(AFTER_THE_DRAIN)
    assert not node.syncer.failing
    return node


async def _one_change(node: Node, number: int, *, on: str = "node2") -> None:
    node.put(_changed(number, node=on))
    await node.turn()
    await node.turn(AFTER_THE_DRAIN)


async def test_the_work_of_a_change_does_not_grow_with_the_cluster() -> None:
    calls = {}
    for count in (10, 300, 2_000):
        kernel = ModelKernel()
        node = await _synced(kernel, count)
        await _one_change(node, count // 2)  # fills what is only worked out once
        kernel.log.clear()
        loads, called = kernel.loads, 0

        def counted(_frame: FrameType, event: str, _what: object) -> None:
            nonlocal called
            called += event in ("call", "c_call")

        sys.setprofile(counted)
        try:
            await _one_change(node, count // 3)
        finally:
            sys.setprofile(None)
        calls[count] = called
        assert [type(operation) for operation in kernel.log] == [AddReal, SetReal, RemoveReal]
        assert kernel.loads == loads, "the table was loaded anew"
    assert min(calls.values()) > 100
    assert max(calls.values()) <= 1.05 * calls[10], calls


class _Count:
    """Messages to the kernel and processes so far."""

    def __init__(self, ipvs: FakeIpvs, route: Netlink) -> None:
        self._ipvs, self._route = ipvs, route
        self._processes = 0
        sys.addaudithook(self._audit)  # for as long as this process lives

    def _audit(self, event: str, _: tuple[object, ...]) -> None:
        self._processes += event == "subprocess.Popen"

    def now(self) -> tuple[int, int, int]:
        return self._ipvs.sent, self._route.sent, self._processes


@pytest.mark.netns
@pytest.mark.parametrize("count", [10, 1_000])
async def test_a_change_takes_four_messages_and_no_process_unless_a_set_changes(count: int) -> None:
    space = namespaces.create("counting")
    with namespaces.entered(space):
        ipvs, route = FakeIpvs(), Netlink(NETLINK_ROUTE)
        kernel = LinuxKernel(nftables.change_elements, generic=ipvs, route=route, device_kind="bridge")
        await kernel.prepare()
        node = await _synced(kernel, count)
        counter = _Count(ipvs, route)
        before = counter.now()
        await _one_change(node, count // 2)
        after = counter.now()
        # An addition, a weight of 0, a look at the connections, a removal; and, as every two seconds, a
        # question whether one virtual server is still there.
        asked = ipvs.sent - before[0] - 4
        assert 0 <= asked <= 1
        assert after[1:] == before[1:], "messages about addresses, or processes"
        await _one_change(node, 1, on="node1")  # an endpoint here: its hairpin is an element of a set
        assert counter.now()[1:] == (after[1], after[2] + 1)
        kernel.close()
    space.close()


def test_an_address_of_another_node_costs_the_services_that_have_it_too() -> None:
    facts = situation(Config(), NodeFacts("node1", (bytes([192, 0, 2, 11]),)))
    engine = Engine(Config(), facts, 900.0)
    for number in range(20):
        each = service(f"s{number}", f"203.0.113.{number + 1}", externalIPs=[f"192.0.2.{number + 100}"])
        engine.store.service(each.key, each)
    engine.plan()
    for others in ({bytes([192, 0, 2, 105]): "node2", bytes([192, 0, 2, 12]): "node3"}, {}):
        engine.see(msgspec.structs.replace(facts, others=others))
        assert engine.store.take(100) == ["default/s5"]

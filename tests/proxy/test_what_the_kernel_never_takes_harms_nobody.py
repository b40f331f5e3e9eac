"""An endpoint may have an address that the kernel never takes, such as a subnet's broadcast address."""

import errno
import logging

import pytest

from strictarp.netlink.ipvs import RealServer, VirtualServer
from strictarp.netlink.messages import Refusal
from strictarp.proxy.health import Health
from strictarp.proxy.kernel_messages import ipvs_outcome
from strictarp.proxy.operations import AddReal, AddServer, Operation, SetReal
from strictarp.proxy.seam import Impossible
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node

BROADCAST = bytes([198, 51, 100, 255])
SERVER, REAL = VirtualServer(6, bytes([192, 0, 2, 100]), 80), RealServer(BROADCAST, 8080)


@pytest.mark.parametrize(
    "operation", [AddServer(SERVER), AddReal(SERVER.key, REAL), SetReal(SERVER.key, REAL)]
)
def test_the_kernel_says_so_by_einval_and_not_by_a_want_of_memory(operation: AddReal) -> None:
    assert isinstance(ipvs_outcome(operation, Refusal(errno.EINVAL)), Impossible)
    assert not isinstance(ipvs_outcome(operation, Refusal(errno.ENOMEM)), Impossible)


def _of(operation: Operation, address: bytes) -> bool:
    return isinstance(operation, AddReal) and operation.real.address == address


async def test_the_rest_is_served_health_does_not_fail_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel = ModelKernel()
    kernel.refuse = lambda operation: Impossible("EINVAL") if _of(operation, BROADCAST) else None
    node = Node(kernel)
    health = Health(lambda: node.syncer.waiting_since, 60.0, lambda: None)
    node.put(service("odd", "203.0.113.10"), endpoint_slice("odd", ["198.51.100.1", "198.51.100.255"]))
    with caplog.at_level(logging.ERROR):
        await node.turns(9, 61.0)
    assert len(kernel.servers[6, bytes([203, 0, 113, 10]), 80][1]) == 1
    assert node.syncer.failing == "EINVAL"
    assert health.verdict(node.now) == (True, True)
    assert len(caplog.records) == 1


async def test_it_hides_no_failure_that_may_pass() -> None:
    kernel = ModelKernel()
    late = bytes([198, 51, 100, 2])

    def refuse(operation: Operation) -> str | None:
        if _of(operation, late):
            return "ENOMEM"
        return Impossible("EINVAL") if isinstance(operation, AddReal) else None

    kernel.refuse = refuse
    node = Node(kernel)
    health = Health(lambda: node.syncer.waiting_since, 60.0, lambda: None)
    for number in range(1, 9):
        node.put(service(f"s{number}", f"203.0.113.{number}"))
        node.put(endpoint_slice(f"s{number}", [f"198.51.100.{number}"]))
    await node.turns(3, 61.0)
    assert node.syncer.failing == "ENOMEM"
    assert health.verdict(node.now) == (False, True)
    kernel.refuse = lambda _: None
    await node.turns(2, 61.0)
    assert node.syncer.failing == ""
    assert health.verdict(node.now) == (True, True)

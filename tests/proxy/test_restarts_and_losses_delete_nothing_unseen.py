"""What an earlier process left, what others own, and a world that suddenly is empty."""

from strictarp.netlink.ipvs import RealServer, VirtualServer
from strictarp.proxy.caution import Caution
from strictarp.proxy.config import Config
from strictarp.proxy.fields import parse_network
from strictarp.proxy.operations import RemoveServer, SetReal, UnbindAddress
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node

TCP = 6
OWN = bytes([192, 0, 2, 11])


def ip(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def leave(kernel: ModelKernel, address: str, port: int = 80, *, bound: bool = True) -> None:
    """Something that was there before we came."""
    server = VirtualServer(TCP, ip(address), port)
    kernel.servers[server.key] = (server, {(ip("198.51.100.9"), 8080): RealServer(ip("198.51.100.9"), 8080)})
    if bound:
        kernel.bound.add(ip(address))


def served(kernel: ModelKernel) -> set[tuple[bytes, int]]:
    return {(address, port) for _, address, port in kernel.servers}


async def test_a_restart_over_a_programmed_kernel_does_nothing() -> None:
    kernel = ModelKernel()
    first = Node(kernel)
    objects = [service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1", "198.51.100.2"])]
    first.put(*objects)
    await first.turn()
    kernel.log.clear()
    second = Node(kernel)
    second.put(*objects)
    await second.turn()
    assert kernel.log == []
    assert kernel.violations == []


async def test_the_first_start_removes_what_an_earlier_process_left_and_nothing_of_others() -> None:
    kernel = ModelKernel()
    leave(kernel, "203.0.113.99")
    leave(kernel, "192.0.2.11", 30099, bound=False)
    leave(kernel, "192.0.2.11", 443, bound=False)
    leave(kernel, "192.0.2.200", bound=False)
    leave(kernel, "203.0.113.77")
    node = Node(kernel, Config(exclude=(parse_network("203.0.113.77/32"),)))
    node.put(service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))
    await node.turn()
    assert served(kernel) == {
        (ip("203.0.113.10"), 80),
        (OWN, 443),
        (ip("192.0.2.200"), 80),
        (ip("203.0.113.77"), 80),
    }


async def test_what_others_add_later_is_left_alone() -> None:
    kernel = ModelKernel()
    node = Node(kernel)
    node.put(service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))
    await node.turn()
    leave(kernel, "192.0.2.11", 30099, bound=False)
    await node.turn(61.0)
    assert (OWN, 30099) in served(kernel)


async def test_an_endpoint_that_left_during_the_restart_drains() -> None:
    kernel = ModelKernel()
    first = Node(kernel)
    web = service("a", "203.0.113.10")
    first.put(web, endpoint_slice("a", ["198.51.100.1", "198.51.100.2"]))
    await first.turn()
    key = next(iter(kernel.servers))
    kernel.connections[(key, (ip("198.51.100.2"), 8080))] = 1
    second = Node(kernel)
    second.put(web, endpoint_slice("a", ["198.51.100.1"]))
    kernel.log.clear()
    await second.turn()
    assert kernel.log == [SetReal(key, RealServer(ip("198.51.100.2"), 8080, 0))]
    assert len(second.engine.drains) == 1


async def test_a_world_without_services_is_believed_only_when_it_stays_so() -> None:
    kernel = ModelKernel()
    leave(kernel, "203.0.113.99")
    node = Node(kernel)
    await node.turn()
    await node.turn(30.0)
    assert served(kernel) == {(ip("203.0.113.99"), 80)}
    assert ip("203.0.113.99") in kernel.bound
    await node.turns(2, 31.0)
    assert not kernel.servers
    assert not kernel.bound


async def test_services_without_any_endpoint_do_not_empty_what_carries_traffic() -> None:
    kernel = ModelKernel()
    first = Node(kernel)
    first.put(service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))
    await first.turn()
    second = Node(kernel)
    second.put(service("a", "203.0.113.10"))
    await second.turn()
    (_, reals) = next(iter(kernel.servers.values()))
    assert {real.weight for real in reals.values()} == {1}
    second.put(endpoint_slice("a", ["198.51.100.1"]))
    await second.turn(1.0)
    kernel.log.clear()
    await second.turns(3, 61.0)
    assert kernel.log == []


async def test_nothing_is_touched_until_the_kernel_could_be_read() -> None:
    kernel = ModelKernel()
    kernel.view_fails = True
    node = Node(kernel)
    node.put(service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))
    await node.turns(3, 1.0)
    assert kernel.log == []
    assert "interrupted" in node.syncer.failing
    kernel.view_fails = False
    await node.turns(3, 30.0)
    assert served(kernel) == {(ip("203.0.113.10"), 80)}


async def test_default_kubernetes_is_programmed_before_everything_else() -> None:
    kernel = ModelKernel()
    node = Node(kernel)
    for number in range(5):
        node.put(service(f"s{number}", f"203.0.113.{10 + number}"))
    node.put(service("kubernetes", "203.0.113.129", ports=[{"name": "https", "port": 443}]))
    await node.turn()
    bound = [operation.address for operation in kernel.log if hasattr(operation, "address")]
    assert bound[0] == ip("203.0.113.129")
    assert len(bound) == 6


async def test_a_deleted_service_goes_from_the_address_to_the_sets() -> None:
    kernel = ModelKernel()
    node = Node(kernel)
    node.put(service("a", "203.0.113.10"), service("b", "203.0.113.11"))
    await node.turn()
    kernel.log.clear()
    node.delete("default/a")
    await node.turn(1.0)
    assert [type(operation).__name__ for operation in kernel.log] == [
        "UnbindAddress",
        "RemoveServer",
        "ChangeSets",
    ]
    assert isinstance(kernel.log[0], UnbindAddress)
    assert isinstance(kernel.log[1], RemoveServer)


def test_few_removals_are_believed_at_once_and_many_after_the_patience() -> None:
    doubt = Caution(60.0)
    assert doubt.believes(removals=10, held=12, empty=False, now=0)
    assert not doubt.believes(removals=11, held=12, empty=False, now=0)
    assert doubt.believes(removals=11, held=100, empty=False, now=1)
    assert not doubt.believes(removals=11, held=12, empty=False, now=2)
    assert doubt.look_at() == 62.0
    assert not doubt.believes(removals=11, held=12, empty=False, now=61)
    assert doubt.believes(removals=11, held=12, empty=False, now=62)
    assert doubt.look_at() is None

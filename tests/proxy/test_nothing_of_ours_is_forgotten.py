"""What is ours stays known as ours, whatever is refused, lost or flushed: nobody else would remove it."""

from collections.abc import Sequence

import pytest

from strictarp.proxy.operations import AddReal, AddServer, BindAddress, Operation, RemoveServer
from strictarp.proxy.seam import KernelRefused
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node, programmed

NOTHING = ({}, frozenset(), frozenset())
OTHER = (service("b", "203.0.113.11"), endpoint_slice("b", ["198.51.100.1"]))


class LosesAnswers(ModelKernel):
    """Does what it is told, and once does not say so. `lose`: the kind of operation."""

    lose: type[Operation] | None = None

    async def apply(self, operations: Sequence[Operation]) -> list[str | None]:
        done = await super().apply(operations)
        if self.lose is not None and any(isinstance(each, self.lose) for each in operations):
            self.lose = None
            raise TimeoutError("the kernel does not answer")
        return done


class Pipapo(ModelKernel):
    """Refuses the intervals of two Services in one set."""

    async def load_rules(self, text: str) -> None:
        if "10.0.0.0/8" in text and "10.1.0.0/16" in text:
            raise KernelRefused("File exists")
        await super().load_rules(text)


@pytest.mark.parametrize("kind", [AddServer, BindAddress])
async def test_what_was_done_without_an_answer_goes_with_its_service(kind: type[Operation]) -> None:
    kernel = LosesAnswers()
    node = Node(kernel)
    node.put(*OTHER)
    await node.turn()
    before = programmed(kernel)
    node.put(service("a", "203.0.113.10"))
    kernel.lose = kind
    await node.turn(1.0)
    assert programmed(kernel) != before
    node.delete("default/a")
    await node.turns(3, 5.0)
    assert programmed(kernel) == before


async def test_after_a_lost_answer_the_kernel_is_looked_at_soon() -> None:
    kernel = LosesAnswers()
    node = Node(kernel, full_look=3600.0)
    node.put(*OTHER)
    await node.turn()
    node.put(endpoint_slice("b", ["198.51.100.1", "198.51.100.2"]))
    kernel.lose = AddReal
    await node.turn(1.0)
    node.put(endpoint_slice("b", ["198.51.100.1"]))
    await node.turns(5, 5.0)
    (_, reals) = next(iter(kernel.servers.values()))
    assert len(reals) == 1


def _limited(name: str, address: str, source: str) -> object:
    return service(
        name, address, type="LoadBalancer", ingress=["192.0.2.100"], loadBalancerSourceRanges=[source]
    )


async def test_names_stay_in_a_table_that_is_replaced_although_intervals_overlap() -> None:
    kernel = Pipapo()
    first = Node(kernel)
    first.put(_limited("a", "203.0.113.10", "10.0.0.0/8"))  # type: ignore[arg-type]
    await first.turn()
    kernel.refuse = lambda operation: "busy" if isinstance(operation, RemoveServer) else None
    second = Node(kernel)
    second.put(_limited("b", "203.0.113.11", "10.1.0.0/16"), *OTHER[1:])  # type: ignore[arg-type]
    await second.turn()
    assert ("clusterIP", "203.0.113.10 . tcp . 80") in kernel.elements


async def test_names_that_are_flushed_while_a_loss_is_doubted_come_back() -> None:
    kernel = ModelKernel()
    first = Node(kernel)
    first.put(*OTHER)
    await first.turn()
    second = Node(kernel)
    await second.turn()
    kernel.bound.clear()
    kernel.rules, kernel.elements = "", set()
    second.syncer.look_soon()
    await second.turn(1.0)
    assert ("clusterIP", "203.0.113.11 . tcp . 80") in kernel.elements
    third = Node(kernel)
    await third.turns(3, 61.0)
    assert programmed(kernel) == NOTHING


async def test_what_may_be_there_keeps_its_name_until_somebody_has_looked() -> None:
    kernel = LosesAnswers()
    node = Node(kernel)
    node.put(*OTHER)
    await node.turn()
    node.put(service("a", "203.0.113.10"))
    kernel.lose = AddServer
    await node.turn(1.0)
    node.delete("default/a")
    await node.turn()
    assert ("clusterIP", "203.0.113.10 . tcp . 80") in kernel.elements
    third = Node(kernel)
    third.put(*OTHER)
    await third.turn()
    assert len(kernel.servers) == 1

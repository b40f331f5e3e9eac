"""Whatever sequence of changes, what is programmed is what a fresh plan says."""

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.proxy.operations import AddReal, BindAddress, Operation, SetReal
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node, planned, programmed

NAMES = ("a", "b", "c")
ADDRESSES = ("198.51.100.1", "198.51.100.2", "198.51.100.3")
ingress = st.lists(st.sampled_from(["192.0.2.100", "192.0.2.101", "192.0.2.11"]), max_size=2)

services = st.builds(
    lambda name, **rest: service(name, f"203.0.113.{10 + NAMES.index(name)}", **rest),
    st.sampled_from(NAMES),
    type=st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
    ingress=ingress,
    externalIPs=st.lists(st.sampled_from(["192.0.2.100", "192.0.2.102"]), max_size=1),
    ports=st.lists(
        st.fixed_dictionaries(
            {
                "name": st.just("http"),
                "port": st.sampled_from([80, 81]),
                "protocol": st.sampled_from(["TCP", "UDP"]),
                "nodePort": st.sampled_from([0, 30080]),
            }
        ),
        min_size=1,
        max_size=2,
    ),
    externalTrafficPolicy=st.sampled_from(["Cluster", "Local"]),
    sessionAffinity=st.sampled_from(["None", "ClientIP"]),
    loadBalancerSourceRanges=st.lists(
        st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"]), max_size=2
    ),
    created=st.sampled_from(["2024-01-01T00:00:00Z", "2024-02-02T00:00:00Z"]),
)
endpoints = st.builds(
    lambda address, node, ready, terminating: {
        "addresses": [address],
        "nodeName": node,
        "conditions": {"ready": ready, "serving": True, "terminating": terminating},
    },
    st.sampled_from(ADDRESSES),
    st.sampled_from(["node1", "node2", "node3"]),
    st.booleans(),
    st.booleans(),
)
slices = st.builds(
    lambda owner, number, some, protocol: endpoint_slice(
        owner, some, name=f"s{number}", ports=[{"name": "http", "port": 8080, "protocol": protocol}]
    ),
    st.sampled_from(NAMES),
    st.integers(1, 3),
    st.lists(endpoints, max_size=3),
    st.sampled_from(["TCP", "UDP"]),
)
steps = st.one_of(
    services,
    slices,
    st.tuples(st.just("delete"), st.sampled_from([f"default/{n}" for n in (*NAMES, "s1", "s2", "s3")])),
    st.tuples(st.just("dead"), st.frozensets(st.sampled_from(["node2", "node3"]))),
    st.tuples(st.just("turn"), st.sampled_from([0.0, 1.0, 61.0])),
    st.tuples(st.just("refuse"), st.integers(1, 3)),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("restart"), st.none()),
)


def _refuse_some(kernel: ModelKernel, every: int) -> None:
    counted = 0

    def refuse(_: Operation) -> str | None:
        nonlocal counted
        counted += 1
        return "refused by the test" if counted % every == 0 else None

    kernel.refuse = refuse


def _restarted(node: Node) -> Node:
    fresh = Node(node.kernel, node.config)
    fresh.now = node.now
    fresh.put(*node.services.values(), *node.slices.values())
    return fresh


async def _play(sequence: list[object]) -> None:
    kernel = ModelKernel()
    node = Node(kernel)
    dead: frozenset[str] = frozenset()
    for step in sequence:
        match step:
            case ("delete", key):
                node.delete(key)
            case ("dead", names):
                dead = names
            case ("turn", seconds):
                await node.turn(seconds)
            case ("refuse", every):
                _refuse_some(kernel, every)
            case ("flush", _):
                kernel.flush()
            case ("restart", _):
                node = _restarted(node)
            case _:
                node.put(step)
        node.engine.see(msgspec.structs.replace(node.engine.facts, dead=dead))
    kernel.refuse = lambda _: None
    await node.turns(8, 61.0)
    wanted = planned(node.services.values(), node.slices.values(), node.engine.facts)
    assert programmed(kernel) == wanted
    assert kernel.violations == []
    assert len(node.engine.drains) == 0
    kernel.log.clear()
    await node.turns(2, 61.0)
    assert kernel.log == []


turn = st.just(("turn", 1.0))


@settings(max_examples=200)
@given(
    st.lists(services, min_size=1, max_size=3),
    st.lists(slices, min_size=1, max_size=3),
    turn,
    st.lists(steps, min_size=4, max_size=20),
)
def test_any_sequence_of_changes_refusals_and_restarts_ends_as_planned(
    some: list[object], pieces: list[object], first: object, sequence: list[object]
) -> None:
    asyncio.run(_play([*some, *pieces, first, *sequence]))


@pytest.mark.parametrize("count", [10, 1000])
async def test_one_changed_endpoint_costs_the_same_however_many_services_there_are(count: int) -> None:
    kernel = ModelKernel()
    node = Node(kernel, full_look=1e9)
    for number in range(count):
        node.put(service(f"s{number}", f"203.0.{number // 250}.{number % 250}"))
        node.put(endpoint_slice(f"s{number}", ["198.51.100.1", "198.51.100.2"]))
    await node.turn()
    kernel.log.clear()
    node.put(endpoint_slice("s7", ["198.51.100.1", "198.51.100.3"]))
    await node.turn()
    assert [type(operation) for operation in kernel.log] == [AddReal, SetReal]
    assert kernel.loads == 1


async def test_addresses_wait_while_nft_refuses_and_come_when_it_does_not() -> None:
    kernel = ModelKernel()
    node = Node(kernel)
    await node.turn()
    kernel.rules_fail = True
    node.put(service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))
    await node.turn(1.0)
    assert not kernel.bound
    assert node.syncer.failing == "nft refused"
    assert not any(isinstance(operation, BindAddress) for operation in kernel.log)
    kernel.rules_fail = False
    await node.turns(3, 10.0)
    assert len(kernel.bound) == 1
    assert node.syncer.failing == ""


async def test_a_refused_virtual_server_keeps_its_address_away_and_others_are_served() -> None:
    kernel = ModelKernel()
    kernel.refuse = lambda operation: "no scheduler" if "203.0.113.10:80" in _text(operation) else None
    node = Node(kernel)
    node.put(service("a", "203.0.113.10"), service("b", "203.0.113.11"))
    await node.turn()
    assert kernel.bound == {bytes([203, 0, 113, 11])}


def _text(operation: Operation) -> str:
    from strictarp.proxy.operations import describe_operation

    return describe_operation(operation)

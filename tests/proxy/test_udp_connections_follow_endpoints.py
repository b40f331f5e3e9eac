"""UDP connections that are tracked past their endpoint are forgotten, and no others."""

import socket

import pytest

from strictarp.lab import namespaces
from strictarp.netlink.conntrack import Flow, Tuple
from strictarp.netlink.ipvs import RealServer, VirtualServer
from strictarp.proxy import nftables
from strictarp.proxy.addresses import pack
from strictarp.proxy.flows import Round, concerned, stale
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.mirror import Mirror
from strictarp.proxy.operations import AddReal, AddServer, Operation, RemoveReal, RemoveServer, SetReal
from strictarp.proxy.seam import KernelRefused
from support.fake_ipvs import FakeIpvs
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node


def _packed(text: str) -> bytes:
    address = pack(text)
    assert address is not None
    return address


VIP, NODE, CLIENT = _packed("203.0.113.10"), _packed("192.0.2.11"), _packed("192.0.2.1")
OLD, NEW = _packed("198.51.100.1"), _packed("198.51.100.2")
DNS = VirtualServer(17, VIP, 53)
PORT = {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}


def _flow(to: bytes, port: int, answers: bytes, *, source: int = 4000, from_port: int = 5353) -> Flow:
    original = Tuple(17, CLIENT, source, to, port)
    return Flow(original, Tuple(17, answers, from_port, NODE, source), source)


def _mirror(*operations: Operation) -> Mirror:
    mirror = Mirror()
    for operation in operations:
        mirror.record(operation)
    return mirror


def test_connections_answered_by_none_of_the_real_servers_are_stale() -> None:
    mirror = _mirror(AddServer(DNS), AddReal(DNS.key, RealServer(NEW, 5353)))
    gone, here = _flow(VIP, 53, OLD), _flow(VIP, 53, NEW)
    untranslated = _flow(VIP, 53, VIP, from_port=53)
    other_port = _flow(VIP, 53, NEW, from_port=5354)
    other = _flow(VIP, 54, OLD)
    found = list(stale([gone, here, untranslated, other_port, other], {DNS.key}, mirror))
    assert found == [gone, untranslated, other_port]
    assert list(stale([here, other], {DNS.key, (17, VIP, 54)}, Mirror())) == [here, other]


def test_only_udp_that_lost_something_or_began_is_looked_at() -> None:
    tcp = VirtualServer(6, VIP, 53)
    real = RealServer(NEW, 5353)
    empty = _mirror(AddServer(DNS))
    filled = _mirror(AddServer(DNS), AddReal(DNS.key, RealServer(OLD, 5353)))
    for operation, before in (
        (AddServer(DNS), Mirror()),
        (RemoveServer(DNS.key), filled),
        (RemoveReal(DNS.key, real), filled),
        (AddReal(DNS.key, real), empty),
    ):
        assert concerned([operation], [None], before) == {DNS.key}
        assert concerned([operation], ["refused"], before) == set()
    for operation, before in (
        (AddReal(DNS.key, real), filled),
        (SetReal(DNS.key, real), filled),
        (AddServer(tcp), Mirror()),
        (RemoveReal(tcp.key, real), filled),
    ):
        assert concerned([operation], [None], before) == set()


def test_changes_that_follow_fast_share_a_round() -> None:
    rounds = Round()
    assert (rounds.next_at(), rounds.take(5.0)) == (None, set())
    rounds.add({DNS.key})
    assert rounds.take(5.0) == {DNS.key}
    rounds.add({DNS.key})
    assert (rounds.next_at(), rounds.take(5.5)) == (6.0, set())
    rounds.add({(17, VIP, 54)})
    assert rounds.take(6.0) == {DNS.key, (17, VIP, 54)}


async def test_a_moved_endpoint_ends_its_connections_through_every_way_in() -> None:
    kernel = ModelKernel()
    node = Node(kernel, full_look=1e9)
    ports = [{"name": "dns", "port": 5353, "protocol": "UDP"}]
    node.put(service("dns", "203.0.113.10", type="NodePort", ports=[PORT]))
    node.put(endpoint_slice("dns", ["198.51.100.1"], ports=ports))
    await node.turn()
    kernel.tracked = [_flow(VIP, 53, OLD), _flow(NODE, 30053, OLD, source=1), _flow(NODE, 53, OLD, source=2)]
    node.put(endpoint_slice("dns", ["198.51.100.2"], ports=ports))
    await node.turn(2.0)
    assert kernel.tracked == [_flow(NODE, 53, OLD, source=2)]
    before = kernel.flow_questions
    node.put(endpoint_slice("dns", ["198.51.100.2", "198.51.100.3"], ports=ports))
    await node.turn(2.0)
    assert kernel.flow_questions == before
    kernel.tracked = [_flow(VIP, 53, NEW)]
    node.delete("default/dns")
    await node.turn(2.0)
    assert kernel.tracked == []


async def test_a_kernel_that_cannot_tell_connections_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = ModelKernel()

    async def refuse(_: object) -> list[Flow]:
        raise KernelRefused("no connection tracking")

    monkeypatch.setattr(kernel, "flows", refuse)
    node = Node(kernel)
    node.put(service("dns", "203.0.113.10", ports=[PORT]))
    await node.turn()
    assert kernel.bound == {VIP}
    assert node.syncer.failing == ""


@pytest.mark.netns
async def test_the_real_table_loses_stale_connections_and_keeps_others() -> None:
    namespace = namespaces.create("udp")
    with namespaces.entered(namespace):
        namespaces.run(
            namespace,
            ["nft", "table ip t { chain c { type filter hook output priority 0; ct state new; }; }"],
        )
        local = bytes([127, 0, 0, 1])
        with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
            one.sendto(b"x", ("127.0.0.1", 5353))
            two.sendto(b"x", ("127.0.0.1", 5354))
        kernel = LinuxKernel(nftables.change_elements, generic=FakeIpvs(), device_kind="bridge")
        keys = {(17, local, 5353)}
        (found,) = stale(await kernel.flows(keys), keys, Mirror())
        assert await kernel.end_flows([found, found]) == 1
        many = {(17, local, port) for port in range(5000, 5400)}
        assert [flow.original.destination_port for flow in await kernel.flows(many)] == [5354]
        kernel.close()
    namespace.close()

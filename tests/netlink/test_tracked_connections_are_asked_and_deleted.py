"""Connection tracking's codec: against pyroute2, bad bytes, and the real kernel in a namespace."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink.nfctsocket import nfct_msg

from strictarp.lab import namespaces
from strictarp.netlink import conntrack
from strictarp.netlink.conntrack import Flow, Tuple, parse_flow
from strictarp.netlink.messages import MalformedMessage, Message, attribute, nested, parse_messages
from strictarp.netlink.policy import NETLINK_NETFILTER
from strictarp.netlink.socket import Netlink

GET, DELETE = 0x101, 0x102
ports = st.integers(0, 65535)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    width = draw(st.sampled_from([4, 16]))
    address = st.binary(min_size=width, max_size=width)
    ends = st.builds(Tuple, st.just(17), address, ports, address, ports)
    return Flow(draw(ends), draw(ends), draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 65535)))


def _decoded(raw: bytes) -> nfct_msg:
    message = nfct_msg(raw)
    message.decode()
    return message


def _ends(message: nfct_msg, name: str) -> dict[str, object]:
    """Attributes of a tuple, without their prefixes."""
    tuple_ = message.get_attr(name)
    found = {}
    for part in ("CTA_TUPLE_IP", "CTA_TUPLE_PROTO"):
        inner = tuple_.get_attr(part)
        found |= dict(inner["attrs"]) if inner is not None else {}
    return found


@given(flows())
def test_a_deletion_names_one_connection(flow: Flow) -> None:
    raw = conntrack.encode_delete_flow(flow)
    message = _decoded(raw)
    assert (message["header"]["type"], message["header"]["flags"]) == (DELETE, 0x5)
    ends, six = _ends(message, "CTA_TUPLE_ORIG"), len(flow.original.source) == 16
    kind = "CTA_IP_V6" if six else "CTA_IP_V4"
    assert message["nfgen_family"] == (10 if six else 2)
    assert ends[f"{kind}_SRC"] == str(ip_address(flow.original.source))
    assert ends[f"{kind}_DST"] == str(ip_address(flow.original.destination))
    assert ends["CTA_PROTO_NUM"] == 17
    assert (ends["CTA_PROTO_SRC_PORT"], ends["CTA_PROTO_DST_PORT"]) == (
        flow.original.source_port,
        flow.original.destination_port,
    )
    assert message.get_attr("CTA_ID") == flow.id


@pytest.mark.parametrize("width", [4, 16])
def test_a_question_may_name_a_destination(width: int) -> None:
    message = _decoded(conntrack.encode_dump_flows(width, (bytes(width), 53)))
    assert (message["header"]["type"], message["header"]["flags"]) == (GET, 0x301)
    ends = _ends(message, "CTA_TUPLE_ORIG")
    assert (ends["CTA_PROTO_NUM"], ends["CTA_PROTO_DST_PORT"]) == (17, 53)
    assert ("CTA_IP_V4_DST" in ends) == (width == 4)
    assert message.get_attr("CTA_FILTER").get_attr("CTA_FILTER_ORIG_FLAGS") == (42 if width == 4 else 40)


def _message(flow: Flow) -> Message:
    """As the kernel tells it: our own deletion, with the other direction added."""
    (asked,) = parse_messages(conntrack.encode_delete_flow(flow))
    (turned,) = parse_messages(conntrack.encode_delete_flow(Flow(flow.reply, flow.original)))
    reply = bytes(turned.payload[4:])
    inner = reply[4 : int.from_bytes(reply[:2], "little")]
    return Message(0x100, 0, 0, 0, memoryview(bytes(asked.payload) + attribute(2 | 0x8000, inner)))


@given(flows())
def test_what_the_kernel_tells_is_read_back(flow: Flow) -> None:
    assert parse_flow(_message(flow)) == flow


def test_protocols_without_ports_and_other_families_are_no_error() -> None:
    ip = nested(1, attribute(1, bytes(4)), attribute(2, bytes(4)))
    both = [nested(kind, ip, nested(2, attribute(1, b"\1"))) for kind in (1, 2)]
    read = parse_flow(Message(0x100, 0, 0, 0, memoryview(bytes([2, 0, 0, 0]) + b"".join(both))))
    assert read == Flow(Tuple(1, bytes(4), 0, bytes(4), 0), Tuple(1, bytes(4), 0, bytes(4), 0))
    assert parse_flow(Message(0x100, 0, 0, 0, memoryview(bytes([7, 0, 0, 0])))) is None


@given(flows(), st.data())
def test_a_cut_or_changed_message_gives_a_value_or_the_parsers_own_error(
    flow: Flow, data: st.DataObject
) -> None:
    raw = bytearray(_message(flow).payload)
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    with contextlib.suppress(MalformedMessage):
        parse_flow(Message(0x100, 0, 0, 0, memoryview(bytes(raw))))


def _talk(client: socket.socket, server: socket.socket) -> None:
    """Until something has arrived, so its connection is confirmed. The hash of connections is one for all
    namespaces, and what comes while another test's proxy has it made anew may be dropped.
    """
    for _ in range(50):
        client.sendto(b"x", server.getsockname()[:2])
        with contextlib.suppress(TimeoutError):
            server.recv(1)
            return
    pytest.fail("nothing arrives")


@pytest.fixture
def tracked() -> Iterator[list[socket.socket]]:
    """Sockets of UDP connections to 127.0.0.1:5301, :5302 and [2001:db8::1]:53, all tracked."""
    namespace = namespaces.create("tracking")
    with namespaces.entered(namespace), contextlib.ExitStack() as stack:
        namespaces.ip(namespace, "addr add 2001:db8::1/128 dev lo nodad")
        for family in ("ip", "ip6"):
            chain = "chain c { type filter hook output priority 0; ct state new counter; };"
            namespaces.run(namespace, ["nft", f"table {family} t {{ {chain} }}"])
        clients = []
        for family, address, port in (
            (socket.AF_INET, "127.0.0.1", 5301),
            (socket.AF_INET, "127.0.0.1", 5302),
            (socket.AF_INET6, "2001:db8::1", 53),
        ):
            server = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            server.bind((address, port))
            client = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            server.settimeout(0.1)
            _talk(client, server)
            clients.append(client)
        yield clients
    namespace.close()


@pytest.mark.netns
async def test_the_kernel_tells_connections_by_destination_and_forgets_one(
    tracked: list[socket.socket],
) -> None:
    local = bytes([127, 0, 0, 1])
    with contextlib.closing(Netlink(NETLINK_NETFILTER)) as kernel:

        async def ask(width: int, place: tuple[bytes, int] | None = None) -> list[Flow]:
            answers = await kernel.dump(conntrack.encode_dump_flows(width, place))
            return [flow for flow in map(parse_flow, answers) if flow is not None]

        # The hash is one for all namespaces: a proxy that another test starts may have it made anew just now,
        # and a listing misses what is moved meanwhile.
        for _ in range(100):
            if len(await ask(4)) + len(await ask(16)) == len(tracked):
                break
            await asyncio.sleep(0.05)
        assert {flow.original.destination_port for flow in await ask(4)} == {5301, 5302}
        (flow,) = await ask(4, (local, 5302))
        assert flow.original.source_port == tracked[1].getsockname()[1]
        assert flow.reply == Tuple(17, local, 5302, local, flow.original.source_port)
        (six,) = await ask(16, (ip_address("2001:db8::1").packed, 53))
        assert six.original.source_port == tracked[2].getsockname()[1]
        assert await ask(16, (ip_address("2001:db8::1").packed, 54)) == []
        later = msgspec.structs.replace(flow, id=flow.id ^ 1)
        refused, done, again = await kernel.request(
            [conntrack.encode_delete_flow(each) for each in (later, flow, flow)]
        )
        assert (refused is not None and refused.errno, done, again is not None and again.errno) == (
            2,
            None,
            2,
        )
        assert {flow.original.destination_port for flow in await ask(4)} == {5301}

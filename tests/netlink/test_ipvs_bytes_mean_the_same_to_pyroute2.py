"""pyroute2 as the oracle of what our bytes say, and the other way round.

Its traps: it does not know the netmask of IPv6 virtual servers as a prefix length (it shows an IPv4 address)
and sends none itself, and its "update" sends DELETE; so the commands are compared by number here.
"""

import struct
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nla
from pyroute2.netlink.generic.ipvs import ipvsmsg

from strictarp.netlink import ipvs_encode as encode
from strictarp.netlink.ipvs import RealServer, RealServerState, Timeouts, VirtualServer
from strictarp.netlink.ipvs_parse import parse_dest, parse_service
from strictarp.netlink.messages import parse_messages
from support.strategies_net import ipv4, ipv6, ports, real_servers, virtual_servers

FAMILY = 33
ACK = 0x5
Encoder = Callable[..., bytes]
DUMP = 0x301


def _decoded(raw: bytes) -> ipvsmsg:
    message = ipvsmsg(raw)
    message.decode()
    assert message["header"]["type"] == FAMILY
    assert message["header"]["length"] == len(raw)
    assert message["version"] == 1
    return message


def _attrs(node: nla) -> dict[str, object]:
    return {
        pair[0].removeprefix("IPVS_SVC_ATTR_").removeprefix("IPVS_DEST_ATTR_"): pair[1]
        for pair in node["attrs"]
    }


def _key(server: VirtualServer) -> dict[str, object]:
    return {
        "AF": 2 if len(server.address) == 4 else 10,
        "PROTOCOL": server.protocol,
        "ADDR": str(ip_address(server.address)),
        "PORT": server.port,
    }


def _same_address(seen: dict[str, object]) -> dict[str, object]:
    return seen | {"ADDR": str(ip_address(seen["ADDR"]))}


@pytest.mark.parametrize(
    ("encoder", "number"), [(encode.encode_new_service, 1), (encode.encode_set_service, 2)]
)
@given(server=virtual_servers())
def test_a_virtual_server_is_read_as_it_was_meant(
    encoder: Encoder, number: int, server: VirtualServer
) -> None:
    message = _decoded(encoder(FAMILY, server))
    assert (message["cmd"], message["header"]["flags"]) == (number, ACK)
    seen = _same_address(_attrs(message.get_attr("IPVS_CMD_ATTR_SERVICE")))
    mask = "255.255.255.255" if len(server.address) == 4 else str(ip_address(struct.pack("=I", 128)))
    assert seen == _key(server) | {
        "SCHED_NAME": server.scheduler,
        "FLAGS": {"flags": server.flags, "mask": 0xFFFFFFFF},
        "TIMEOUT": server.timeout,
        "NETMASK": mask,
    }


@pytest.mark.parametrize(
    ("encoder", "number", "flags"),
    [
        (encode.encode_del_service, 3, ACK),
        (encode.encode_get_service, 4, ACK),
        (encode.encode_dump_dests, 8, DUMP),
    ],
)
@given(server=virtual_servers())
def test_a_key_alone_names_the_virtual_server(
    encoder: Encoder, number: int, flags: int, server: VirtualServer
) -> None:
    message = _decoded(encoder(FAMILY, server.key))
    assert (message["cmd"], message["header"]["flags"]) == (number, flags)
    assert _same_address(_attrs(message.get_attr("IPVS_CMD_ATTR_SERVICE"))) == _key(server)
    assert message.get_attr("IPVS_CMD_ATTR_DEST") is None


@pytest.mark.parametrize(
    ("encoder", "number", "whole"),
    [
        (encode.encode_new_dest, 5, True),
        (encode.encode_set_dest, 6, True),
        (encode.encode_del_dest, 7, False),
    ],
)
@given(
    pair=st.one_of(
        st.tuples(virtual_servers(ipv4), real_servers(ipv4)),
        st.tuples(virtual_servers(ipv6), real_servers(ipv6)),
    )
)
def test_a_real_server_is_read_as_it_was_meant(
    encoder: Encoder, number: int, whole: bool, pair: tuple[VirtualServer, RealServer]
) -> None:
    server, real = pair
    message = _decoded(encoder(FAMILY, server.key, real))
    assert (message["cmd"], message["header"]["flags"]) == (number, ACK)
    assert _same_address(_attrs(message.get_attr("IPVS_CMD_ATTR_SERVICE"))) == _key(server)
    expected: dict[str, object] = {
        "ADDR_FAMILY": 2 if len(real.address) == 4 else 10,
        "ADDR": str(ip_address(real.address)),
        "PORT": real.port,
    }
    if whole:
        expected |= {"FWD_METHOD": 0, "WEIGHT": real.weight, "U_THRESH": 0, "L_THRESH": 0}
    assert _same_address(_attrs(message.get_attr("IPVS_CMD_ATTR_DEST"))) == expected


def test_commands_without_attributes_are_bare() -> None:
    for raw, number, flags in (
        (encode.encode_dump_services(FAMILY), 4, DUMP),
        (encode.encode_flush(FAMILY), 17, ACK),
        (encode.encode_get_config(FAMILY), 13, ACK),
        (encode.encode_get_info(FAMILY), 15, ACK),
    ):
        message = _decoded(raw)
        assert (message["cmd"], message["header"]["flags"], message["attrs"]) == (number, flags, [])


def test_timeouts_are_three_numbers_of_seconds() -> None:
    message = _decoded(encode.encode_set_config(FAMILY, Timeouts(900, 120, 300)))
    assert message["cmd"] == 12
    seen = {name: bytes.fromhex(value.replace(":", "")) for name, value in message["attrs"]}
    assert {name: struct.unpack("=I", value)[0] for name, value in seen.items()} == {
        "IPVS_CMD_ATTR_TIMEOUT_TCP": 900,
        "IPVS_CMD_ATTR_TIMEOUT_TCP_FIN": 120,
        "IPVS_CMD_ATTR_TIMEOUT_UDP": 300,
    }


def _encoded(attrs: list[tuple[str, object]], command: int) -> bytes:
    message = ipvsmsg()
    message["cmd"] = command
    message["attrs"] = attrs
    message["header"]["type"] = FAMILY
    message.encode()
    return bytes(message.data)


@given(virtual_servers())
def test_we_read_a_virtual_server_as_pyroute2_writes_it(server: VirtualServer) -> None:
    body = _key(server) | {
        "SCHED_NAME": server.scheduler,
        "FLAGS": {"flags": server.flags | 0x2, "mask": 0xFFFFFFFF},
        "TIMEOUT": server.timeout,
    }
    attrs = [(f"IPVS_SVC_ATTR_{name}", value) for name, value in body.items()]
    raw = _encoded([("IPVS_CMD_ATTR_SERVICE", {"attrs": attrs})], 1)
    (message,) = parse_messages(raw)
    assert parse_service(message) == server


@given(real_servers(), ports, ports)
def test_we_read_a_real_server_as_pyroute2_writes_it(real: RealServer, active: int, inactive: int) -> None:
    body = {
        "ADDR_FAMILY": 2 if len(real.address) == 4 else 10,
        "ADDR": str(ip_address(real.address)),
        "PORT": real.port,
        "FWD_METHOD": 0,
        "WEIGHT": real.weight,
        "ACTIVE_CONNS": active,
        "INACT_CONNS": inactive,
    }
    attrs = [(f"IPVS_DEST_ATTR_{name}", value) for name, value in body.items()]
    raw = _encoded([("IPVS_CMD_ATTR_DEST", {"attrs": attrs})], 5)
    (message,) = parse_messages(raw)
    assert parse_dest(message, len(real.address)) == RealServerState(real, active, inactive)


@given(st.sampled_from(["", "x" * 16, "a\0b", "ö" * 9]))
def test_an_impossible_scheduler_name_is_refused_before_the_kernel_sees_it(name: str) -> None:
    with pytest.raises(ValueError, match="scheduler"):
        encode.encode_new_service(FAMILY, VirtualServer(6, bytes(4), 80, name))

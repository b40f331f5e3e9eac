import contextlib
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.netlink import ipvs
from strictarp.netlink.ipvs import RealServer, RealServerState, VirtualServer
from strictarp.netlink.ipvs_parse import parse_config, parse_dest, parse_info, parse_service
from strictarp.netlink.messages import (
    MalformedMessage,
    Message,
    Refusal,
    attribute,
    nested,
    u16,
    u32,
)
from support.fake_ipvs import dest_message, service_message

SERVER = VirtualServer(6, bytes([192, 0, 2, 100]), 80, "wrr", ipvs.FLAG_PERSISTENT, 10800)
REAL = RealServerState(RealServer(bytes([198, 51, 100, 17]), 8080, 3), 5, 7)


def _message(attrs: bytes) -> Message:
    return Message(37, 2, 1, 1, memoryview(struct.pack("=BBH", 1, 1, 0) + attrs))


def test_the_hashed_flag_that_the_kernel_always_reports_is_not_ours() -> None:
    assert parse_service(service_message(SERVER)) == SERVER


def test_a_virtual_server_by_firewall_mark_is_nobody_we_know() -> None:
    assert parse_service(_message(nested(1, u16(1, 2), u32(5, 17)))) is None


def test_connections_are_told_with_the_real_server() -> None:
    assert parse_dest(dest_message(REAL), 4) == REAL


def test_a_real_server_without_family_takes_the_virtual_servers() -> None:
    body = nested(2, attribute(1, bytes([198, 51, 100, 17]) + bytes(12)), u16(2, 0x901F), u32(4, 1))
    seen = parse_dest(_message(body), 4)
    assert seen.server.address == bytes([198, 51, 100, 17])
    with pytest.raises(MalformedMessage, match="family"):
        parse_dest(_message(nested(2, u16(11, 7), attribute(1, bytes(16)), u16(2, 1), u32(4, 1))), 4)


def test_a_forwarding_method_other_than_masquerade_is_told_without_the_other_flags() -> None:
    direct_routing_inactive = 0x3 | 0x100
    body = nested(
        2, attribute(1, bytes(16)), u16(2, 1), u32(3, direct_routing_inactive), u32(4, 1), u16(11, 2)
    )
    assert parse_dest(_message(body), 4).forward == 3


def test_what_is_missing_is_named() -> None:
    with pytest.raises(MalformedMessage, match="port of the virtual server is missing"):
        parse_service(_message(nested(1, u16(1, 2), u16(2, 6), attribute(3, bytes(16)))))
    with pytest.raises(MalformedMessage, match="without its real server"):
        parse_dest(_message(b""), 4)
    with pytest.raises(MalformedMessage, match="UDP timeout is missing"):
        parse_config(_message(u32(4, 1) + u32(5, 1)))


def test_version_and_table_size_are_unpacked() -> None:
    assert parse_info(_message(u32(1, 0x010201) + u32(2, 4096))) == ipvs.Info((1, 2, 1), 4096)


@given(st.sampled_from([service_message(SERVER), dest_message(REAL)]), st.data())
def test_mutated_answers_give_values_or_the_parsers_own_error(message: Message, data: st.DataObject) -> None:
    raw = bytearray(message.payload)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    mutant = Message(37, 2, 1, 1, memoryview(bytes(cut)))
    for parse in (parse_service, lambda m: parse_dest(m, 4), parse_config, parse_info):
        with contextlib.suppress(MalformedMessage):
            parse(mutant)


def test_a_missing_scheduler_is_explained_with_its_module() -> None:
    said = ipvs.explain_service(SERVER, Refusal(errno.ENOENT))
    assert said == (
        "virtual server TCP 192.0.2.100:80: scheduler 'wrr' is not in the kernel: load module ip_vs_wrr or "
        "choose another in ipvs.scheduler (No such file or directory (ENOENT))"
    )


def test_a_missing_virtual_server_is_explained_with_the_real_server() -> None:
    v6 = RealServer(bytes.fromhex("20010db8" + "00" * 11 + "01"), 8080)
    key = (17, bytes.fromhex("20010db8" + "00" * 11 + "aa"), 53)
    said = ipvs.explain_dest(key, v6, Refusal(errno.ESRCH))
    assert said.startswith(
        "real server [2001:db8::1]:8080 of UDP [2001:db8::aa]:53: its virtual server does not exist"
    )
    assert "EBUSY" in ipvs.explain_dest(key, v6, Refusal(errno.EBUSY))

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from strictarp.netlink import genl
from strictarp.netlink.messages import (
    MalformedMessage,
    Message,
    attribute,
    attributes,
    nested,
    text,
    u16,
    u32,
)
from strictarp.netlink.rtnl_encode import IFADDRMSG, IFINFOMSG, NDMSG, RTMSG
from strictarp.netlink.rtnl_parse import parse_event

GOOD = {
    16: IFINFOMSG.pack(0, 1, 2, 0x43, 0)
    + text(3, "eth0")
    + attribute(1, bytes(6))
    + u32(4, 1500)
    + nested(18, text(1, "veth"))
    + attribute(33, b"\1"),
    20: IFADDRMSG.pack(2, 24, 0, 0, 2) + attribute(1, bytes(4)) + attribute(2, bytes(4)) + u32(8, 0x80),
    24: RTMSG.pack(2, 24, 0, 0, 254, 3, 0, 1, 0)
    + attribute(1, bytes(4))
    + u32(4, 2)
    + attribute(9, bytes([16, 0, 0, 0, 2, 0, 0, 0]) + attribute(5, bytes(4)))
    + attribute(18, u16(2, 10)[:2] + bytes(16)),
    28: NDMSG.pack(2, 2, 2, 0, 0) + attribute(1, bytes(4)) + attribute(2, bytes(6)),
}


def test_the_bytes_to_be_broken_are_whole() -> None:
    for kind, payload in GOOD.items():
        assert parse_event(Message(kind, 0, 0, 0, memoryview(payload))) is not None


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_cut_or_changed_message_gives_a_value_or_the_parsers_own_error(
    kind: int, data: st.DataObject
) -> None:
    raw = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    for number in (kind, kind + 1):
        with contextlib.suppress(MalformedMessage):
            parse_event(Message(number, 0, 0, 0, memoryview(bytes(raw))))


@given(st.sampled_from([16, 17, 20, 21, 24, 25, 28, 29, 99]), st.binary(max_size=80))
def test_any_bytes_give_a_value_or_the_parsers_own_error(kind: int, raw: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        parse_event(Message(kind, 0, 0, 0, memoryview(raw)))


@given(st.binary(max_size=60), st.booleans())
def test_a_family_answer_gives_a_value_or_the_parsers_own_error(raw: bytes, plausible: bool) -> None:
    head = bytes(4) + u16(1, 33) + text(2, "IPVS") if plausible else b""
    with contextlib.suppress(MalformedMessage):
        genl.parse_family(Message(16, 0, 0, 0, memoryview(head + raw)))


def test_multicast_groups_of_a_family_are_found_by_name() -> None:
    groups = nested(7, nested(1, text(1, "notify"), u32(2, 16)), nested(2, text(1, "other"), u32(2, 17)))
    payload = bytes(4) + u16(1, 16) + text(2, "nlctrl") + groups
    family = genl.parse_family(Message(16, 0, 0, 0, memoryview(payload)))
    assert family == genl.Family("nlctrl", 16, {"notify": 16, "other": 17})
    assert set(attributes(payload, 4)) == {1, 2, 7}

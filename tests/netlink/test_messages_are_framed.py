import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.netlink.messages import (
    HEADER,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSG_DONE,
    NLMSG_ERROR,
    MalformedMessage,
    Message,
    attribute,
    attributes,
    each_attribute,
    frame,
    nested,
    parse_error,
    parse_messages,
    read_text,
    read_u16,
    read_u32,
    text,
    u16,
    u32,
)


def _error(number: int, flags: int = 0, echo: bytes = bytes(16), tail: bytes = b"") -> Message:
    payload = struct.pack("=i", number) + echo + tail
    return Message(NLMSG_ERROR, flags, 1, 1, memoryview(payload))


@given(st.lists(st.tuples(st.integers(4, 65535), st.integers(0, 65535), st.binary(max_size=40)), max_size=6))
def test_messages_come_back_as_they_were_framed(messages: list[tuple[int, int, bytes]]) -> None:
    datagram = b"".join(frame(kind, flags, payload) for kind, flags, payload in messages)
    seen = [(m.type, m.flags, bytes(m.payload)) for m in parse_messages(datagram)]
    assert seen == messages


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_come_back_in_order_with_their_types(pairs: list[tuple[int, bytes]]) -> None:
    payload = b"".join(attribute(kind, value) for kind, value in pairs)
    assert [(kind, bytes(value)) for kind, value in each_attribute(payload)] == pairs
    assert len(payload) % 4 == 0


def test_a_nested_attribute_is_found_under_its_plain_type() -> None:
    inner = attributes(attributes(nested(7, u16(1, 513), u32(2, 70000), text(3, "rr")))[7])
    assert read_u16(inner[1], name="x") == 513
    assert read_u32(inner[2], name="x") == 70000
    assert read_text(inner[3]) == "rr"


def test_an_acknowledgement_is_no_refusal() -> None:
    assert parse_error(_error(0)) is None


def test_an_error_carries_its_number() -> None:
    refusal = parse_error(_error(-errno.EEXIST))
    assert refusal is not None
    assert refusal.errno == errno.EEXIST
    assert str(refusal) == "File exists (EEXIST)"


@pytest.mark.parametrize("capped", [True, False])
def test_the_kernels_own_words_are_found_behind_the_echoed_request(capped: bool) -> None:
    request = frame(20, 5, bytes(24))
    echo = request[:16] if capped else request
    flags = NLM_F_ACK_TLVS | (NLM_F_CAPPED if capped else 0)
    refusal = parse_error(_error(-errno.EINVAL, flags, echo, text(1, "Unknown device type") + u32(2, 12)))
    assert refusal is not None
    assert refusal.text == "Unknown device type"
    assert str(refusal) == "Invalid argument (EINVAL): Unknown device type"


def test_the_end_of_a_dump_may_carry_an_error_and_words() -> None:
    tail = struct.pack("=i", -errno.EINVAL) + text(1, "bad filter")
    refusal = parse_error(Message(NLMSG_DONE, NLM_F_ACK_TLVS, 1, 1, memoryview(tail)))
    assert refusal is not None
    assert refusal.text == "bad filter"
    assert parse_error(Message(NLMSG_DONE, 0, 1, 1, memoryview(b""))) is None


@given(st.binary(max_size=80))
def test_any_bytes_give_messages_or_the_parsers_own_error(data: st.DataObject) -> None:
    try:
        for message in parse_messages(data):
            parse_error(message)
            attributes(message.payload)
    except MalformedMessage:
        pass


@given(st.data())
def test_every_truncation_of_a_message_is_told(data: st.DataObject) -> None:
    whole = frame(20, 5, u32(1, 7) + text(2, "dummy"))
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(MalformedMessage):
        list(parse_messages(whole[:cut]))


def test_a_message_shorter_than_its_header_is_told() -> None:
    with pytest.raises(MalformedMessage, match="of 15 bytes"):
        list(parse_messages(HEADER.pack(15, 1, 0, 0, 0)))


def test_an_attribute_longer_than_its_room_is_told() -> None:
    with pytest.raises(MalformedMessage, match="attribute 5 of 9 bytes where 8 are left"):
        attributes(struct.pack("=HHI", 9, 5, 0))

import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from strictarp.netlink.exchange import Exchange, join
from strictarp.netlink.messages import (
    HEADER,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    frame,
    parse_messages,
)


def _answer(sequence: int, kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    raw = bytearray(frame(kind, flags, payload))
    struct.pack_into("=I", raw, 8, sequence & 0xFFFFFFFF)
    return bytes(raw)


def _ack(sequence: int, number: int = 0) -> bytes:
    return _answer(sequence, NLMSG_ERROR, struct.pack("=i", -number) + HEADER.pack(16, 0, 0, sequence, 0))


@given(st.integers(0, 0xFFFFFFFF), st.lists(st.binary(max_size=30), min_size=1, max_size=64))
def test_messages_of_a_batch_are_numbered_in_order_and_wrap(first: int, payloads: list[bytes]) -> None:
    datagram = join([frame(20, 5, payload) for payload in payloads], first)
    messages = list(parse_messages(bytes(datagram)))
    assert [m.sequence for m in messages] == [(first + i) & 0xFFFFFFFF for i in range(len(payloads))]
    assert [bytes(m.payload) for m in messages] == payloads
    # NLM_F_REQUEST | NLM_F_ACK is 5: only the last asks, the others are answered when they are refused.
    assert [m.flags for m in messages] == [1] * (len(payloads) - 1) + [5]


@given(
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.sampled_from([0, errno.EEXIST, errno.ENOENT]), min_size=1, max_size=64),
)
def test_refusals_come_in_order_and_the_last_answer_tells_that_the_rest_went_well(
    first: int, numbers: list[int]
) -> None:
    exchange = Exchange(first, len(numbers))
    last = len(numbers) - 1
    for position, number in enumerate(numbers):
        assert not exchange.done, position
        if number or position == last:
            exchange.feed(_ack((first + position) & 0xFFFFFFFF, number))
    assert exchange.done
    assert [0 if e is None else e.errno for e in exchange.errors] == numbers


@given(st.integers(0, 0xFFFFFFFF), st.integers(1, 64), st.data())
def test_a_transaction_ends_with_its_first_refusal(first: int, count: int, data: st.DataObject) -> None:
    refused = data.draw(st.integers(0, count - 1))
    exchange = Exchange(first, count, together=True)
    exchange.feed(_ack((first + refused) & 0xFFFFFFFF, errno.EPERM))
    assert exchange.done
    assert [e.errno if e else 0 for e in exchange.errors] == [
        errno.EPERM if number == refused else 0 for number in range(count)
    ]


def test_a_dump_ends_with_done_and_keeps_its_parts_in_order() -> None:
    exchange = Exchange(9, 1)
    exchange.feed(_answer(9, 16, b"aaaa", NLM_F_MULTI) + _answer(9, 16, b"bbbb", NLM_F_MULTI))
    assert not exchange.done
    exchange.feed(_answer(9, NLMSG_DONE, bytes(4), NLM_F_MULTI))
    assert exchange.done
    assert [bytes(m.payload) for m in exchange.messages] == [b"aaaa", b"bbbb"]
    assert not exchange.interrupted


def test_a_dump_that_the_table_changed_under_is_marked() -> None:
    exchange = Exchange(9, 1)
    exchange.feed(_answer(9, 16, b"aaaa", NLM_F_MULTI | NLM_F_DUMP_INTR))
    exchange.feed(_answer(9, NLMSG_DONE, bytes(4), NLM_F_MULTI))
    assert exchange.interrupted


def test_answers_to_an_earlier_exchange_are_counted_and_dropped() -> None:
    exchange = Exchange(100, 2)
    exchange.feed(_ack(99, errno.EPERM) + _answer(98, 16, b"late") + _ack(102))
    assert exchange.stray == 3
    assert exchange.messages == []
    exchange.feed(_ack(101))
    exchange.feed(_ack(101, errno.EPERM))
    assert exchange.errors == [None, None]
    assert exchange.stray == 4


def test_what_was_open_when_answers_were_lost_is_said_to_be_unknown() -> None:
    exchange = Exchange(1, 3)
    exchange.feed(_ack(1))
    exchange.lost()
    assert exchange.done
    assert exchange.errors[0] is None
    assert [e.errno for e in exchange.errors[1:]] == [errno.ENOBUFS, errno.ENOBUFS]

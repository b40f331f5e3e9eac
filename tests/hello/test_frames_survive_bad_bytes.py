"""The format is exact, authenticated, and nothing but FrameError escapes from it."""

import hashlib
import hmac
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.hello import frames, messages
from strictarp.hello.auth import Keys, is_mark, mark
from strictarp.hello.frames import FrameError, Sender, Verdict, decode, decode_beat, encode
from strictarp.hello.messages import Entry, State

KEYS = Keys(b"k" * 32)
MAC = bytes.fromhex("020000000001")
SENDER = Sender(0x11, 0x22, 0x33)

u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))
nonces = st.binary(min_size=8, max_size=8)


def entries(most: int = 115) -> st.SearchStrategy[tuple[Entry, ...]]:
    return st.lists(st.builds(Entry, u64, u32), max_size=most).map(tuple)


def hellos() -> st.SearchStrategy[messages.Hello]:
    return st.builds(
        messages.Hello,
        state=st.sampled_from(State),
        isolated=st.booleans(),
        hello_ms=st.integers(1, 0xFFFF),
        owned=st.integers(80, 5000),
        set_version=u32,
        set_hash=u64,
        entries=entries(40),
        gone=entries(40),
    )


ANY_MESSAGE = st.one_of(
    hellos(),
    st.builds(messages.Claim, u64, u64, u64, entries()),
    st.builds(messages.Witness, u64, u64, u64, u16, entries()),
    st.builds(messages.Offer, u64, u32, u32),
    st.builds(messages.Accept, u64, u32, u32),
    st.builds(messages.Release, u64, u32, u32, u64),
    st.builds(messages.Challenge, nonces),
    st.builds(messages.Response, nonces),
    st.builds(messages.SyncRequest, u16),
    st.builds(messages.Sync, u32, st.just(1), st.integers(2, 99), entries()),
    st.builds(messages.Spent, u64, u32, u32),
)


@given(ANY_MESSAGE, u64)
def test_what_is_sent_is_what_is_read_and_fits_one_ethernet_frame(
    message: messages.Message, seq: int
) -> None:
    data = encode(message, SENDER, KEYS, seq=seq, source=MAC)
    assert 60 <= len(data) <= 1514
    frame = decode(data + b"\0" * 7, SENDER.cluster, KEYS)
    assert (frame.message, frame.seq, frame.source) == (message, seq, MAC)
    assert (frame.node, frame.incarnation) == (SENDER.node, SENDER.incarnation)
    assert frame.destination == frames.GROUP_MAC


@given(ANY_MESSAGE, st.data())
def test_no_changed_bit_passes(message: messages.Message, data: st.DataObject) -> None:
    good = bytearray(encode(message, SENDER, KEYS, seq=7, source=MAC))
    length = struct.unpack_from("!H", good, 20)[0]
    position = data.draw(st.integers(6, 14 + length - 1))
    good[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameError):
        decode(bytes(good), SENDER.cluster, KEYS)


@given(ANY_MESSAGE, st.data())
def test_no_truncated_frame_passes(message: messages.Message, data: st.DataObject) -> None:
    good = encode(message, SENDER, KEYS, seq=7, source=MAC)
    length = struct.unpack_from("!H", good, 20)[0]
    with pytest.raises(FrameError):
        decode(good[: data.draw(st.integers(0, 14 + length - 1))], SENDER.cluster, KEYS)


@given(st.binary(max_size=1500), st.integers(0, 255))
def test_rubbish_under_a_right_tag_is_refused_by_name(body: bytes, number: int) -> None:
    head = struct.pack("!4sBBHQQQQ", b"sArP", 1, number, 40 + len(body) + 16, 0x11, 0x22, 0x33, 9)
    tag = hmac.digest(KEYS.current, MAC + head + body, hashlib.sha256)[:16]
    data = frames.GROUP_MAC + MAC + b"\x88\xb5" + head + body + tag
    for read in (decode, decode_beat):
        assert verdict_of(read, data) in (None, Verdict.TYPE, Verdict.BODY, Verdict.NOT_HELLO)


def verdict_of(read: Callable[[bytes, int, Keys], object], data: bytes) -> Verdict | None:
    try:
        read(data, SENDER.cluster, KEYS)
    except FrameError as error:
        return error.verdict
    return None


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    for read in (decode, decode_beat):
        with pytest.raises(FrameError):
            read(data, 0x11, KEYS)


def hello(**changes: object) -> messages.Hello:
    fields: dict[str, object] = {
        "state": State.SEASONED,
        "isolated": False,
        "hello_ms": 100,
        "owned": 1,
        "set_version": 3,
        "set_hash": 4,
        "entries": (Entry(5, 6),),
    }
    return messages.Hello(**(fields | changes))  # type: ignore[arg-type]


def test_a_listener_reads_who_and_when_without_the_list() -> None:
    beat = decode_beat(encode(hello(), SENDER, KEYS, seq=8, source=MAC), SENDER.cluster, KEYS)
    assert beat == frames.Beat(MAC, SENDER.node, SENDER.incarnation, 8, 100, State.SEASONED)


def test_a_listener_is_not_made_to_hash_other_frames() -> None:
    data = encode(messages.Challenge(b"12345678"), SENDER, KEYS, seq=8, source=MAC)
    with pytest.raises(FrameError) as caught:
        decode_beat(data, SENDER.cluster, KEYS)
    assert caught.value.verdict is Verdict.NOT_HELLO


@pytest.mark.parametrize(
    ("offset", "value", "verdict"),
    [
        (12, b"\x08\x06", Verdict.ETHERTYPE),
        (14, b"sBrP", Verdict.MAGIC),
        (18, b"\2", Verdict.VERSION),
        (20, b"\0\1", Verdict.LENGTH),
        (20, b"\xff\xff", Verdict.LENGTH),
        (22, b"\xff" * 8, Verdict.CLUSTER),
        (6, b"\x02\0\0\0\0\x09", Verdict.TAG),
    ],
)
def test_each_fault_has_its_name(offset: int, value: bytes, verdict: Verdict) -> None:
    data = bytearray(encode(hello(), SENDER, KEYS, seq=8, source=MAC))
    data[offset : offset + len(value)] = value
    with pytest.raises(FrameError) as caught:
        decode(bytes(data), SENDER.cluster, KEYS)
    assert caught.value.verdict is verdict


def test_during_rotation_both_keys_are_accepted_and_the_new_one_signs() -> None:
    new, old = b"n" * 32, b"o" * 32
    rotating = Keys(new, old)
    from_old = encode(hello(), SENDER, Keys(old), seq=1, source=MAC)
    assert decode(from_old, SENDER.cluster, rotating).seq == 1
    assert decode(encode(hello(), SENDER, rotating, seq=2, source=MAC), SENDER.cluster, Keys(new)).seq == 2
    with pytest.raises(FrameError):
        decode(from_old, SENDER.cluster, Keys(new))


def test_a_key_that_is_too_short_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="previous: 3 bytes"):
        Keys(b"k" * 32, b"abc")


@given(nonces, st.binary(min_size=4, max_size=4))
def test_a_mark_speaks_for_one_nonce_one_address_and_one_mac(nonce: bytes, address: bytes) -> None:
    found = mark(KEYS, nonce, address, MAC)
    assert len(found) == 8
    assert any(found)
    assert is_mark(KEYS, found, nonce=nonce, address=address, mac=MAC)
    assert is_mark(Keys(b"z" * 32, KEYS.current), found, nonce=nonce, address=address, mac=MAC)
    assert not is_mark(KEYS, found, nonce=nonce, address=address, mac=bytes(6))
    assert not is_mark(KEYS, found, nonce=bytes([nonce[0] ^ 1]) + nonce[1:], address=address, mac=MAC)


def test_too_many_entries_are_the_senders_error() -> None:
    many = tuple(Entry(number, 1) for number in range(81))
    with pytest.raises(ValueError, match="81 entries"):
        encode(hello(entries=many, owned=81), SENDER, KEYS, seq=1, source=MAC)

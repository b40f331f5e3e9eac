"""Frames: round trips, the reasons of arp_rcv and arp_process, and bytes from anywhere."""

from __future__ import annotations

import contextlib
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp import frames
from strictarp.arp.frames import ArpFrame, Fault, MalformedFrame

MAC_A = bytes.fromhex("020000000001")
MAC_B = bytes.fromhex("020000000002")
IP = bytes([192, 0, 2, 100])
ASKER = bytes([192, 0, 2, 1])
NONCE = bytes(range(1, 9))

macs = st.binary(min_size=6, max_size=6)
unicast_ips = st.binary(min_size=4, max_size=4).filter(lambda ip: ip[0] < 224 and ip[0] != 127)
any_frames = st.builds(
    ArpFrame,
    destination=macs,
    source=macs,
    operation=st.sampled_from([frames.REQUEST, frames.REPLY]),
    sender_mac=macs,
    sender_ip=st.binary(min_size=4, max_size=4),
    target_mac=macs,
    target_ip=unicast_ips,
    mark=st.one_of(st.just(b""), st.binary(min_size=8, max_size=8).filter(any)),
)


@given(any_frames)
def test_every_frame_survives_encoding_and_decoding(frame: ArpFrame) -> None:
    data = frames.encode(frame)
    assert len(data) == frames.MINIMUM_LENGTH
    assert frames.decode(data) == frame
    assert frames.decode(data[: frames.SNAP_LENGTH]) == frame


def test_the_layout_is_that_of_rfc_826() -> None:
    data = frames.request(MAC_A, ASKER, IP)
    assert data[:42].hex() == (
        "ffffffffffff" + "020000000001" + "0806"
        "0001" + "0800" + "06" + "04" + "0001"
        "020000000001" + "c0000201" + "000000000000" + "c0000264"
    )  # fmt: skip
    assert data[42:] == bytes(18)


def test_a_frame_without_padding_has_no_mark() -> None:
    data = frames.probe(MAC_A, IP, nonce=NONCE)
    assert frames.decode(data).mark == NONCE
    assert frames.decode(data[:49]).mark == b""
    assert frames.decode(data[:42]).mark == b""
    assert frames.decode(data[:50]).mark == NONCE


def test_a_probe_is_a_request_with_no_sender() -> None:
    frame = frames.decode(frames.probe(MAC_A, IP))
    assert frame.is_probe
    assert not frame.is_gratuitous
    assert frame.sender_ip == frames.NO_IP
    assert not frames.decode(frames.request(MAC_A, ASKER, IP)).is_probe


def test_a_reply_goes_to_the_sender_in_the_packet() -> None:
    asked = changed(frames.decode(frames.request(MAC_A, ASKER, IP)), source=MAC_B)
    answer = frames.decode(frames.reply(MAC_B, asked, tag=NONCE))
    assert answer.destination == MAC_A
    assert answer.operation == frames.REPLY
    assert (answer.sender_mac, answer.sender_ip) == (MAC_B, IP)
    assert (answer.target_mac, answer.target_ip) == (MAC_A, ASKER)
    assert answer.mark == NONCE


def test_both_gratuitous_forms_are_what_linux_takes_for_gratuitous() -> None:
    for data in (frames.gratuitous_request(MAC_A, IP), frames.gratuitous_reply(MAC_A, IP)):
        frame = frames.decode(data)
        assert frame.is_gratuitous
        assert frame.destination == frames.BROADCAST_MAC
        assert frame.sender_ip == frame.target_ip == IP
    metallb_form = changed(frames.decode(frames.gratuitous_reply(MAC_A, IP)), target_mac=frames.BROADCAST_MAC)
    assert not metallb_form.is_gratuitous


GOOD = frames.request(MAC_A, ASKER, IP)


def patched(offset: int, value: bytes) -> bytes:
    return GOOD[:offset] + value + GOOD[offset + len(value) :]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (GOOD[:13], Fault.SHORT_ETHERNET),
        (b"", Fault.SHORT_ETHERNET),
        (GOOD[:41], Fault.SHORT_ARP),
        (GOOD[:14], Fault.SHORT_ARP),
        (patched(12, b"\x08\x00")[:20], Fault.NOT_ARP),
        (patched(12, b"\x81\x00"), Fault.NOT_ARP),
        (patched(14, b"\x00\x02"), Fault.HARDWARE_TYPE),
        (patched(16, b"\x86\xdd"), Fault.PROTOCOL_TYPE),
        (patched(18, b"\x08"), Fault.HARDWARE_LENGTH),
        (patched(19, b"\x10"), Fault.PROTOCOL_LENGTH),
        (patched(20, b"\x00\x03"), Fault.OPERATION),
        (patched(38, bytes([224, 0, 0, 1])), Fault.TARGET_MULTICAST),
        (patched(38, bytes([127, 0, 0, 1])), Fault.TARGET_LOOPBACK),
    ],
)
def test_what_linux_drops_is_refused_by_name(data: bytes, fault: Fault) -> None:
    with pytest.raises(MalformedFrame) as caught:
        frames.decode(data)
    assert caught.value.fault is fault


def test_ieee_802_hardware_type_is_accepted_as_linux_does() -> None:
    assert frames.decode(patched(14, struct.pack("!H", 6))).target_ip == IP


@given(st.binary(max_size=80))
def test_only_its_own_error_escapes_from_random_bytes(data: bytes) -> None:
    with contextlib.suppress(MalformedFrame):
        assert frames.decode(data).target_ip == data[38:42]


@given(
    any_frames, st.integers(0, 60), st.lists(st.tuples(st.integers(0, 59), st.integers(0, 255)), max_size=4)
)
def test_only_its_own_error_escapes_from_cut_and_changed_frames(
    frame: ArpFrame, length: int, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(frames.encode(frame))
    for offset, value in changes:
        data[offset] = value
    cut = bytes(data[:length])
    try:
        found = frames.decode(cut)
    except MalformedFrame:
        return
    assert length >= 42
    assert frames.decode(frames.encode(found)) == found


@pytest.mark.parametrize("bad", ["mac", "ip", "mark", "zero mark"])
def test_values_that_cannot_be_a_frame_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        frames.probe(
            b"\x02" if bad == "mac" else MAC_A,
            b"\x01" if bad == "ip" else IP,
            nonce={"mark": b"\x01", "zero mark": bytes(8)}.get(bad, b""),
        )


def test_mac_addresses_are_read_and_written() -> None:
    assert frames.parse_mac("02:00:00:00:00:01") == MAC_A
    assert frames.mac_text(MAC_A) == "02:00:00:00:00:01"
    for text in ("", "02", "02:00:00:00:00", "02:00:00:00:00:0g", "2:0:0:0:0:1", "02-00-00-00-00-01"):
        with pytest.raises(ValueError, match="no MAC address"):
            frames.parse_mac(text)


def changed(frame: ArpFrame, **changes: bytes) -> ArpFrame:
    return msgspec.structs.replace(frame, **changes)

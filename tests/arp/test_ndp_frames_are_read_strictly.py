"""Solicitations and advertisements: exact on the wire, and nothing but MalformedNdp escapes the parser."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp import bpf, ndp
from strictarp.arp import ndp_frames as frames
from strictarp.arp.ndp_frames import ADVERTISEMENT, SOLICITATION, Fault, MalformedNdp, NdpFrame
from support import bpf_machine

MAC = bytes.fromhex("020000000001")
OTHER = bytes.fromhex("020000000002")
VIP = ipaddress.IPv6Address("2001:db8::100").packed
CLIENT = ipaddress.IPv6Address("2001:db8::9").packed
NONCE = b"nonce678"

macs = st.binary(min_size=6, max_size=6).map(lambda mac: bytes((mac[0] & 0xFE, *mac[1:])))
addresses = st.binary(min_size=16, max_size=16).filter(lambda each: each[0] != 0xFF and any(each))
marks = st.one_of(st.just(b""), st.binary(min_size=8, max_size=8).filter(any))
close = st.one_of(st.integers(0, 0x1FF), st.integers(0, (1 << 128) - 1)).map(
    lambda number: ((0x20010DB8 << 96) ^ number).to_bytes(16, "big")
)


def messages() -> st.SearchStrategy[NdpFrame]:
    return st.builds(
        NdpFrame,
        macs,
        macs,
        st.just(ADVERTISEMENT),
        addresses,
        addresses,
        addresses,
        st.one_of(st.just(b""), macs),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        marks,
    ) | st.builds(
        NdpFrame, macs, macs, st.just(SOLICITATION), addresses, addresses, addresses, macs, mark=marks
    )


@given(messages(), st.binary(max_size=20))
def test_what_is_sent_is_what_is_read_whatever_pads_it(frame: NdpFrame, padding: bytes) -> None:
    assert frames.decode(frames.encode(frame) + padding) == frame


def test_a_question_is_laid_out_as_the_standards_say() -> None:
    """2001:db8::9 asks for 2001:db8::100 (RFC 2464, 4861, 8200), its checksum added up word by word."""
    expected = bytes.fromhex(
        "3333ff000100" "020000000001" "86dd"
        "6000000000203aff" "20010db8000000000000000000000009" "ff0200000000000000000001ff000100"
        "8700" "0000" "00000000" "20010db8000000000000000000000100" "0101020000000001"
    )  # fmt: skip
    words = struct.unpack("!36H", expected[22:54] + b"\0\0\0\x20\0\0\0\x3a" + expected[54:])
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    expected = expected[:56] + (~total & 0xFFFF).to_bytes(2, "big") + expected[58:]
    assert frames.solicit(MAC, CLIENT, VIP) == expected
    found = frames.decode(expected)
    assert (found.sender, found.target, found.mac, found.is_probe) == (CLIENT, VIP, MAC, False)


def test_groups_are_those_of_the_kernels_model() -> None:
    number = int.from_bytes(VIP, "big")
    assert int.from_bytes(frames.solicited_node(VIP), "big") == ndp.solicited_node(number)
    assert frames.group_mac(frames.solicited_node(VIP)).hex() == "3333ff000100"


def test_a_probe_is_answered_to_all_and_a_question_to_who_asked() -> None:
    told = frames.decode(
        frames.advertise(MAC, frames.decode(frames.probe(OTHER, VIP, nonce=NONCE)), tag=NONCE)
    )
    assert (told.destination, told.receiver) == (frames.ALL_NODES_MAC, frames.ALL_NODES)
    assert (told.solicited, told.override, told.mac, told.mark) == (False, True, MAC, NONCE)
    told = frames.decode(frames.advertise(MAC, frames.decode(frames.solicit(OTHER, CLIENT, VIP, to=MAC))))
    assert (told.destination, told.receiver, told.solicited, told.mark) == (OTHER, CLIENT, True, b"")


def test_only_our_nonces_are_marks() -> None:
    whole = frames.probe(MAC, VIP, nonce=NONCE)
    assert frames.decode(whole).mark == NONCE
    foreign = _with_body(whole, whole[78:].replace(b"strict", b"others"))
    assert frames.decode(foreign).mark == b""
    linux = _with_body(frames.probe(MAC, VIP), b"\x0e\x01sixbyt")
    assert frames.decode(linux).is_probe
    assert frames.decode(linux).mark == b""


def _with_body(whole: bytes, options: bytes, *, patch: dict[int, int] | None = None) -> bytes:
    """The frame with other options, lengths and checksum right again; patch: bytes changed before that."""
    raw = bytearray(whole[:78] + options)
    raw[18:20] = (len(raw) - 54).to_bytes(2, "big")
    for at, value in (patch or {}).items():
        raw[at] = value
    raw[56:58] = b"\0\0"
    body = bytes(raw[54:])
    whole_sum = bytes(raw[22:54]) + struct.pack("!II", len(body), 58) + body + b"\0" * (len(body) & 1)
    raw[56:58] = (0xFFFF - int.from_bytes(whole_sum, "big") % 0xFFFF).to_bytes(2, "big")
    return bytes(raw)


ASKED = frames.solicit(MAC, CLIENT, VIP)
TOLD = frames.unsolicited(MAC, VIP)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (ASKED[:77], Fault.SHORT),
        (ASKED[:12] + b"\x08\x00" + ASKED[14:], Fault.NOT_IPV6),
        (_with_body(ASKED, ASKED[78:], patch={14: 0x40}), Fault.VERSION),
        (_with_body(ASKED, ASKED[78:], patch={20: 0}), Fault.NEXT_HEADER),
        (_with_body(ASKED, ASKED[78:], patch={21: 254}), Fault.HOP_LIMIT),
        (_with_body(ASKED, ASKED[78:], patch={19: 255}), Fault.LENGTH),
        (_with_body(ASKED, ASKED[78:], patch={19: 23}), Fault.LENGTH),
        (_with_body(ASKED, ASKED[78:], patch={54: 133}), Fault.TYPE),
        (_with_body(ASKED, ASKED[78:], patch={55: 1}), Fault.CODE),
        (ASKED[:56] + b"\x12\x34" + ASKED[58:], Fault.CHECKSUM),
        (_with_body(ASKED, ASKED[78:], patch={22: 0xFF}), Fault.SENDER),
        (_with_body(ASKED, ASKED[78:], patch={62: 0xFF}), Fault.TARGET),
        (_with_body(ASKED, b"\x01\x00" + MAC), Fault.OPTION),
        (_with_body(ASKED, b"\x01\x02" + MAC), Fault.OPTION),
        (_with_body(ASKED, b"\x01\x02" + MAC + bytes(8)), Fault.OPTION),
        (_with_body(ASKED, ASKED[78:] + b"\x05"), Fault.OPTION),
        (_with_body(ASKED, b"\x01\x01\x01\0\0\0\0\1"), Fault.MAC),
        (_with_body(frames.probe(MAC, VIP), b"\x01\x01" + MAC), Fault.PROBE),
        (_with_body(frames.probe(MAC, VIP), b"", patch={53: 1}), Fault.PROBE),
        (_with_body(TOLD, TOLD[78:], patch={58: 0x60}), Fault.SOLICITED),
    ],
)
def test_what_no_host_would_heed_is_refused_and_named(data: bytes, fault: Fault) -> None:
    with pytest.raises(MalformedNdp) as caught:
        frames.decode(data)
    assert caught.value.fault is fault


def test_cut_and_mutated_frames_raise_nothing_else() -> None:
    chance = random.Random(6)
    whole = frames.advertise(MAC, frames.decode(frames.probe(OTHER, VIP, nonce=NONCE)), tag=NONCE)
    for sample in (whole, ASKED, TOLD):
        for length in range(len(sample)):
            with pytest.raises(MalformedNdp):
                frames.decode(sample[:length])
        for _ in range(5_000):
            raw = bytearray(sample)
            for _ in range(chance.randint(1, 4)):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
            _try(_with_body(bytes(raw), bytes(raw[78:])))
            _try(bytes(raw))


@given(st.binary(max_size=200))
def test_noise_raises_nothing_else(data: bytes) -> None:
    _try(data)


def _try(data: bytes) -> None:
    with contextlib.suppress(MalformedNdp):
        frames.decode(data)


@given(st.lists(close, max_size=30), st.integers(1, 8), close, close)
def test_a_filter_over_prefixes_never_keeps_out_a_frame_of_interest(
    wanted: list[bytes], limit: int, sender: bytes, target: bytes
) -> None:
    prefixes = bpf.aggregate6(wanted, limit)
    assert len(prefixes) <= limit
    frame = frames.encode(NdpFrame(MAC, OTHER, SOLICITATION, sender, target, target, OTHER))
    kept = bpf_machine.run(bpf.ndp_about(prefixes), frame)
    inside = any(
        int.from_bytes(each, "big") >> (128 - prefix.length) == prefix.network >> (128 - prefix.length)
        for each in (sender, target)
        for prefix in prefixes
    )
    assert bool(kept) == inside
    if sender in wanted or target in wanted:
        assert kept == bpf.WHOLE_FRAME


@given(st.lists(close, max_size=40))
def test_prefixes_without_a_limit_are_the_addresses(wanted: list[bytes]) -> None:
    found = bpf.aggregate6(wanted, 1000)
    assert [(each.network, each.length) for each in found] == [
        (number, 128) for number in sorted({int.from_bytes(each, "big") for each in wanted})
    ]


def test_the_filter_fits_and_passes_neighbour_discovery_only() -> None:
    every = bpf.aggregate6([bytes((0x20, 1, 13, 0xB8, *bytes(10), i, 1)) for i in range(200)])
    assert len(every) == bpf.MAX_RANGES
    program = bpf.ndp_about(every)
    assert len(program) < bpf.MAX_INSTRUCTIONS
    everything = bpf.ndp_about((bpf.Prefix(0, 0),))
    assert bpf_machine.run(everything, ASKED) == bpf.WHOLE_FRAME
    assert bpf_machine.run(everything, ASKED, 3) == 0
    assert bpf_machine.run(everything, ASKED[:54] + b"\x86" + ASKED[55:]) == 0
    assert bpf_machine.run(everything, ASKED[:20] + b"\x06" + ASKED[21:]) == 0
    assert bpf_machine.run(everything, ASKED[:60]) == bpf.WHOLE_FRAME, "the reader decides"
    with pytest.raises(ValueError, match=f"{bpf.MAX_INSTRUCTIONS} fit"):
        bpf.ndp_about(bpf.aggregate6([bytes((0x20, *bytes(13), i, 1)) for i in range(250)], 250))

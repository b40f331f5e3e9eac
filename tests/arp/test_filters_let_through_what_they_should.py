"""Classic BPF programs, asked by an interpreter of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp import bpf, frames
from strictarp.arp.bpf import Range
from support import bpf_machine

MAC = bytes.fromhex("020000000001")
addresses = st.one_of(
    st.integers(0xC0000200, 0xC00002FF), st.integers(0, 0xFFFFFFFF)
).map(lambda number: number.to_bytes(4, "big"))  # fmt: skip
FOR_US = (0, 1, 2)
NOT_FOR_US = (3, 4, 5, 6, 7)


@given(st.lists(addresses, max_size=40), st.integers(1, 8), addresses, addresses)
def test_a_filter_over_ranges_never_keeps_out_a_frame_of_interest(
    wanted: list[bytes], limit: int, sender: bytes, target: bytes
) -> None:
    ranges = bpf.aggregate(wanted, limit)
    assert len(ranges) <= limit
    kept = bpf_machine.run(bpf.arp_about(ranges), frames.request(MAC, sender, target))
    number = [int.from_bytes(each, "big") for each in (sender, target)]
    inside = any(each.first <= value <= each.last for each in ranges for value in number)
    assert bool(kept) == inside
    if sender in wanted or target in wanted:
        assert kept == frames.SNAP_LENGTH


@given(st.lists(addresses, max_size=60))
def test_ranges_without_a_limit_hold_exactly_the_addresses(wanted: list[bytes]) -> None:
    ranges = bpf.aggregate(wanted, 1000)
    held = {number for each in ranges for number in range(each.first, each.last + 1)}
    assert held == {int.from_bytes(each, "big") for each in wanted}
    assert list(ranges) == sorted(ranges)


def test_the_smallest_gaps_are_bridged_first() -> None:
    wanted = [bytes([192, 0, 2, last]) for last in (1, 2, 3, 10, 12, 200)]
    base = 0xC0000200
    assert bpf.aggregate(wanted, 3) == (
        Range(base + 1, base + 3),
        Range(base + 10, base + 12),
        Range(base + 200, base + 200),
    )
    assert bpf.aggregate(wanted, 1) == (Range(base + 1, base + 200),)
    assert bpf.aggregate([], 4) == ()


@pytest.mark.parametrize("kind", FOR_US + NOT_FOR_US)
def test_frames_to_others_and_from_ourselves_are_kept_out(kind: int) -> None:
    frame = frames.probe(MAC, bytes([192, 0, 2, 100]))
    about = bpf.arp_about((Range(0, 0xFFFFFFFF),))
    assert bool(bpf_machine.run(bpf.arp(), frame, kind)) == (kind in FOR_US)
    assert bool(bpf_machine.run(about, frame, kind)) == (kind in FOR_US)
    assert bpf_machine.run(bpf.arp(everybodys=True), frame, kind) == frames.SNAP_LENGTH


def test_frames_of_a_vlan_on_top_and_of_a_bond_below_are_kept_out() -> None:
    frame = frames.probe(MAC, bytes([192, 0, 2, 100]))
    for program in (bpf.arp(), bpf.arp_about((Range(0, 0xFFFFFFFF),))):
        assert bpf_machine.run(bpf.on_link(7, program), frame, interface=7) == frames.SNAP_LENGTH
        assert bpf_machine.run(bpf.on_link(7, program), frame, interface=8) == 0


def test_only_the_ether_type_that_was_asked_for_passes() -> None:
    hello = b"\xff" * 6 + MAC + b"\x88\xb5" + bytes(46)
    arp = frames.probe(MAC, bytes([192, 0, 2, 100]))
    assert bpf_machine.run(bpf.ethertype(0x88B5), hello) == bpf.WHOLE_FRAME
    assert bpf_machine.run(bpf.ethertype(0x88B5), arp) == 0
    assert bpf_machine.run(bpf.arp(), hello) == 0
    assert bpf_machine.run(bpf.nothing(), arp) == 0


@given(st.binary(max_size=41))
def test_truncated_frames_never_pass_a_filter_over_ranges(data: bytes) -> None:
    assert bpf_machine.run(bpf.arp_about((Range(0, 0xFFFFFFFF),)), data[:30]) == 0


def test_too_many_ranges_are_refused() -> None:
    ranges = tuple(Range(2 * number, 2 * number) for number in range(1000))
    with pytest.raises(ValueError, match="4090 fit"):
        bpf.arp_about(ranges)
    fitting = bpf.on_link(7, bpf.arp_about(ranges[: bpf.MAX_RANGES]))
    assert len(fitting) < bpf.MAX_INSTRUCTIONS


def test_a_program_is_an_array_of_sock_filter() -> None:
    assert bpf.assemble(bpf.nothing()).hex() == "06000000" + "00000000"
    assert len(bpf.assemble(bpf.arp())) == 8 * len(bpf.arp())


@pytest.mark.parametrize("mark", [0, 0xA5, 0xA500])
def test_a_mark_tells_two_sockets_frames_apart(mark: int) -> None:
    frame = frames.probe(MAC, bytes([192, 0, 2, 100]))
    about = bpf.arp_about((Range(0xC0000264, 0xC0000264),))
    with_it = bpf_machine.run(bpf.marked(0xA5, about), frame, mark=mark)
    without = bpf_machine.run(bpf.marked(0xA5, about, others=True), frame, mark=mark)
    assert (bool(with_it), bool(without)) == (mark == 0xA5, mark != 0xA5)


def test_the_longest_filter_fits_with_all_that_stands_before_it() -> None:
    ranges = tuple(Range(2 * number, 2 * number) for number in range(bpf.MAX_RANGES))
    prefixes = tuple(bpf.Prefix(number << 64, 64) for number in range(bpf.MAX_RANGES))
    for program in (bpf.arp_about(ranges), bpf.ndp_about(prefixes)):
        assert len(bpf.on_link(1, bpf.marked(1, program))) <= 4096

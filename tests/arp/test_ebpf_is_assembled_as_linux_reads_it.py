"""The assembler for eBPF, and what can be seen of our program without a kernel."""

from __future__ import annotations

import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp import answering, ebpf
from strictarp.arp.ebpf import If, Instruction, Label, Size, Step

LITTLE = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes as a little endian machine has them")
MAC = bytes.fromhex("020000000007")
# From the kernel's own documentation and `llvm-objdump -d` of such lines in C.
KNOWN = [
    (ebpf.move(0, -1), "b7000000ffffffff"),
    (ebpf.move(3, 60), "b70300003c000000"),
    (ebpf.copy(6, 1), "bf16000000000000"),
    (ebpf.add(2, -24), "07020000e8ffffff"),
    (ebpf.load(Size.WORD, 2, 6, 40), "6162280000000000"),
    (ebpf.load(Size.DOUBLE, 1, 1, 0), "7911000000000000"),
    (ebpf.load(Size.BYTE, 0, 10, -56), "71a0c8ff00000000"),
    (ebpf.store(Size.HALF, 10, -126, 0), "6b0a82ff00000000"),
    (ebpf.store_number(Size.DOUBLE, 10, -8, 0), "7a0af8ff00000000"),
    (ebpf.call(125), "850000007d000000"),
    (ebpf.leave(), "9500000000000000"),
]


@LITTLE
@pytest.mark.parametrize(("step", "expected"), KNOWN)
def test_instructions_are_encoded_as_the_kernel_documents_them(step: Instruction, expected: str) -> None:
    assert ebpf.assemble([step]).hex() == expected


@LITTLE
def test_a_map_takes_two_instructions_and_jumps_count_both() -> None:
    program: list[Step] = [
        ebpf.jump(If.UNEQUAL, 0, 0xFFFFFFFF, "end"),
        *ebpf.map_address(1, 5),
        *ebpf.value_address(2, 6),
        ebpf.goto("end"),
        Label("end"),
        ebpf.leave(),
    ]
    code = ebpf.assemble(program)
    assert code[:8].hex() == "56000500ffffffff"
    assert code[8:24].hex() == "18110000050000000000000000000000"
    assert code[24:40].hex() == "18220000060000000000000000000000"
    assert code[40:48].hex() == "0500000000000000"


@given(st.integers(0, 300), st.booleans())
def test_a_jump_leads_to_its_label_forth_and_back(distance: int, back: bool) -> None:
    between: list[Step] = [ebpf.move(0, 0)] * distance
    steps = [Label("x"), *between, ebpf.goto("x")] if back else [ebpf.goto("x"), *between, Label("x")]
    code = ebpf.assemble([*steps, ebpf.leave()])
    place = distance if back else 0
    (offset,) = struct.unpack_from("=h", code, 8 * place + 2)
    assert place + 1 + offset == (0 if back else 1 + distance)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ([ebpf.goto("nowhere")], "no label 'nowhere'"),
        ([Label("x"), Label("x")], "label 'x' is there twice"),
        ([ebpf.goto("x"), *[ebpf.leave()] * 40_000, Label("x")], "does not fit"),
    ],
)
def test_a_program_that_cannot_be_is_refused(program: list[Step], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ebpf.assemble(program)


def test_the_program_goes_on_only_and_ends() -> None:
    code = answering.program(MAC, addresses=3, lease=4)
    assert len(code) % 8 == 0
    steps = list(struct.iter_unpack("=BBhi", code))
    jumps = [
        (place, step[2])
        for place, step in enumerate(steps)
        if step[0] & 7 in (5, 6) and step[0] not in (0x85, 0x95)
    ]
    assert jumps
    assert all(offset >= 0 and place + 1 + offset < len(steps) for place, offset in jumps)
    assert steps[-1][0] == 0x95


def test_addresses_that_arp_does_not_ask_for_are_kept_out() -> None:
    assert answering.may_hold(bytes([192, 0, 2, 1]))
    assert not answering.may_hold(bytes([127, 0, 0, 1]))
    assert not answering.may_hold(bytes([224, 0, 0, 1]))
    assert not answering.may_hold(bytes([239, 1, 2, 3]))
    assert not answering.may_hold(bytes(16))

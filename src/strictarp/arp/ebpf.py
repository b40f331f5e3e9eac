"""An assembler for eBPF, with the instructions that our program uses. Pure.

Encoding after Linux uapi/linux/bpf.h (struct bpf_insn) and
Documentation/bpf/standardization/instruction-set.rst. Registers are numbers: 0 is what a call returns, 1 to
5 are its arguments and lost by it, 6 to 9 are kept, 10 is the end of the stack.
"""

from __future__ import annotations

import enum
import struct
import sys
from collections.abc import Sequence

import msgspec

STACK_END = 10
_SIGNED_16 = range(-0x8000, 0x8000)

_LOAD, _STORE_NUMBER, _STORE, _LOAD_DOUBLE = 0x61, 0x62, 0x63, 0x18
_MOVE_NUMBER, _MOVE, _ADD_NUMBER = 0xB7, 0xBF, 0x07
_JUMP, _JUMP_32, _BY_REGISTER = 0x05, 0x06, 0x08
_GOTO, _CALL, _EXIT = 0x05, 0x85, 0x95
_MAP, _MAP_VALUE = 1, 2
"""BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE: what the number of a double load means."""
_INSTRUCTION = struct.Struct("=BBhi")


class Size(enum.IntEnum):
    """Width of a load or store."""

    WORD = 0x00
    HALF = 0x08
    BYTE = 0x10
    DOUBLE = 0x18


class If(enum.IntEnum):
    """When to jump; numbers count as unsigned."""

    EQUAL = 0x10
    ABOVE = 0x20
    ANY_BIT = 0x40
    UNEQUAL = 0x50
    BELOW = 0xA0


class Instruction(msgspec.Struct, frozen=True, gc=False):
    """struct bpf_insn; `target` names the label that a jump leads to, in place of `offset`."""

    code: int
    to: int = 0
    of: int = 0
    offset: int = 0
    number: int = 0
    target: str = ""


class Label(msgspec.Struct, frozen=True, gc=False):
    """A place to jump to."""

    name: str


Step = Instruction | Label


def move(to: int, number: int) -> Instruction:
    """Register `to` becomes a number of 32 bits, its sign extended."""
    return Instruction(_MOVE_NUMBER, to, number=number)


def copy(to: int, of: int) -> Instruction:
    """Register `to` becomes register `of`."""
    return Instruction(_MOVE, to, of)


def add(to: int, number: int) -> Instruction:
    """Add a number to a register."""
    return Instruction(_ADD_NUMBER, to, number=number)


def load(size: Size, to: int, of: int, offset: int) -> Instruction:
    """Register `to` becomes what lies in memory at register `of` + offset."""
    return Instruction(_LOAD | size, to, of, offset)


def store(size: Size, to: int, offset: int, of: int) -> Instruction:
    """Write register `of` to memory at register `to` + offset."""
    return Instruction(_STORE | size, to, of, offset)


def store_number(size: Size, to: int, offset: int, number: int) -> Instruction:
    """Write a number to memory at register `to` + offset."""
    return Instruction(_STORE_NUMBER | size, to, offset=offset, number=number)


def jump(when: If, register: int, number: int, target: str) -> Instruction:
    """Jump if the lower 32 bits of a register compare so with a number."""
    return Instruction(_JUMP_32 | when, register, number=number, target=target)


def jump_if_none(register: int, target: str) -> Instruction:
    """Jump if a register is zero in all its 64 bits: a pointer to nothing."""
    return Instruction(_JUMP | If.EQUAL, register, target=target)


def jump_by(when: If, register: int, other: int, target: str) -> Instruction:
    """Jump if a register compares so with another, in all their 64 bits."""
    return Instruction(_JUMP | _BY_REGISTER | when, register, other, target=target)


def goto(target: str) -> Instruction:
    """Jump."""
    return Instruction(_GOTO, target=target)


def call(helper: int) -> Instruction:
    """Call a function of the kernel by its number (uapi/linux/bpf.h, __BPF_FUNC_MAPPER)."""
    return Instruction(_CALL, number=helper)


def leave() -> Instruction:
    """Return register 0."""
    return Instruction(_EXIT)


def map_address(to: int, descriptor: int) -> tuple[Instruction, Instruction]:
    """Register `to` becomes the map with this descriptor, for calls."""
    return Instruction(_LOAD_DOUBLE, to, _MAP, number=descriptor), Instruction(0)


def value_address(to: int, descriptor: int) -> tuple[Instruction, Instruction]:
    """Register `to` becomes the address of the first value of an array map."""
    return Instruction(_LOAD_DOUBLE, to, _MAP_VALUE, number=descriptor), Instruction(0)


def native(data: bytes) -> int:
    """What a load finds where these bytes lie, or what a store has to write there, up to 4 bytes."""
    return int.from_bytes(data, sys.byteorder)


def assemble(program: Sequence[Step]) -> bytes:
    """The program as an array of struct bpf_insn, as this machine reads it.

    Raises ValueError for a jump to a label that is not there, is there twice, or is too far.
    """
    places: dict[str, int] = {}
    steps: list[Instruction] = []
    for each in program:
        if isinstance(each, Instruction):
            steps.append(each)
        elif each.name in places:
            raise ValueError(f"label {each.name!r} is there twice")
        else:
            places[each.name] = len(steps)
    return b"".join(_pack(step, place, places) for place, step in enumerate(steps))


def _pack(step: Instruction, place: int, places: dict[str, int]) -> bytes:
    offset = step.offset
    if step.target:
        if step.target not in places:
            raise ValueError(f"no label {step.target!r}")
        offset = places[step.target] - place - 1
    if offset not in _SIGNED_16:
        raise ValueError(f"offset {offset} of instruction {place} does not fit into 16 bits")
    # Two fields of 4 bits: the first one is the lower half of a byte where the lower byte comes first.
    registers = step.to | step.of << 4 if sys.byteorder == "little" else step.to << 4 | step.of
    number = step.number - (1 << 32) if step.number >= 1 << 31 else step.number
    return _INSTRUCTION.pack(step.code, registers, offset, number)

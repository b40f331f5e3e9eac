"""An interpreter of the classic BPF instructions that our filters use; a model to ask, slow and plain."""

from __future__ import annotations

from strictarp.arp.bpf import Program

PACKET_TYPE, INTERFACE, MARK = 0xFFFFF004, 0xFFFFF008, 0xFFFFF014


def run(program: Program, frame: bytes, packet_type: int = 0, interface: int = 0, mark: int = 0) -> int:
    """How many bytes of the frame the program keeps (Linux net/core/filter.c; out of bounds drops)."""
    accumulator, counter = 0, 0
    while True:
        step = program[counter]
        counter += 1
        match step.code:
            case 0x06:
                return step.operand
            case 0x20 | 0x28 if step.operand == PACKET_TYPE:
                accumulator = packet_type
            case 0x20 if step.operand == INTERFACE:
                accumulator = interface
            case 0x20 if step.operand == MARK:
                accumulator = mark
            case 0x54:
                accumulator &= step.operand
            case 0x20 | 0x28 | 0x30:
                width = {0x20: 4, 0x28: 2, 0x30: 1}[step.code]
                if step.operand + width > len(frame):
                    return 0
                accumulator = int.from_bytes(frame[step.operand : step.operand + width], "big")
            case 0x15:
                counter += step.if_true if accumulator == step.operand else step.if_false
            case 0x25:
                counter += step.if_true if accumulator > step.operand else step.if_false
            case 0x35:
                counter += step.if_true if accumulator >= step.operand else step.if_false
            case _:
                raise AssertionError(f"unknown instruction {step}")

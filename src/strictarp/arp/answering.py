"""The eBPF program that answers ARP in passing, for the owner of an address, while its lease holds. Pure.

It runs at the link's ingress (TCX), before the kernel's own ARP and before packet sockets of one EtherType
(net/core/dev.c __netif_receive_skb_core), and lets every frame go on as it came: they all hear the
question. The question that it has answered carries the mark `ANSWERED` from then on, so whoever hears it
need not guess.

It answers what `strictarp.speaker.resolution` answers, with the same bytes, but for what is left to the
process: probes, whose answer proves that the process lives; questions that carry a mark in their padding;
frames of hardware type 6, longer than Ethernet's minimum, or with a VLAN tag; frames that another program
has marked.
"""

from __future__ import annotations

import sys

from strictarp.arp import ebpf
from strictarp.arp.ebpf import STACK_END, If, Label, Size, Step, native
from strictarp.arp.frames import BROADCAST_MAC, ETHERTYPE_ARP, MARK_LENGTH, MINIMUM_LENGTH

ANSWERED = 0xA5
"""skb->mark of a question that was answered. It leaves the upper bytes alone, where CNI plugins keep
theirs.
"""
ADDRESS_LENGTH = 4
"""Key of the map of addresses: the packed IPv4 address. Its value, one byte, means nothing."""
NEVER = bytes(8)
"""The lease of who may not answer."""

_LENGTH, _PACKET_TYPE, _MARK, _PROTOCOL, _VLAN_PRESENT, _LINK = 0, 4, 8, 16, 20, 40
"""Fields of struct __sk_buff (uapi/linux/bpf.h)."""
_PACKET_BROADCAST = 1
"""PACKET_HOST 0 and this are for us; others go to a group, to another host, or are our own."""
_LOOKUP, _STORE_BYTES, _CLONE_REDIRECT, _LOAD_BYTES, _CHANGE_TAIL, _BOOT_TIME = 1, 9, 13, 26, 38, 125
_NEXT, _DROP = -1, 2
"""TCX_NEXT: go on as if this program were not there; TCX_DROP."""

_SHORTEST = 42
_DESTINATION, _SOURCE, _TYPE, _HARDWARE, _LENGTHS = 0, 6, 12, 14, 18
_SENDER_MAC, _SENDER, _TARGET_MAC, _TARGET, _PADDING = 22, 28, 32, 38, 42
_ETHERTYPE = ETHERTYPE_ARP.to_bytes(2, "big")
_ETHERNET_IPV4 = b"\x00\x01\x08\x00"
_LENGTHS_REQUEST, _LENGTHS_REPLY = b"\x06\x04\x00\x01", b"\x06\x04\x00\x02"

# Loads and stores of the stack must be aligned to their width: so both frames lie 2 bytes beside a multiple
# of 8, as in the kernel's own buffers, and what comes behind the Ethernet header does not.
_ASKED, _REPLY = -62, -126
_FRAME, _FAILED, _SIZE = 6, 7, 8
"""Registers that calls keep: struct __sk_buff, whether the answer has not left, length of the question."""
_PASS, _GIVE_UP = "pass", "drop"


def program(mac: bytes, *, addresses: int, lease: int) -> bytes:
    """The program for a link with this MAC, ready to be loaded.

    addresses: descriptor of the hash map of owned addresses. lease: descriptor of an array map of one, see
    `lease_value`.
    """
    return ebpf.assemble(
        [
            *_take_only_plain_arp(),
            *_read_question(),
            *_check_question(mac),
            *_check_right(addresses, lease),
            *_compose(mac),
            *_send_and_restore(),
            Label(_PASS),
            ebpf.move(0, _NEXT),
            ebpf.leave(),
            Label(_GIVE_UP),
            ebpf.move(0, _DROP),
            ebpf.leave(),
        ]
    )


def lease_value(micros: int) -> bytes:
    """What the lease map holds: the last ns of CLOCK_BOOTTIME in which to answer. micros: the same in µs."""
    return (micros * 1_000).to_bytes(8, sys.byteorder)


def may_hold(address: bytes) -> bool:
    """Whether an address is one that ARP asks for at all (strictarp.arp.frames.decode refuses the others)."""
    return len(address) == ADDRESS_LENGTH and address[0] != 127 and address[0] & 0xF0 != 0xE0


def _take_only_plain_arp() -> list[Step]:
    """The mark comes first: one that is ours stems from another link of this host, and says nothing here."""
    return [
        ebpf.copy(_FRAME, 1),
        ebpf.load(Size.WORD, 0, _FRAME, _PROTOCOL),
        ebpf.jump(If.UNEQUAL, 0, native(_ETHERTYPE), _PASS),
        ebpf.load(Size.WORD, 0, _FRAME, _MARK),
        ebpf.jump(If.EQUAL, 0, 0, "unmarked"),
        ebpf.jump(If.UNEQUAL, 0, ANSWERED, _PASS),
        ebpf.move(0, 0),
        ebpf.store(Size.WORD, _FRAME, _MARK, 0),
        Label("unmarked"),
        ebpf.load(Size.WORD, 0, _FRAME, _VLAN_PRESENT),
        ebpf.jump(If.UNEQUAL, 0, 0, _PASS),
        ebpf.load(Size.WORD, 0, _FRAME, _PACKET_TYPE),
        ebpf.jump(If.ABOVE, 0, _PACKET_BROADCAST, _PASS),
        ebpf.load(Size.WORD, _SIZE, _FRAME, _LENGTH),
        ebpf.jump(If.BELOW, _SIZE, _SHORTEST, _PASS),
        ebpf.jump(If.ABOVE, _SIZE, MINIMUM_LENGTH, _PASS),
    ]


def _read_question() -> list[Step]:
    """A copy of it on the stack, zeros behind."""
    return [
        *(ebpf.store_number(Size.DOUBLE, STACK_END, place, 0) for place in range(-64, 0, 8)),
        ebpf.copy(1, _FRAME),
        ebpf.move(2, 0),
        *_stack(3, _ASKED),
        ebpf.copy(4, _SIZE),
        ebpf.call(_LOAD_BYTES),
        ebpf.jump(If.UNEQUAL, 0, 0, _PASS),
    ]


def _check_question(mac: bytes) -> list[Step]:
    """As strictarp.arp.frames.decode and strictarp.speaker.resolution read it."""
    return [
        *_unless(_TYPE, _ETHERTYPE, _PASS),
        *_unless(_HARDWARE, _ETHERNET_IPV4, _PASS),
        *_unless(_LENGTHS, _LENGTHS_REQUEST, _PASS),
        *_unless(_DESTINATION, BROADCAST_MAC, "to one"),
        ebpf.goto("to us"),
        Label("to one"),
        *_unless(_DESTINATION, mac, _PASS),
        Label("to us"),
        *_if_group(_SOURCE),
        *_if_group(_SENDER_MAC),
        *_unless(_SENDER_MAC, mac, "of another"),
        ebpf.goto(_PASS),
        Label("of another"),
        *_unless(_SENDER, bytes(4), "of a host"),
        ebpf.goto(_PASS),
        Label("of a host"),
        *_unless_alike(_SENDER, _TARGET, 4, "of two"),
        ebpf.goto(_PASS),
        Label("of two"),
        ebpf.jump(If.BELOW, _SIZE, _PADDING + MARK_LENGTH, "without mark"),
        *_unless(_PADDING, bytes(MARK_LENGTH), _PASS),
        Label("without mark"),
    ]


def _check_right(addresses: int, lease: int) -> list[Step]:
    """Owned, and the lease holds: looked at last, right before the answer is sent."""
    return [
        *ebpf.map_address(1, addresses),
        *_stack(2, _ASKED + _TARGET),
        ebpf.call(_LOOKUP),
        ebpf.jump_if_none(0, _PASS),
        ebpf.call(_BOOT_TIME),
        *ebpf.value_address(1, lease),
        ebpf.load(Size.DOUBLE, 1, 1, 0),
        ebpf.jump_by(If.ABOVE, 0, 1, _PASS),
    ]


def _compose(mac: bytes) -> list[Step]:
    """As strictarp.arp.frames.reply does, without a mark."""
    return [
        *_copy(_SENDER_MAC, _DESTINATION, 6),
        *_put(_SOURCE, mac),
        *_put(_TYPE, _ETHERTYPE + _ETHERNET_IPV4 + _LENGTHS_REPLY + mac),
        *_copy(_TARGET, _SENDER, 4),
        *_copy(_SENDER_MAC, _TARGET_MAC, 6),
        *_copy(_SENDER, _TARGET, 4),
        *_put(_PADDING, bytes(MINIMUM_LENGTH - _PADDING)),
    ]


def _send_and_restore() -> list[Step]:
    """The frame becomes the answer, a clone of which is sent, and then the question again.

    bpf_clone_redirect gives the frame a memory of its own again after it has cloned it (net/core/filter.c).
    A frame that cannot be made the question again is dropped: nobody must take an answer for what was on
    the wire.
    """
    return [
        *_resize(ebpf.move(2, MINIMUM_LENGTH)),
        ebpf.jump(If.UNEQUAL, 0, 0, _PASS),
        *_write(_REPLY),
        ebpf.copy(_FAILED, 0),
        ebpf.jump(If.UNEQUAL, _FAILED, 0, "restore"),
        ebpf.copy(1, _FRAME),
        ebpf.load(Size.WORD, 2, _FRAME, _LINK),
        ebpf.move(3, 0),
        ebpf.call(_CLONE_REDIRECT),
        ebpf.copy(_FAILED, 0),
        Label("restore"),
        *_write(_ASKED),
        ebpf.jump(If.UNEQUAL, 0, 0, _GIVE_UP),
        *_resize(ebpf.copy(2, _SIZE)),
        ebpf.jump(If.UNEQUAL, 0, 0, _GIVE_UP),
        ebpf.jump(If.UNEQUAL, _FAILED, 0, _PASS),
        ebpf.move(0, ANSWERED),
        ebpf.store(Size.WORD, _FRAME, _MARK, 0),
    ]


def _resize(length: Step) -> list[Step]:
    """Make the frame as long as `length` puts into register 2; what comes anew is zero."""
    return [ebpf.copy(1, _FRAME), length, ebpf.move(3, 0), ebpf.call(_CHANGE_TAIL)]


def _write(frame: int) -> list[Step]:
    """Write a frame of the stack over the one that came, which has the length of an answer."""
    return [
        ebpf.copy(1, _FRAME),
        ebpf.move(2, 0),
        *_stack(3, frame),
        ebpf.move(4, MINIMUM_LENGTH),
        ebpf.move(5, 0),
        ebpf.call(_STORE_BYTES),
    ]


def _stack(register: int, place: int) -> list[Step]:
    return [ebpf.copy(register, STACK_END), ebpf.add(register, place)]


_SIZES = {2: Size.HALF, 4: Size.WORD}


def _pieces(place: int, length: int) -> list[tuple[int, int]]:
    """(place, length) of aligned loads and stores of the stack, of at most 4 bytes, that cover so many
    bytes.
    """
    found = []
    end = place + length
    while place < end:
        size = 4 if place % 4 == 0 and end - place >= 4 else 2
        found.append((place, size))
        place += size
    return found


def _unless(field: int, value: bytes, target: str) -> list[Step]:
    """Jump unless the question has this value in a field."""
    return [
        step
        for place, size in _pieces(_ASKED + field, len(value))
        for step in (
            ebpf.load(_SIZES[size], 0, STACK_END, place),
            ebpf.jump(If.UNEQUAL, 0, native(value[place - _ASKED - field :][:size]), target),
        )
    ]


def _unless_alike(field: int, other: int, length: int, target: str) -> list[Step]:
    """Jump unless two fields of the question are alike."""
    return [
        step
        for offset in range(0, length, 2)
        for step in (
            ebpf.load(Size.HALF, 0, STACK_END, _ASKED + field + offset),
            ebpf.load(Size.HALF, 1, STACK_END, _ASKED + other + offset),
            ebpf.jump_by(If.UNEQUAL, 0, 1, target),
        )
    ]


def _if_group(field: int) -> list[Step]:
    """Pass if a MAC of the question is a group's."""
    return [
        ebpf.load(Size.BYTE, 0, STACK_END, _ASKED + field),
        ebpf.jump(If.ANY_BIT, 0, 1, _PASS),
    ]


def _put(field: int, value: bytes) -> list[Step]:
    """Write a field of the answer."""
    return [
        ebpf.store_number(_SIZES[size], STACK_END, place, native(value[place - _REPLY - field :][:size]))
        for place, size in _pieces(_REPLY + field, len(value))
    ]


def _copy(asked: int, field: int, length: int) -> list[Step]:
    """Write a field of the answer as one of the question is."""
    return [
        step
        for offset in range(0, length, 2)
        for step in (
            ebpf.load(Size.HALF, 0, STACK_END, _ASKED + asked + offset),
            ebpf.store(Size.HALF, STACK_END, _REPLY + field + offset, 0),
        )
    ]

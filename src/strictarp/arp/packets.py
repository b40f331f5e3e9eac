"""An ARP packet as the kernel's decision sees it, also one that `frames` would refuse. Pure values."""

from __future__ import annotations

import struct

import msgspec

from strictarp.arp.frames import BROADCAST_MAC, NO_MAC, REQUEST, ArpFrame

_FRAME = struct.Struct("!6s6sHHHBBH6sI6sI")
HEADER = 14
"""Bytes of an Ethernet header."""


class Packet(msgspec.Struct, frozen=True, gc=False):
    """The fields of a frame; addresses of the protocol are numbers.

    destination, source: of the Ethernet header. length: bytes after it. vlan: id of the tag, None without
    one.
    """

    sender_ip: int
    target_ip: int
    sender_mac: bytes
    target_mac: bytes = NO_MAC
    operation: int = REQUEST
    destination: bytes = BROADCAST_MAC
    source: bytes = NO_MAC
    hardware_type: int = 1
    protocol_type: int = 0x0800
    hardware_length: int = 6
    protocol_length: int = 4
    length: int = 46
    vlan: int | None = None


def packet_of(frame: ArpFrame) -> Packet:
    """The same frame as `frames` knows it."""
    return Packet(
        sender_ip=int.from_bytes(frame.sender_ip, "big"),
        target_ip=int.from_bytes(frame.target_ip, "big"),
        sender_mac=frame.sender_mac,
        target_mac=frame.target_mac,
        operation=frame.operation,
        destination=frame.destination,
        source=frame.source,
    )


def is_group(mac: bytes) -> bool:
    """A multicast address of Ethernet, or broadcast."""
    return bool(mac[0] & 1)


def frame_of(packet: Packet) -> bytes:
    """The packet's bytes from the Ethernet header on, untagged as tc sees them."""
    packed = _FRAME.pack(
        packet.destination,
        packet.source,
        0x0806,
        packet.hardware_type,
        packet.protocol_type,
        packet.hardware_length,
        packet.protocol_length,
        packet.operation,
        packet.sender_mac,
        packet.sender_ip,
        packet.target_mac,
        packet.target_ip,
    )
    return packed.ljust(60, b"\0")[: HEADER + packet.length]

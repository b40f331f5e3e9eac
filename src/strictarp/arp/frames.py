"""Ethernet frames that carry ARP for IPv4: values, encoding, decoding. Pure.

MAC addresses are 6 bytes, IP addresses 4, both packed. What Linux drops before it looks at its addresses
(net/ipv4/arp.c arp_rcv and arp_process) is refused here for the same reason, named by a `Fault`.

Ethernet pads ARP to 60 bytes. The first 8 bytes of that padding carry our mark: a nonce in a speaker's
probe, a tag in a speaker's answer. All other hosts send zeros there and ignore what they get.
"""

from __future__ import annotations

import enum
import struct

import msgspec

ETHERTYPE_ARP = 0x0806
REQUEST, REPLY = 1, 2
BROADCAST_MAC = b"\xff" * 6
NO_MAC = bytes(6)
NO_IP = bytes(4)
MARK_LENGTH = 8
MINIMUM_LENGTH = 60
"""Ethernet's minimum without the checksum."""
SNAP_LENGTH = 64
"""Bytes of a frame that need to be read: header, ARP and mark, 50, rounded up."""

_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_ETHERNET_LENGTH = 14
_MARK_END = _FRAME.size + MARK_LENGTH
_NO_MARK = bytes(MARK_LENGTH)
_PROTOCOL_IPV4 = 0x0800
_HARDWARE_TYPES = (1, 6)


class Fault(enum.StrEnum):
    """Why a frame is no ARP frame that a Linux host would process."""

    SHORT_ETHERNET = "shorter than an Ethernet header"
    NOT_ARP = "EtherType is not 0x0806"
    SHORT_ARP = "shorter than an ARP packet"
    HARDWARE_LENGTH = "hardware address length is not 6"
    PROTOCOL_LENGTH = "protocol address length is not 4"
    HARDWARE_TYPE = "hardware type is neither Ethernet nor IEEE 802"
    PROTOCOL_TYPE = "protocol type is not IPv4"
    OPERATION = "operation is neither request nor reply"
    TARGET_MULTICAST = "target is a multicast address"
    TARGET_LOOPBACK = "target is a loopback address"


class MalformedFrame(Exception):
    """A frame that `decode` refuses; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class ArpFrame(msgspec.Struct, frozen=True, gc=False):
    """One ARP packet with its Ethernet addresses.

    destination, source: of the Ethernet header. mark: 8 bytes of padding, or empty when it is all zeros.
    """

    destination: bytes
    source: bytes
    operation: int
    sender_mac: bytes
    sender_ip: bytes
    target_mac: bytes
    target_ip: bytes
    mark: bytes = b""

    @property
    def is_probe(self) -> bool:
        """An address probe of RFC 5227 2.1.1: a request with the sender address unspecified."""
        return self.operation == REQUEST and self.sender_ip == NO_IP

    @property
    def is_gratuitous(self) -> bool:
        """An announcement as Linux sees it (arp.c arp_is_garp): sender and target are one address, and a
        reply repeats the sender's MAC as target.
        """
        if self.sender_ip != self.target_ip or self.sender_ip == NO_IP:
            return False
        return self.operation == REQUEST or self.target_mac == self.sender_mac


def decode(data: bytes) -> ArpFrame:
    """The ARP frame in `data`, which may be cut after `SNAP_LENGTH` bytes.

    Raises MalformedFrame. The Ethernet source is not compared with the sender in the packet; Linux never
    looks at it.
    """
    if len(data) < _FRAME.size:
        raise MalformedFrame(_shortness(data))
    (
        destination,
        source,
        ethertype,
        hardware_type,
        protocol_type,
        hardware_length,
        protocol_length,
        operation,
        sender_mac,
        sender_ip,
        target_mac,
        target_ip,
    ) = _FRAME.unpack_from(data)
    if ethertype != ETHERTYPE_ARP:
        raise MalformedFrame(Fault.NOT_ARP)
    if hardware_length != 6:
        raise MalformedFrame(Fault.HARDWARE_LENGTH)
    if protocol_length != 4:
        raise MalformedFrame(Fault.PROTOCOL_LENGTH)
    if hardware_type not in _HARDWARE_TYPES:
        raise MalformedFrame(Fault.HARDWARE_TYPE)
    if protocol_type != _PROTOCOL_IPV4:
        raise MalformedFrame(Fault.PROTOCOL_TYPE)
    if operation not in (REQUEST, REPLY):
        raise MalformedFrame(Fault.OPERATION)
    if target_ip[0] & 0xF0 == 0xE0:
        raise MalformedFrame(Fault.TARGET_MULTICAST)
    if target_ip[0] == 127:
        raise MalformedFrame(Fault.TARGET_LOOPBACK)
    mark = bytes(data[_FRAME.size : _MARK_END])
    if len(mark) < MARK_LENGTH or mark == _NO_MARK:
        mark = b""
    return ArpFrame(destination, source, operation, sender_mac, sender_ip, target_mac, target_ip, mark)


def _shortness(data: bytes) -> Fault:
    if len(data) < _ETHERNET_LENGTH:
        return Fault.SHORT_ETHERNET
    if int.from_bytes(data[12:14], "big") != ETHERTYPE_ARP:
        return Fault.NOT_ARP
    return Fault.SHORT_ARP


def encode(frame: ArpFrame) -> bytes:
    """The bytes on the wire, padded to 60.

    Raises ValueError for addresses or a mark of the wrong length, and for a mark of zeros only.
    """
    _check(frame)
    packed = _FRAME.pack(
        frame.destination,
        frame.source,
        ETHERTYPE_ARP,
        1,
        _PROTOCOL_IPV4,
        6,
        4,
        frame.operation,
        frame.sender_mac,
        frame.sender_ip,
        frame.target_mac,
        frame.target_ip,
    )
    return (packed + frame.mark).ljust(MINIMUM_LENGTH, b"\0")


def _check(frame: ArpFrame) -> None:
    for mac in (frame.destination, frame.source, frame.sender_mac, frame.target_mac):
        if len(mac) != 6:
            raise ValueError(f"MAC address of {len(mac)} bytes, 6 expected")
    for address in (frame.sender_ip, frame.target_ip):
        if len(address) != 4:
            raise ValueError(f"IPv4 address of {len(address)} bytes, 4 expected")
    if frame.mark and (len(frame.mark) != MARK_LENGTH or frame.mark == _NO_MARK):
        raise ValueError("a mark is 8 bytes, not all of them zero")


def probe(mac: bytes, target: bytes, *, nonce: bytes = b"", to: bytes = BROADCAST_MAC) -> bytes:
    """Ask who has `target` without touching a cache: sender 0.0.0.0 (RFC 5227 2.1.1)."""
    return encode(ArpFrame(to, mac, REQUEST, mac, NO_IP, NO_MAC, target, nonce))


def request(mac: bytes, sender: bytes, target: bytes, *, to: bytes = BROADCAST_MAC) -> bytes:
    """Ask who has `target` as the host `sender`; to one MAC only when `to` is given."""
    return encode(ArpFrame(to, mac, REQUEST, mac, sender, NO_MAC, target))


def reply(mac: bytes, asked: ArpFrame, *, tag: bytes = b"") -> bytes:
    """Answer a request for `asked.target_ip` with `mac`.

    It goes to the sender named in the packet, not to the Ethernet source (arp.c arp_process).
    """
    return encode(
        ArpFrame(asked.sender_mac, mac, REPLY, mac, asked.target_ip, asked.sender_mac, asked.sender_ip, tag)
    )


def gratuitous_request(mac: bytes, ip: bytes) -> bytes:
    """Announce `ip` in the request form, the ARP Announcement of RFC 5227 2.3."""
    return encode(ArpFrame(BROADCAST_MAC, mac, REQUEST, mac, ip, NO_MAC, ip))


def gratuitous_reply(mac: bytes, ip: bytes) -> bytes:
    """Announce `ip` in the reply form. Linux takes it for gratuitous only when the target MAC is the
    sender's own (arp.c arp_is_garp), so it is.
    """
    return encode(ArpFrame(BROADCAST_MAC, mac, REPLY, mac, ip, mac, ip))


def mac_text(mac: bytes) -> str:
    """`02:00:00:00:00:01`."""
    return mac.hex(":")


def parse_mac(text: str) -> bytes:
    """The 6 bytes of `02:00:00:00:00:01`. Raises ValueError."""
    parts = text.split(":")
    if len(parts) != 6 or any(len(part) != 2 for part in parts):
        raise ValueError(f"{text!r} is no MAC address such as 02:00:00:00:00:01")
    try:
        return bytes(int(part, 16) for part in parts)
    except ValueError as error:
        raise ValueError(f"{text!r} is no MAC address such as 02:00:00:00:00:01") from error

"""Ethernet frames that carry neighbour discovery for IPv6: solicitations and advertisements. Pure.

MAC addresses are 6 bytes, IPv6 addresses 16, both packed. What RFC 4861 7.1.1 and 7.1.2 has a node discard is
refused here, named by a `Fault`. Extension headers are refused, too: no neighbour sends them.

Our mark is carried by a Nonce option (RFC 3971 5.3.2) of 14 bytes: the 8 of the mark, and 6 that tell it from
the nonces of others. All hosts skip it: Linux reads nonces of 6 bytes only (ndisc_recv_ns, RFC 7527).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

import msgspec

from strictarp.arp.frames import MARK_LENGTH

ETHERTYPE_IPV6 = 0x86DD
SOLICITATION, ADVERTISEMENT = 135, 136
UNSPECIFIED = bytes(16)
ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
ALL_NODES_MAC = bytes.fromhex("333300000001")
TARGET = slice(62, 78)
"""Where the target is in a frame."""

_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
_ETHERNET = struct.Struct("!6s6sH")
_IPV6 = struct.Struct("!IHBB16s16s")
_ICMP = struct.Struct("!BBHI16s")
_PSEUDO = struct.Struct("!16s16sII")
_IP_START = _ETHERNET.size
_ICMP_START = _IP_START + _IPV6.size
_ICMPV6 = 58
_HOP_LIMIT = 255
_VERSION = 6 << 28
_RIGHT = (ETHERTYPE_IPV6.to_bytes(2, "big"), 6, _ICMPV6, _HOP_LIMIT)
_KINDS = (SOLICITATION, ADVERTISEMENT)
_ROUTER, _SOLICITED, _OVERRIDE = 1 << 31, 1 << 30, 1 << 29
_SOURCE_MAC, _TARGET_MAC, _NONCE = 1, 2, 14
_NONCE_UNITS = 2
_FILLER = b"strict"
_NO_MARK = bytes(MARK_LENGTH)


class Fault(enum.StrEnum):
    """Why a frame is no solicitation or advertisement that a host would heed."""

    SHORT = "shorter than a neighbour discovery message"
    NOT_IPV6 = "EtherType is not 0x86dd"
    VERSION = "IP version is not 6"
    NEXT_HEADER = "next header is not ICMPv6"
    HOP_LIMIT = "hop limit is not 255: it was forwarded"
    LENGTH = "payload length does not fit the frame"
    SENDER = "sender is a multicast address"
    TYPE = "ICMPv6 type is neither neighbour solicitation nor advertisement"
    CODE = "ICMPv6 code is not 0"
    CHECKSUM = "checksum is wrong"
    TARGET = "target is a multicast or the unspecified address"
    OPTION = "an option has a wrong length"
    MAC = "a link-layer address is a group's"
    PROBE = "a probe is not for the target's group, or names a link-layer address"
    SOLICITED = "an advertisement to a group calls itself solicited"


class MalformedNdp(Exception):
    """A frame that `decode` refuses; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class NdpFrame(msgspec.Struct, frozen=True, gc=False):
    """One solicitation or advertisement with its Ethernet and IPv6 addresses.

    destination, source: of the Ethernet header. receiver, sender: of the IPv6 header. mac: the link-layer
    address option, empty without. mark: 8 bytes, empty without.
    """

    destination: bytes
    source: bytes
    kind: int
    sender: bytes
    receiver: bytes
    target: bytes
    mac: bytes = b""
    router: bool = False
    solicited: bool = False
    override: bool = False
    mark: bytes = b""

    @property
    def is_probe(self) -> bool:
        """A test whether the target is taken: a solicitation from nobody (RFC 4862 5.4.2)."""
        return self.kind == SOLICITATION and self.sender == UNSPECIFIED


def solicited_node(address: bytes) -> bytes:
    """The multicast group of an address (RFC 4291 2.7.1)."""
    return _SOLICITED_NODE + address[13:]


def group_mac(group: bytes) -> bytes:
    """The MAC of an IPv6 multicast group (RFC 2464 7)."""
    return b"\x33\x33" + group[12:]


def decode(data: bytes) -> NdpFrame:
    """The message in `data`, a whole frame; bytes after the IPv6 packet are padding. Raises MalformedNdp."""
    if len(data) < _ICMP_START + _ICMP.size:
        raise MalformedNdp(Fault.SHORT)
    fault = _packet_fault(data)
    if fault is not None:
        raise MalformedNdp(fault)
    destination, source, _ = _ETHERNET.unpack_from(data)
    _, length, _, _, sender, receiver = _IPV6.unpack_from(data, _IP_START)
    message = data[_ICMP_START : _ICMP_START + length]
    kind, code, _, flags, target = _ICMP.unpack_from(message)
    if code:
        raise MalformedNdp(Fault.CODE)
    if _sum(sender, receiver, message):
        raise MalformedNdp(Fault.CHECKSUM)
    mac, mark = _options(message, _SOURCE_MAC if kind == SOLICITATION else _TARGET_MAC)
    told = kind == ADVERTISEMENT
    frame = NdpFrame(
        destination,
        source,
        kind,
        sender,
        receiver,
        target,
        mac,
        router=told and bool(flags & _ROUTER),
        solicited=told and bool(flags & _SOLICITED),
        override=told and bool(flags & _OVERRIDE),
        mark=mark,
    )
    fault = _message_fault(frame)
    if fault is not None:
        raise MalformedNdp(fault)
    return frame


def _packet_fault(data: bytes) -> Fault | None:
    """What is wrong with the headers around the message."""
    first, length, following, hops, _, _ = _IPV6.unpack_from(data, _IP_START)
    room = len(data) - _ICMP_START
    if (data[12:14], first >> 28, following, hops) == _RIGHT and data[_ICMP_START] in _KINDS:
        return None if _ICMP.size <= length <= room else Fault.LENGTH
    faults = (
        (int.from_bytes(data[12:14], "big") != ETHERTYPE_IPV6, Fault.NOT_IPV6),
        (first >> 28 != 6, Fault.VERSION),
        (following != _ICMPV6, Fault.NEXT_HEADER),
        (data[_ICMP_START] not in _KINDS, Fault.TYPE),
        (hops != _HOP_LIMIT, Fault.HOP_LIMIT),
    )
    return next(fault for is_so, fault in faults if is_so)


def _message_fault(frame: NdpFrame) -> Fault | None:
    """What is wrong between the addresses of a message."""
    if frame.sender[0] == 0xFF:
        return Fault.SENDER
    if frame.target[0] == 0xFF or frame.target == UNSPECIFIED:
        return Fault.TARGET
    if frame.is_probe and (frame.mac or frame.receiver != solicited_node(frame.target)):
        return Fault.PROBE
    if frame.solicited and frame.receiver[0] == 0xFF:
        return Fault.SOLICITED
    return None


def _options(message: bytes, wanted: int) -> tuple[bytes, bytes]:
    """The link-layer address of type `wanted` and our mark; of several options the first, as Linux."""
    mac = mark = b""
    for kind, value in _each_option(message):
        if kind == wanted and not mac:
            if len(value) != 6:
                raise MalformedNdp(Fault.OPTION)
            if value[0] & 1:
                raise MalformedNdp(Fault.MAC)
            mac = value
        elif kind == _NONCE and not mark and value[MARK_LENGTH:] == _FILLER:
            found = value[:MARK_LENGTH]
            mark = found if found != _NO_MARK else b""
    return mac, mark


def _each_option(message: bytes) -> Iterator[tuple[int, bytes]]:
    start = _ICMP.size
    while start < len(message):
        length = 8 * message[start + 1] if start + 1 < len(message) else 0
        if not length or start + length > len(message):
            raise MalformedNdp(Fault.OPTION)
        yield message[start], message[start + 2 : start + length]
        start += length


def _sum(sender: bytes, receiver: bytes, message: bytes) -> int:
    """What the 16-bit words of pseudo header and message add up to, in one's complement; 0 when that is
    right (RFC 1071). A big number modulo 65535 is the sum of its digits in base 65536.
    """
    whole = _PSEUDO.pack(sender, receiver, len(message), _ICMPV6) + message + b"\0" * (len(message) & 1)
    return int.from_bytes(whole, "big") % 0xFFFF


def encode(frame: NdpFrame) -> bytes:
    """The bytes on the wire. Raises ValueError for addresses or a mark of the wrong length."""
    for mac in (frame.destination, frame.source, frame.mac or frame.source):
        if len(mac) != 6:
            raise ValueError(f"MAC address of {len(mac)} bytes, 6 expected")
    for address in (frame.sender, frame.receiver, frame.target):
        if len(address) != 16:
            raise ValueError(f"IPv6 address of {len(address)} bytes, 16 expected")
    if frame.mark and (len(frame.mark) != MARK_LENGTH or frame.mark == _NO_MARK):
        raise ValueError("a mark is 8 bytes, not all of them zero")
    flags = _ROUTER * frame.router | _SOLICITED * frame.solicited | _OVERRIDE * frame.override
    options = b""
    if frame.mac:
        kind = _SOURCE_MAC if frame.kind == SOLICITATION else _TARGET_MAC
        options += bytes((kind, 1)) + frame.mac
    if frame.mark:
        options += bytes((_NONCE, _NONCE_UNITS)) + frame.mark + _FILLER
    body = _ICMP.pack(frame.kind, 0, 0, flags, frame.target) + options
    rest = _sum(frame.sender, frame.receiver, body)
    checksum = 0xFFFF - rest if rest else 0
    return (
        _ETHERNET.pack(frame.destination, frame.source, ETHERTYPE_IPV6)
        + _IPV6.pack(_VERSION, len(body), _ICMPV6, _HOP_LIMIT, frame.sender, frame.receiver)
        + body[:2]
        + checksum.to_bytes(2, "big")
        + body[4:]
    )


def probe(mac: bytes, target: bytes, *, nonce: bytes = b"") -> bytes:
    """Ask who has `target` without an address of one's own and without touching a cache (RFC 4862 5.4.2).

    A host that is about to take the address takes it for ours: only for addresses that are.
    """
    group = solicited_node(target)
    return encode(NdpFrame(group_mac(group), mac, SOLICITATION, UNSPECIFIED, group, target, mark=nonce))


def solicit(mac: bytes, sender: bytes, target: bytes, *, to: bytes = b"") -> bytes:
    """Ask who has `target` as the host `sender`; only the host with MAC `to`, when that is given."""
    if to:
        return encode(NdpFrame(to, mac, SOLICITATION, sender, target, target, mac))
    group = solicited_node(target)
    return encode(NdpFrame(group_mac(group), mac, SOLICITATION, sender, group, target, mac))


def advertise(mac: bytes, asked: NdpFrame, *, tag: bytes = b"") -> bytes:
    """Answer a solicitation for `asked.target` with `mac` (RFC 4861 7.2.4).

    To a probe the answer goes to all nodes. The sender is the target itself: no other address is needed. It
    overrides what the asker has: who asks may still believe a former owner.
    """
    to_all = asked.sender == UNSPECIFIED
    return encode(
        NdpFrame(
            ALL_NODES_MAC if to_all else asked.mac or asked.source,
            mac,
            ADVERTISEMENT,
            asked.target,
            ALL_NODES if to_all else asked.sender,
            asked.target,
            mac,
            solicited=not to_all,
            override=True,
            mark=tag,
        )
    )


def unsolicited(mac: bytes, address: bytes) -> bytes:
    """Announce `address` to all nodes; who has an entry for it changes it (RFC 4861 7.2.6)."""
    return encode(
        NdpFrame(ALL_NODES_MAC, mac, ADVERTISEMENT, address, ALL_NODES, address, mac, override=True)
    )

"""Connection tracking by netlink: ask for connections, delete single ones. Pure.

After Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h and net/netfilter/nf_conntrack_netlink.c. Ports
and numbers inside attributes are big endian, as everywhere in nfnetlink.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from socket import AF_INET, AF_INET6

import msgspec

from strictarp.netlink.messages import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    MalformedMessage,
    Message,
    attribute,
    attributes,
    frame,
    nested,
    u32,
)

TCP, UDP = 6, 17
OPEN_TCP = frozenset({1, 2, 3, 4, 5, 6, 9})
"""States in which an end may still send: from SYN_SENT to LAST_ACK, and SYN_SENT2 (enum tcp_conntrack)."""
CLOSED_TCP = frozenset({7, 8})
"""TIME_WAIT and CLOSE."""

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_NFGENMSG = struct.Struct("=BBH")
_BE16, _BE32 = struct.Struct("!H"), struct.Struct("!I")
_ORIGINAL, _REPLY, _PROTOCOL_INFO, _ID, _ZONE, _FILTER = 1, 2, 4, 12, 18, 25
_TCP_INFO, _TCP_STATE = 1, 1
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ADDRESSES: Mapping[int, tuple[int, int]] = {AF_INET: (1, 2), AF_INET6: (3, 4)}
"""Attributes of source and destination by family."""
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_DESTINATION, _BY_PROTOCOL, _BY_DESTINATION_PORT = 1 << 1, 1 << 3, 1 << 5
"""Which parts of a tuple a dump is filtered by (net/netfilter/nf_internals.h)."""


class Tuple(msgspec.Struct, frozen=True, gc=False):
    """One direction of a connection: packed addresses and ports. A protocol without ports has 0."""

    protocol: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int


class Flow(msgspec.Struct, frozen=True, gc=False):
    """A tracked connection. id: tells it from a later one with the same tuples. zone: 0 mostly.

    tcp_state: number of enum tcp_conntrack; 0 of other protocols.
    """

    original: Tuple
    reply: Tuple
    id: int = 0
    zone: int = 0
    tcp_state: int = 0


def encode_dump_flows(width: int, place: tuple[bytes, int] | None = None) -> bytes:
    """Ask for the UDP connections of a family, `width` 4 or 16; with `place` for those to one destination.

    Answers may hold others, to be told apart: a kernel before 5.8 knows no filter; and of IPv6 addresses the
    filter keeps all but the equal ones (ctnetlink_filter_match_tuple takes ipv6_addr_cmp the wrong way round;
    seen on 6.18), so that there the port alone is asked for.
    """
    flags = _BY_PROTOCOL
    address = b""
    port = attribute(_NUMBER, bytes([UDP]))
    family = _family(width)
    if place is not None:
        flags |= _BY_DESTINATION_PORT
        port += attribute(_DESTINATION_PORT, _BE16.pack(place[1]))
    if place is not None and family == AF_INET:
        flags |= _BY_DESTINATION
        address = _destination(place[0])
    return _dump(family, flags, address, port)


def encode_dump_tcp(destination: bytes) -> bytes:
    """Ask for the TCP connections to an address, on all ports; answers may hold others, as above."""
    number = attribute(_NUMBER, bytes([TCP]))
    if len(destination) == 4:
        return _dump(AF_INET, _BY_PROTOCOL | _BY_DESTINATION, _destination(destination), number)
    return _dump(AF_INET6, _BY_PROTOCOL, b"", number)


def _destination(address: bytes) -> bytes:
    return nested(_TUPLE_IP, attribute(_ADDRESSES[_family(len(address))][1], address))


def _dump(family: int, flags: int, address: bytes, protocol: bytes) -> bytes:
    return frame(
        _GET,
        NLM_F_REQUEST | NLM_F_DUMP,
        _NFGENMSG.pack(family, 0, 0)
        + nested(_ORIGINAL, address, nested(_TUPLE_PROTOCOL, protocol))
        + nested(_FILTER, u32(_FILTER_ORIGINAL, flags), u32(_FILTER_REPLY, 0)),
    )


def encode_delete_flow(flow: Flow) -> bytes:
    """Delete one connection; ENOENT when it is gone, or another has its tuples."""
    zone = attribute(_ZONE, _BE16.pack(flow.zone)) if flow.zone else b""
    return frame(
        _DELETE,
        NLM_F_REQUEST | NLM_F_ACK,
        _NFGENMSG.pack(_family(len(flow.original.source)), 0, 0)
        + _tuple(flow.original)
        + zone
        + attribute(_ID, _BE32.pack(flow.id)),
    )


def _family(width: int) -> int:
    return {4: AF_INET, 16: AF_INET6}[width]


def _tuple(value: Tuple) -> bytes:
    source, destination = _ADDRESSES[_family(len(value.source))]
    return nested(
        _ORIGINAL,
        nested(_TUPLE_IP, attribute(source, value.source), attribute(destination, value.destination)),
        nested(
            _TUPLE_PROTOCOL,
            attribute(_NUMBER, bytes([value.protocol])),
            attribute(_SOURCE_PORT, _BE16.pack(value.source_port)),
            attribute(_DESTINATION_PORT, _BE16.pack(value.destination_port)),
        ),
    )


def parse_flow(message: Message) -> Flow | None:
    """A connection; None for a family that is neither IPv4 nor IPv6. Raises MalformedMessage."""
    if len(message.payload) < _NFGENMSG.size:
        raise MalformedMessage(f"connection of {len(message.payload)} bytes")
    family = message.payload[0]
    if family not in _ADDRESSES:
        return None
    found = attributes(message.payload, _NFGENMSG.size)
    return Flow(
        _parse_tuple(found, _ORIGINAL, family),
        _parse_tuple(found, _REPLY, family),
        _number(found, _ID, _BE32),
        _number(found, _ZONE, _BE16),
        _tcp_state(found),
    )


def _tcp_state(found: Mapping[int, memoryview]) -> int:
    tcp = attributes(found[_PROTOCOL_INFO]).get(_TCP_INFO) if _PROTOCOL_INFO in found else None
    state = bytes(attributes(tcp).get(_TCP_STATE, b"\0")) if tcp is not None else b"\0"
    if len(state) != 1:
        raise MalformedMessage(f"connection's TCP state of {len(state)} bytes")
    return state[0]


def _parse_tuple(found: Mapping[int, memoryview], kind: int, family: int) -> Tuple:
    if kind not in found:
        raise MalformedMessage("connection without one of its directions")
    parts = attributes(found[kind])
    ends = attributes(parts.get(_TUPLE_IP, memoryview(b"")))
    protocol = attributes(parts.get(_TUPLE_PROTOCOL, memoryview(b"")))
    source, destination = _ADDRESSES[family]
    number = bytes(protocol.get(_NUMBER, b""))
    if len(number) != 1:
        raise MalformedMessage("connection without a protocol")
    width = 4 if family == AF_INET else 16
    return Tuple(
        number[0],
        _address(ends, source, width),
        _number(protocol, _SOURCE_PORT, _BE16),
        _address(ends, destination, width),
        _number(protocol, _DESTINATION_PORT, _BE16),
    )


def _address(found: Mapping[int, memoryview], kind: int, width: int) -> bytes:
    value = bytes(found.get(kind, b""))
    if len(value) != width:
        raise MalformedMessage(f"connection's address of {len(value)} bytes, {width} expected")
    return value


def _number(found: Mapping[int, memoryview], kind: int, form: struct.Struct) -> int:
    if kind not in found:
        return 0
    if len(found[kind]) != form.size:
        raise MalformedMessage(f"connection's attribute {kind}: {len(found[kind])} bytes")
    return int(form.unpack(found[kind])[0])

"""Netlink framing: message headers, attributes, answers of the kernel. Pure, bytes in and out.

Layout after Linux include/uapi/linux/netlink.h and RFC 3549 2.3: everything in host byte order, messages and
attributes aligned to 4 bytes.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

import msgspec

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3

NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_NLMSGERR_ATTR_MSG = 1

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SEQUENCE = struct.Struct("=I")
_ERROR = struct.Struct("=i")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")


class MalformedMessage(ValueError):
    """Bytes that are not a netlink message, or not the one that was expected."""


class Refusal(Exception):
    """The kernel's negative answer to one message.

    `errno` is the positive error number, `text` what the kernel added by NETLINK_EXT_ACK (often empty).
    """

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(number, text)
        self.errno = number
        self.text = text

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        reason = f"{os.strerror(self.errno)} ({name})"
        return f"{reason}: {self.text}" if self.text else reason


class Message(msgspec.Struct, frozen=True, gc=False):
    """One netlink message without its header. `payload` shares memory with the datagram it came in."""

    type: int
    flags: int
    sequence: int
    port: int
    payload: memoryview


def align(length: int) -> int:
    """Round up to the 4 bytes that netlink aligns to (NLMSG_ALIGN, NLA_ALIGN)."""
    return (length + 3) & ~3


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    """A whole message, padded; sequence 0, which the socket replaces (`stamp`)."""
    length = HEADER.size + len(payload)
    return HEADER.pack(length, kind, flags, 0, 0) + payload + bytes(align(length) - length)


def stamp(messages: bytearray, offset: int, sequence: int) -> None:
    """Write the sequence number of the message that starts at `offset`."""
    _SEQUENCE.pack_into(messages, offset + 8, sequence)


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to 4 bytes."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(align(length) - length)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def u16(kind: int, value: int) -> bytes:
    """A 16 bit attribute in host byte order."""
    return attribute(kind, _U16.pack(value))


def u32(kind: int, value: int) -> bytes:
    """A 32 bit attribute in host byte order."""
    return attribute(kind, _U32.pack(value))


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def parse_messages(datagram: memoryview | bytes) -> Iterator[Message]:
    """The messages of one datagram. Raises MalformedMessage where the framing breaks."""
    view = memoryview(datagram)
    offset, end = 0, len(view)
    while offset < end:
        if end - offset < HEADER.size:
            raise MalformedMessage(f"netlink header cut off: {end - offset} of {HEADER.size} bytes")
        length, kind, flags, sequence, port = HEADER.unpack_from(view, offset)
        if not HEADER.size <= length <= end - offset:
            raise MalformedMessage(f"netlink message of {length} bytes where {end - offset} are left")
        yield Message(kind, flags, sequence, port, view[offset + HEADER.size : offset + length])
        offset += align(length)


def attributes(payload: memoryview | bytes, offset: int = 0) -> dict[int, memoryview]:
    """Attributes by type, from `offset` on; of repeated ones the last. Raises MalformedMessage."""
    return dict(each_attribute(payload, offset))


def each_attribute(payload: memoryview | bytes, offset: int = 0) -> list[tuple[int, memoryview]]:
    """Attributes in order, type without its flag bits. Raises MalformedMessage."""
    view = memoryview(payload)
    end = len(view)
    found: list[tuple[int, memoryview]] = []
    unpack = _ATTRIBUTE.unpack_from
    while offset < end:
        if end - offset < 4:
            raise MalformedMessage(f"attribute header cut off: {end - offset} of 4 bytes")
        length, kind = unpack(view, offset)
        if not 4 <= length <= end - offset:
            raise MalformedMessage(
                f"attribute {kind & _NLA_TYPE_MASK} of {length} bytes where {end - offset} are left"
            )
        found.append((kind & _NLA_TYPE_MASK, view[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


def read_u16(value: memoryview, *, name: str) -> int:
    """A 16 bit attribute. Raises MalformedMessage naming `name` when it is shorter."""
    if len(value) < 2:
        raise MalformedMessage(f"{name}: {len(value)} bytes, 2 expected")
    return int(_U16.unpack_from(value)[0])


def read_u32(value: memoryview, *, name: str) -> int:
    """A 32 bit attribute. Raises MalformedMessage naming `name` when it is shorter."""
    if len(value) < 4:
        raise MalformedMessage(f"{name}: {len(value)} bytes, 4 expected")
    return int(_U32.unpack_from(value)[0])


def read_text(value: memoryview) -> str:
    """A string attribute up to its NUL; bytes that are not UTF-8 are shown escaped."""
    return bytes(value).split(b"\0", 1)[0].decode(errors="backslashreplace")


def parse_error(message: Message) -> Refusal | None:
    """The answer in an NLMSG_ERROR or NLMSG_DONE message: None for success.

    The kernel's text (NETLINK_EXT_ACK) stands in attributes after the echoed request, of which only the
    header is echoed when NETLINK_CAP_ACK is set (netlink_ack in net/netlink/af_netlink.c). Raises
    MalformedMessage.
    """
    payload = message.payload
    if len(payload) < _ERROR.size:
        if message.type == NLMSG_DONE and len(payload) == 0:
            return None
        raise MalformedMessage(f"netlink answer of {len(payload)} bytes")
    number = int(_ERROR.unpack_from(payload)[0])
    if number == 0:
        return None
    said = ""
    if message.flags & NLM_F_ACK_TLVS:
        found = attributes(payload, _after_echo(message))
        if _NLMSGERR_ATTR_MSG in found:
            said = read_text(found[_NLMSGERR_ATTR_MSG])
    return Refusal(-number, said)


def _after_echo(message: Message) -> int:
    if message.type == NLMSG_DONE:
        return _ERROR.size
    if len(message.payload) < _ERROR.size + HEADER.size:
        raise MalformedMessage("netlink answer without the header it answers")
    if message.flags & NLM_F_CAPPED:
        return _ERROR.size + HEADER.size
    return _ERROR.size + align(int(_U32.unpack_from(message.payload, _ERROR.size)[0]))

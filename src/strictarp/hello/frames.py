"""The speakers' Ethernet frames: header, authentication, and nothing else escaping than `FrameError`.

After the Ethernet header (EtherType 0x88B5, IEEE 802 local experimental 1), big endian: magic 4, version 1,
type 1, length 2 (magic to tag), cluster 8, node 8, incarnation 8, sequence 8; the message; a tag of 16.
"""

from __future__ import annotations

import enum
import struct

import msgspec

from strictarp.hello import auth
from strictarp.hello.auth import Keys
from strictarp.hello.messages import (
    ENCODERS,
    HELLO_TYPE,
    PARSERS,
    BadBody,
    Message,
    State,
    hello_head,
)

ETHERTYPE = 0x88B5
GROUP_MAC = bytes.fromhex("035341525001")
MAGIC = b"sArP"
VERSION = 1

_ETHERNET = struct.Struct("!6s6sH")
_HEADER = struct.Struct("!4sBBHQQQQ")
_START = _ETHERNET.size
_SHORTEST = _START + _HEADER.size + auth.TAG_LENGTH
_NO_ROOM_FOR_PADDING = 60


class Verdict(enum.StrEnum):
    """Why a frame does not count; each is a counter."""

    SHORT = "short"
    ETHERTYPE = "ethertype"
    MAGIC = "magic"
    VERSION = "version"
    LENGTH = "length"
    CLUSTER = "other-cluster"
    TAG = "unauthenticated"
    TYPE = "unknown-type"
    BODY = "body"
    OWN_NODE = "own-node"
    REPLAYED = "replayed"
    UNPROVEN = "unproven"
    NOT_HELLO = "not-hello"


class FrameError(Exception):
    """A frame that does not count; `verdict` says why."""

    def __init__(self, verdict: Verdict, detail: str = "") -> None:
        super().__init__(f"{verdict.value}: {detail}" if detail else verdict.value)
        self.verdict = verdict


class Sender(msgspec.Struct, frozen=True, gc=False):
    """Who a node is on this segment: cluster and node ids, and its present incarnation."""

    cluster: int
    node: int
    incarnation: int


class Frame(msgspec.Struct, frozen=True):
    """An authenticated frame. source, destination: MAC addresses of the Ethernet header."""

    destination: bytes
    source: bytes
    node: int
    incarnation: int
    seq: int
    message: Message


class Beat(msgspec.Struct, frozen=True, gc=False):
    """What a listener needs of a HELLO: whose it is, and when to miss the next."""

    source: bytes
    node: int
    incarnation: int
    seq: int
    hello_ms: int
    state: State


def encode(
    message: Message, sender: Sender, keys: Keys, *, seq: int, source: bytes, to: bytes = GROUP_MAC
) -> bytes:
    """The frame's bytes, padded to Ethernet's minimum. Raises ValueError for too many entries."""
    number, write = ENCODERS[type(message)]
    body = write(message)
    length = _HEADER.size + len(body) + auth.TAG_LENGTH
    signed = (
        _HEADER.pack(MAGIC, VERSION, number, length, sender.cluster, sender.node, sender.incarnation, seq)
        + body
    )
    frame = _ETHERNET.pack(to, source, ETHERTYPE) + signed + auth.sign(keys, source, signed)
    return frame.ljust(_NO_ROOM_FOR_PADDING, b"\0")


def decode(data: bytes, cluster: int, keys: Keys) -> Frame:
    """The frame in `data`. Raises FrameError and nothing else.

    The tag is checked before the body is read: nobody without the key reaches the parsers.
    """
    number, body, frame_head = _open(data, cluster, keys)
    parse = PARSERS.get(number)
    if parse is None:
        raise FrameError(Verdict.TYPE, str(number))
    try:
        message = parse(body)
    except BadBody as error:
        raise FrameError(Verdict.BODY, str(error)) from error
    destination, source, node, incarnation, seq = frame_head
    return Frame(destination, source, node, incarnation, seq, message)


def decode_beat(data: bytes, cluster: int, keys: Keys) -> Beat:
    """The HELLO in `data` without its list. Raises FrameError; NOT_HELLO, before any hashing, for others."""
    if len(data) >= _SHORTEST and data[_START + 5] != HELLO_TYPE:
        raise FrameError(Verdict.NOT_HELLO)
    _, body, (_, source, node, incarnation, seq) = _open(data, cluster, keys)
    try:
        head = hello_head(body)
    except BadBody as error:
        raise FrameError(Verdict.BODY, str(error)) from error
    return Beat(source, node, incarnation, seq, head[2], State(head[0]))


def _open(data: bytes, cluster: int, keys: Keys) -> tuple[int, bytes, tuple[bytes, bytes, int, int, int]]:
    """Type, body, and (destination, source, node, incarnation, seq) of an authenticated frame."""
    if len(data) < _START:
        raise FrameError(Verdict.SHORT)
    destination, source, ethertype = _ETHERNET.unpack_from(data)
    if ethertype != ETHERTYPE:
        raise FrameError(Verdict.ETHERTYPE)
    if len(data) < _SHORTEST:
        raise FrameError(Verdict.SHORT)
    magic, version, number, length, of, node, incarnation, seq = _HEADER.unpack_from(data, _START)
    if magic != MAGIC:
        raise FrameError(Verdict.MAGIC)
    if version != VERSION:
        raise FrameError(Verdict.VERSION, str(version))
    if not _HEADER.size + auth.TAG_LENGTH <= length <= len(data) - _START:
        raise FrameError(Verdict.LENGTH)
    if of != cluster:
        raise FrameError(Verdict.CLUSTER)
    end = _START + length
    signed_end = end - auth.TAG_LENGTH
    if not auth.verify(keys, source, data[_START:signed_end], data[signed_end:end]):
        raise FrameError(Verdict.TAG)
    return number, data[_START + _HEADER.size : signed_end], (destination, source, node, incarnation, seq)

"""Messages between the `lab` commands and the supervisor: JSON lines with the number of the request.

The same on a Unix socket (namespaces) and on a virtio port (virtual machine). What arrives is checked: a line
that is no message is dropped.
"""

from __future__ import annotations

import base64
from typing import Any, TypeAlias

import msgspec

MAX_LINE = 4 * 1024 * 1024

Parameters: TypeAlias = dict[str, Any]


class Request(msgspec.Struct, frozen=True):
    """A call: operation and parameters. `id` is chosen by the caller and new for each call."""

    id: str
    op: str
    params: Parameters = {}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of an answer; the last one has `done`.

    `progress` is a line for people, `event` something structured, `out` and `err` are base64 of what a
    program printed, `error` with `code` ends a failed call.
    """

    id: str
    progress: str = ""
    event: Any = None
    out: str = ""
    err: str = ""
    result: Any = None
    error: str = ""
    code: int = 0
    done: bool = False


_encoder = msgspec.json.Encoder()
_request_decoder = msgspec.json.Decoder(Request)
_reply_decoder = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """As one line."""
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request | None:
    """The request in a line, or None."""
    try:
        return _request_decoder.decode(line)
    except msgspec.MsgspecError:
        return None


def decode_reply(line: bytes) -> Reply | None:
    """The reply in a line, or None."""
    try:
        return _reply_decoder.decode(line)
    except msgspec.MsgspecError:
        return None


def pack(data: bytes) -> str:
    """Bytes of a program's output as text of a message."""
    return base64.b64encode(data).decode("ascii")


def unpack(text: str) -> bytes:
    """The reverse of `pack`."""
    return base64.b64decode(text)

"""A report inside a log: lines that can be found among others, and that tell when some are missing. Pure.

A log is read while it is written, mixes standard output with errors, and may be cut at its beginning.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib

import msgspec

from strictarp.doctor.node.view import NodeView
from strictarp.errors import UserError

_MARK = "strictarp-node-report"
_WIDTH = 4000
"""Characters of a line: container runtimes split lines of 16 KiB."""
_LINE = re.compile(rf"{_MARK} (\d{{1,6}})/(\d{{1,6}}) ([A-Za-z0-9+/=]+)\s*$")
_LARGEST = 256 << 20


class Broken(Exception):
    """The log holds a report that cannot be read; the message says why."""


def framed(document: bytes) -> str:
    """A report as the lines that a pod prints."""
    text = base64.b64encode(zlib.compress(document)).decode("ascii")
    parts = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return "".join(f"{_MARK} {number}/{len(parts)} {part}\n" for number, part in enumerate(parts, 1))


def find(log: str) -> NodeView | None:
    """The report in a log; None when it is not there, or not complete yet. Raises Broken."""
    parts: dict[int, str] = {}
    total = 0
    for line in log.splitlines():
        found = _LINE.search(line)
        if found is not None:
            parts[int(found[1])], total = found[3], int(found[2])
    if not total or any(number not in parts for number in range(1, total + 1)):
        return None
    try:
        packed = base64.b64decode("".join(parts[number] for number in range(1, total + 1)), validate=True)
        unpacked = zlib.decompressobj()
        document = unpacked.decompress(packed, _LARGEST)
        if not unpacked.eof:
            raise Broken("it is cut off, or larger than any report")
        view = msgspec.json.decode(document, type=NodeView)
        _ = view.host  # facts that contradict themselves are no report
    except (binascii.Error, zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(
            f"it cannot be read: {error}; is the image of the same version as this program?"
        ) from error
    except UserError as error:
        raise Broken(str(error)) from error
    return view

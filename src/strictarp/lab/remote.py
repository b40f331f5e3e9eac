"""The caller's end of the lab's control channel."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Iterator

from strictarp.errors import UserError
from strictarp.lab import channel
from strictarp.lab.channel import Reply, Request


class Remote:
    """A connection to a lab. Raises OSError when nobody listens on `path`."""

    def __init__(self, path: str, max_line: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._max_line = max_line
        self._buffer = bytearray()
        self._ids = (f"{os.getpid()}-{number}" for number in itertools.count(1))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _send(self, op: str, params: channel.Parameters) -> str:
        request = Request(next(self._ids), op, params)
        self._socket.settimeout(10)
        self._socket.sendall(channel.encode(request))
        return request.id

    def _lines(self, limit: float | None) -> Iterator[bytes]:
        end = None if limit is None else time.monotonic() + limit
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = bytearray(rest)
                yield bytes(line)
                continue
            self._socket.settimeout(None if end is None else max(0.01, end - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise UserError("the lab does not answer") from None
            except ConnectionError:
                raise UserError("the lab hung up") from None
            if not data or len(self._buffer) > self._max_line:
                raise UserError("the lab hung up")
            self._buffer += data

    def call(self, op: str, *, limit: float | None = None, **params: object) -> Iterator[Reply]:
        """Ask for an operation; yields its messages, the last one has the result.

        Raises UserError with the lab's message and exit code when the operation fails, or when there is no
        answer within `limit` seconds.
        """
        request_id = self._send(op, params)
        for line in self._lines(limit):
            reply = channel.decode_reply(line)
            if reply is None or reply.id != request_id:
                continue
            if reply.error:
                raise UserError(reply.error, reply.code)
            yield reply
            if reply.done:
                return

    def result(self, op: str, *, limit: float | None = None, **params: object) -> object:
        """The result of an operation; raises as `call` does."""
        for reply in self.call(op, limit=limit, **params):
            if reply.done:
                return reply.result
        raise UserError("the lab hung up")

    def status(self, limit: float) -> dict[str, object]:
        """The lab's status."""
        value = self.result("status", limit=limit)
        if not isinstance(value, dict):
            raise UserError("the lab sent no status")
        return value

    def request_end(self, limit: float) -> None:
        """Ask the lab to end."""
        self.result("down", limit=limit)

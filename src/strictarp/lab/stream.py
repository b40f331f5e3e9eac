"""A stream of HTTP requests, each on a new connection: what a client of the VIP sees.

One thread, non-blocking sockets: a request that hangs does not delay the next one.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import time
from pathlib import Path

import msgspec

from strictarp.speaker.priority import go_first

_CHUNK = 4096


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One request: when it started and ended (seconds of CLOCK_MONOTONIC), who answered or what failed."""

    started: float
    ended: float
    backend: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether a backend answered in time."""
        return not self.error


class _Request:
    __slots__ = ("deadline", "received", "sent", "sock", "started")

    def __init__(self, sock: socket.socket, started: float, deadline: float) -> None:
        self.sock = sock
        self.started = started
        self.deadline = deadline
        self.sent = False
        self.received = b""


def backend_of(answer: bytes) -> str | None:
    """The backend named in a complete HTTP answer, or None when it is not a page of ours."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"HTTP/1.1 200 "):
        return None
    return body.decode("ascii", errors="replace").strip()


class Stream:
    """Starts a request every `interval` seconds to `address`:`port`, each with a time limit."""

    def __init__(self, address: str, port: int, *, interval: float, limit: float) -> None:
        self._target = (address, port)
        self._interval = interval
        self._limit = limit
        self._request = f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, _Request] = {}
        self.answers: list[Answer] = []
        self.stopped = False

    def run(self, count: int) -> None:
        """Send `count` requests, or endlessly when it is 0, until `stopped`; then wait for the open ones."""
        due = time.monotonic()
        begun = 0
        while True:
            now = time.monotonic()
            if now >= due and not self.stopped and (count == 0 or begun < count):
                self._begin(now)
                begun += 1
                due = max(due + self._interval, now)  # after a stall: no burst of what was missed
            self._expire(now)
            more = not self.stopped and (count == 0 or begun < count)
            if not more and not self._open:
                return
            wake = min([request.deadline for request in self._open.values()] + ([due] if more else []))
            for key, _ in self._selector.select(max(0.0, wake - time.monotonic())):
                self._progress(self._open[key.fd])

    def _begin(self, now: float) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        request = _Request(sock, now, now + self._limit)
        self._open[sock.fileno()] = request
        self._selector.register(sock, selectors.EVENT_WRITE)
        code = sock.connect_ex(self._target)
        if code not in (0, errno.EINPROGRESS):
            self._end(request, error=os.strerror(code))

    def _progress(self, request: _Request) -> None:
        try:
            if not request.sent:
                code = request.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self._end(request, error=os.strerror(code))
                    return
                request.sock.send(self._request)
                request.sent = True
                self._selector.modify(request.sock, selectors.EVENT_READ)
                return
            data = request.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(request, error=error.strerror or type(error).__name__)
            return
        if data:
            request.received += data
            return
        backend = backend_of(request.received)
        if backend is None:
            self._end(request, error="closed without a whole answer")
        else:
            self._end(request, backend=backend)

    def _expire(self, now: float) -> None:
        for request in [each for each in self._open.values() if each.deadline <= now]:
            self._end(request, error="no answer in time")

    def _end(self, request: _Request, *, backend: str = "", error: str = "") -> None:
        del self._open[request.sock.fileno()]
        self._selector.unregister(request.sock)
        request.sock.close()
        self.answers.append(Answer(request.started, time.monotonic(), backend, error))


def run(target: tuple[str, int], out: Path, *, interval: float, limit: float, count: int) -> int:
    """Run a stream until `count` requests or SIGTERM and write its answers to `out` as JSON lines."""
    go_first()  # a busy machine is not to be taken for an outage
    stream = Stream(*target, interval=interval, limit=limit)

    def stop(*_: object) -> None:
        stream.stopped = True

    signal.signal(signal.SIGTERM, stop)
    stream.run(count)
    out.write_bytes(msgspec.json.Encoder().encode_lines(stream.answers))
    return 0


def read(path: Path) -> list[Answer]:
    """The answers of a stream that has ended."""
    return msgspec.json.Decoder(Answer).decode_lines(path.read_bytes())

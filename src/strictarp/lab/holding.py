"""Connections that stay open and are used now and then: whether they survive what happens to the VIP."""

from __future__ import annotations

import selectors
import signal
import socket
import time
from pathlib import Path

import msgspec

from strictarp.lab.begun import begun_file
from strictarp.speaker.priority import go_first

OPEN_LIMIT = 5.0
ANSWER_LIMIT = 5.0
_CHUNK = 4096


class Broken(msgspec.Struct, frozen=True):
    """A connection that did not survive: when (CLOCK_MONOTONIC), and what became of it."""

    at: float
    error: str


class Held(msgspec.Struct, frozen=True):
    """What became of all of them. `slowest_ms`: the longest that an answer took."""

    connections: int
    exchanges: int
    slowest_ms: float
    broken: tuple[Broken, ...]


class _Connection:
    __slots__ = ("asked", "received", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked: float | None = None
        self.received = b""


class Holding:
    """`count` connections to `address`:`port`, each asked every `interval` seconds. Raises OSError when one
    fails.
    """

    def __init__(self, address: str, port: int, count: int, *, interval: float) -> None:
        self._interval = interval
        self._request = f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: keep-alive\r\n\r\n".encode()
        self._selector = selectors.DefaultSelector()
        self._open: list[_Connection] = []
        self._slowest = 0.0
        self._exchanges = 0
        self._broken: list[Broken] = []
        self._count = count
        self.stopped = False
        for _ in range(count):
            sock = socket.create_connection((address, port), timeout=OPEN_LIMIT)
            sock.setblocking(False)
            connection = _Connection(sock)
            self._open.append(connection)
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def run(self) -> Held:
        """Until `stopped`, and then until the last questions were answered."""
        due = time.monotonic()
        while not self.stopped or any(each.asked is not None for each in self._open):
            now = time.monotonic()
            if now >= due and not self.stopped:
                due = max(due + self._interval, now)
                for connection in list(self._open):
                    self._ask(connection, now)
            wake = due if not self.stopped else now + self._interval
            for key, _ in self._selector.select(max(0.0, wake - time.monotonic())):
                self._read(key.data)
            for connection in list(self._open):
                if connection.asked is not None and time.monotonic() - connection.asked > ANSWER_LIMIT:
                    self._break(connection, f"no answer within {ANSWER_LIMIT:.0f} s")
        return Held(self._count, self._exchanges, round(1000 * self._slowest, 1), tuple(self._broken))

    def _ask(self, connection: _Connection, now: float) -> None:
        if connection.asked is not None:
            return
        connection.asked = now
        try:
            connection.sock.send(self._request)
        except OSError as error:
            self._break(connection, error.strerror or type(error).__name__)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(connection, error.strerror or type(error).__name__)
            return
        if not data:
            self._break(connection, "closed")
            return
        connection.received += data
        if connection.asked is not None and _is_whole(connection.received):
            self._slowest = max(self._slowest, time.monotonic() - connection.asked)
            self._exchanges += 1
            connection.received, connection.asked = b"", None

    def _break(self, connection: _Connection, error: str) -> None:
        self._selector.unregister(connection.sock)
        connection.sock.close()
        self._open.remove(connection)
        self._broken.append(Broken(time.monotonic(), error))


def _is_whole(answer: bytes) -> bool:
    """Whether a page of the lab's backend is complete: a line behind its head."""
    _, separator, body = answer.partition(b"\r\n\r\n")
    return bool(separator) and body.endswith(b"\n")


def run(target: tuple[str, int], out: Path, *, connections: int, interval: float) -> int:
    """Hold until SIGTERM; writes a Held to `out`. `begun_file` says that all are open."""
    go_first()  # a busy machine is not to be taken for an outage
    holding = Holding(*target, connections, interval=interval)

    def stop(*_: object) -> None:
        holding.stopped = True

    signal.signal(signal.SIGTERM, stop)
    begun_file(out).touch()
    out.write_bytes(msgspec.json.encode(holding.run()))
    return 0

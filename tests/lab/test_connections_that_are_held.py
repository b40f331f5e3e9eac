import asyncio
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from strictarp.lab import backend
from strictarp.lab.holding import Held, Holding


@contextmanager
def pages() -> Iterator[tuple[int, multiprocessing.Process]]:
    """The lab's backend, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = multiprocessing.get_context("fork").Process(target=backend.run, args=("node1", port))
    process.start()
    try:
        end = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert time.monotonic() < end
            time.sleep(0.02)
        yield port, process
    finally:
        process.kill()
        process.join()


def hold(port: int, seconds: float, count: int = 3) -> Held:
    holding = Holding("127.0.0.1", port, count, interval=0.2)

    def stop() -> None:
        holding.stopped = True

    threading.Timer(seconds, stop).start()
    return holding.run()


def test_connections_are_used_again_and_again_on_the_same_socket() -> None:
    with pages() as (port, _):
        held = hold(port, 0.7)
    assert held.broken == ()
    assert (held.connections, held.exchanges >= 6) == (3, True)
    assert 0 < held.slowest_ms < 1000


def test_connections_that_are_reset_are_counted_once_each() -> None:
    with pages() as (port, process):
        threading.Timer(0.3, process.kill).start()
        held = hold(port, 0.8)
    assert len(held.broken) == 3
    assert held.exchanges >= 3


def test_a_server_that_falls_silent_breaks_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strictarp.lab.holding.ANSWER_LIMIT", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        held = hold(silent.getsockname()[1], 0.6)
    assert [each.error for each in held.broken] == ["no answer within 0 s"] * 3


def test_without_a_server_nothing_is_held() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        Holding("127.0.0.1", port, 1, interval=0.2)


async def test_a_page_without_the_wish_ends_the_connection() -> None:
    server = await asyncio.get_running_loop().create_server(lambda: backend._Page("x"), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Connection: keep-alive" in head
    assert await reader.readline() == b"x\n"
    writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).endswith(b"Connection: close\r\n\r\nx\n")
    writer.close()
    server.close()

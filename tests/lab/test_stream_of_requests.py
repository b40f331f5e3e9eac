import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from strictarp.lab.backend import page
from strictarp.lab.stream import Stream, backend_of


@contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """Answers every connection with `answer`, or never when it is None."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    taken: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if answer is None:
                taken.append(connection)
                continue
            connection.recv(4096)
            connection.sendall(answer)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in taken:
            connection.close()


def test_each_request_names_the_backend_that_answered() -> None:
    with server(page("node7")) as port:
        stream = Stream("127.0.0.1", port, interval=0.001, limit=5)
        stream.run(20)
    assert [answer.backend for answer in stream.answers] == ["node7"] * 20
    assert all(answer.ok and answer.ended >= answer.started for answer in stream.answers)


def test_a_request_that_hangs_ends_at_its_limit_and_delays_no_other() -> None:
    with server(None) as port:
        stream = Stream("127.0.0.1", port, interval=0.01, limit=0.1)
        stream.run(5)
    assert [answer.error for answer in stream.answers] == ["no answer in time"] * 5
    starts = sorted(answer.started for answer in stream.answers)
    assert starts[-1] - starts[0] < 0.1


def test_a_refused_connection_is_an_error_of_that_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    stream = Stream("127.0.0.1", port, interval=0.001, limit=1)
    stream.run(2)
    assert [answer.error for answer in stream.answers] == ["Connection refused"] * 2


def test_an_answer_that_breaks_off_is_no_success() -> None:
    with server(b"HTTP/1.1 200 OK\r\nContent-") as port:
        stream = Stream("127.0.0.1", port, interval=0.001, limit=1)
        stream.run(1)
    assert not stream.answers[0].ok


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 500 Oops\r\n\r\nnode1", b"\xff\xfe"])
def test_what_is_no_page_of_ours_names_no_backend(text: bytes) -> None:
    assert backend_of(text) is None

"""The lab's HTTP backend: a page that says which backend made it."""

from __future__ import annotations

import asyncio

MAX_REQUEST = 8192


def page(name: str) -> bytes:
    """The answer to every request: the backend's name, and the connection's end."""
    body = f"{name}\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


class _Page(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._request = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._request += data
        if b"\r\n\r\n" in self._request:
            self._transport.write(self._answer)
            self._transport.close()
        elif len(self._request) > MAX_REQUEST:
            self._transport.abort()


async def _serve(name: str, port: int) -> None:
    answer = page(name)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Page(answer), "0.0.0.0", port, backlog=1024)
    await server.serve_forever()


def run(name: str, port: int) -> int:
    """Serve until killed."""
    asyncio.run(_serve(name, port))
    return 0

"""The lab's HTTP backend: a page that says which backend made it. Who asks to keep the connection may."""

from __future__ import annotations

import asyncio

MAX_REQUEST = 8192
KEEP = b"Connection: keep-alive"


def page(name: str, *, connection: str = "close") -> bytes:
    """The answer to every request: the backend's name, and whether the connection ends with it."""
    body = f"{name}\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: {connection}\r\n\r\n".encode() + body


class _Page(asyncio.Protocol):
    def __init__(self, name: str) -> None:
        self._last, self._more = page(name), page(name, connection="keep-alive")
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
            keep = KEEP in self._request
            self._request = b""
            self._transport.write(self._more if keep else self._last)
            if not keep:
                self._transport.close()
        elif len(self._request) > MAX_REQUEST:
            self._transport.abort()


async def _serve(name: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Page(name), "0.0.0.0", port, backlog=1024)
    await server.serve_forever()


def run(name: str, port: int) -> int:
    """Serve until killed."""
    asyncio.run(_serve(name, port))
    return 0

"""The model of IPVS as a process of its own: it outlives the proxy that is killed, as the kernel does."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from strictarp.netlink.messages import Message, Refusal
from support.fake_ipvs import FakeIpvs

_LENGTH = struct.Struct("=I")


class _Asked(msgspec.Struct):
    verb: str
    messages: list[bytes]


class _Answered(msgspec.Struct):
    """errors: 0 for success. found: type, flags and payload of messages."""

    errors: list[int] = []
    found: list[tuple[int, int, bytes]] = []


def serve(path: Path) -> None:
    """Serve one table to everybody, until killed."""
    asyncio.run(_serve(path))


async def _serve(path: Path) -> None:
    table = FakeIpvs()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(_LENGTH.size):
            asked = msgspec.msgpack.decode(await reader.readexactly(*_LENGTH.unpack(head)), type=_Asked)
            answer = msgspec.msgpack.encode(await _answer(table, asked))
            writer.write(_LENGTH.pack(len(answer)) + answer)

    server = await asyncio.start_unix_server(speak, path)
    await server.serve_forever()


async def _answer(table: FakeIpvs, asked: _Asked) -> _Answered:
    if asked.verb == "request":
        answers = await table.request(asked.messages)
        return _Answered(errors=[0 if answer is None else answer.errno for answer in answers])
    try:
        ask = table.query if asked.verb == "query" else table.dump
        found = await ask(asked.messages[0])
    except Refusal as refusal:
        return _Answered(errors=[refusal.errno])
    return _Answered(found=[(each.type, each.flags, bytes(each.payload)) for each in found])


class RemoteIpvs:
    """The table of such a process, behind the `Transport` protocol of strictarp.netlink.socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def close(self) -> None:
        self._socket.close()

    async def request(self, messages: Sequence[bytes]) -> list[Refusal | None]:
        answered = self._ask("request", list(messages))
        return [Refusal(number) if number else None for number in answered.errors]

    async def query(self, message: bytes) -> list[Message]:
        return self._found("query", message)

    async def dump(self, message: bytes) -> list[Message]:
        return self._found("dump", message)

    def _found(self, verb: str, message: bytes) -> list[Message]:
        answered = self._ask(verb, [message])
        if answered.errors:
            raise Refusal(answered.errors[0])
        return [Message(kind, flags, 0, 0, memoryview(payload)) for kind, flags, payload in answered.found]

    def _ask(self, verb: str, messages: list[bytes]) -> _Answered:
        asked = msgspec.msgpack.encode(_Asked(verb, messages))
        self._socket.sendall(_LENGTH.pack(len(asked)) + asked)
        (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
        return msgspec.msgpack.decode(self._receive(length), type=_Answered)

    def _receive(self, length: int) -> bytes:
        return self._socket.recv(length, socket.MSG_WAITALL)

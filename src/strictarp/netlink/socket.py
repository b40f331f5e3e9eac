"""The asyncio netlink sockets: one for requests and dumps, one for events. Thin; `exchange.py` decides.

A socket belongs to the network namespace that its thread is in when it is made, for good. Events have a
socket of their own: a flood of them can then never cost the answer to a request.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

from strictarp.netlink.exchange import Exchange, join
from strictarp.netlink.messages import MalformedMessage, Message, Refusal, parse_messages

NETLINK_ROUTE = 0
NETLINK_GENERIC = 16
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_CAP_ACK = 10
_EXT_ACK = 11
_SO_RCVBUFFORCE = 33

BATCH = 64
_DATAGRAM = 1 << 16
"""Dumps come in parts of at most 32 KiB (netlink_recvmsg)."""
_RECEIVE_BUFFER = 1 << 20
_BREATHE_AFTER = 1 << 15
_DATAGRAM_COSTS = 1 << 11
_MESSAGE_COSTS = 1 << 9
"""Other tasks get a turn after a full part of a dump, or 64 messages: about a millisecond of work."""
_DUMP_TRIES = 6
_EVENTS_AT_ONCE = 256
_PATIENCE_SECONDS = 10.0


class DumpInterrupted(Exception):
    """The table kept changing while it was read; nothing consistent was seen."""


class Transport(Protocol):
    """What the users of netlink need of it; `Netlink` is the real one."""

    async def request(self, messages: Sequence[bytes]) -> list[Refusal | None]:
        """Send messages that ask for an ACK; the answer to each, None for success."""

    async def query(self, message: bytes) -> list[Message]:
        """Send one message with ACK that has answers. Raises Refusal."""

    async def dump(self, message: bytes) -> list[Message]:
        """Everything a dump gives, consistent. Raises Refusal and DumpInterrupted."""

    def close(self) -> None:
        """Let go of it."""


class Netlink:
    """Requests and dumps over one socket, one exchange at a time.

    The kernel works on a request inside sendmsg(2), so that its answers are there when it returns: exchanges
    do not overlap, and hardly ever wait; between datagrams they let the loop run other tasks. `sent` counts
    messages, `exchanges` datagrams, `stray` foreign answers. `opened`: a socket that somebody else has made,
    and that answers like the kernel.

    Raises OSError when the socket cannot be made, later when it breaks, TimeoutError when the kernel does not
    answer within 10 s.
    """

    def __init__(self, protocol: int, opened: socket.socket | None = None) -> None:
        self.sent = 0
        self.exchanges = 0
        self.stray = 0
        self._worked = 0
        self._sequence = 1
        self._lock = asyncio.Lock()
        self._buffer = bytearray(_DATAGRAM)
        self._socket = opened or _open(protocol)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def __aenter__(self) -> Self:
        """Nothing to wait for: the socket is open already."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()

    async def request(self, messages: Sequence[bytes]) -> list[Refusal | None]:
        """Send messages that each ask for an ACK, 64 in a datagram; what became of each, in order."""
        answers: list[Refusal | None] = []
        for start in range(0, len(messages), BATCH):
            done = await self._exchange(messages[start : start + BATCH])
            answers += done.errors
        return answers

    async def query(self, message: bytes) -> list[Message]:
        """Send one message with ACK that has answers. Raises Refusal."""
        done = await self._exchange([message])
        if done.errors[0] is not None:
            raise done.errors[0]
        return done.messages

    async def transaction(self, messages: Sequence[bytes], end: bytes) -> Refusal | None:
        """Send what is done whole or not at all, in one datagram: what was refused, None for success.

        The first message begins it, the last asks for an ACK; `end` ends it and is not answered.
        """
        done = await self._exchange(messages, end)
        return next((error for error in done.errors if error is not None), None)

    async def dump(self, message: bytes) -> list[Message]:
        """Everything a dump gives; read again while it is interrupted by changes.

        Raises Refusal, and DumpInterrupted after 6 tries.
        """
        for attempt in range(_DUMP_TRIES):
            done = await self._exchange([message])
            refusal = done.errors[0]
            if refusal is not None and refusal.errno not in (errno.EBUSY, errno.ENOBUFS, errno.EINTR):
                raise refusal
            if refusal is None and not done.interrupted:
                return done.messages
            if refusal is not None and refusal.errno == errno.EBUSY:
                await self._drain()
            await asyncio.sleep(0.01 * attempt)
        raise DumpInterrupted(f"the kernel's table changed during each of {_DUMP_TRIES} dumps")

    async def _exchange(self, messages: Sequence[bytes], end: bytes = b"") -> Exchange:
        async with self._lock:
            exchange = Exchange(self._sequence, len(messages), together=bool(end))
            datagram = join(messages, self._sequence) + end
            self._sequence = (self._sequence + len(messages)) & 0xFFFFFFFF
            self.sent += len(messages)
            self.exchanges += 1
            self._worked += _MESSAGE_COSTS * len(messages)
            await asyncio.get_running_loop().sock_sendall(self._socket, datagram)
            while not exchange.done:
                await self._receive(exchange)
            self.stray += exchange.stray
            return exchange

    async def _receive(self, exchange: Exchange) -> None:
        """Take one datagram; now and then let other tasks run, as hardly anything here ever waits."""
        if self._worked >= _BREATHE_AFTER:
            self._worked = 0
            await asyncio.sleep(0)
        try:
            size = await self._next_datagram()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            exchange.lost()
            return
        self._worked += _DATAGRAM_COSTS + size
        exchange.feed(bytes(memoryview(self._buffer)[:size]))

    async def _next_datagram(self) -> int:
        try:
            return self._socket.recv_into(self._buffer)
        except BlockingIOError:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await asyncio.get_running_loop().sock_recv_into(self._socket, self._buffer)

    async def _drain(self) -> None:
        """Read away the rest of a dump whose reader was cancelled: the kernel runs one dump a socket."""
        async with self._lock:
            while True:
                try:
                    self._socket.recv_into(self._buffer)
                except BlockingIOError:
                    return
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise


class Events:
    """Messages of multicast groups. They are hints: whoever gets one looks at the kernel.

    Subscribed when made, so that nothing is missed between that and a first look. What is not read stays in
    the kernel's buffer, which bounds it. `lost` counts overruns of that buffer, `malformed` bad datagrams.
    """

    def __init__(self, protocol: int, groups: Iterable[int]) -> None:
        self.lost = 0
        self.malformed = 0
        self._buffer = bytearray(_DATAGRAM)
        self._socket = _open(protocol)
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def wait(self) -> list[Message | None]:
        """Wait for events and take all that are there, at most 256 datagrams.

        None among them: events were lost (ENOBUFS) or unreadable, look at everything again. Raises OSError
        when the socket breaks.
        """
        size = await self._guarded(asyncio.get_running_loop().sock_recv_into(self._socket, self._buffer))
        batch = self._taken(size)
        for _ in range(_EVENTS_AT_ONCE - 1):
            try:
                size = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                break
            except OSError as error:
                size = self._overrun(error)
            batch += self._taken(size)
        return batch

    async def _guarded(self, receiving: Awaitable[int]) -> int:
        try:
            return await receiving
        except OSError as error:
            return self._overrun(error)

    def _overrun(self, error: OSError) -> int:
        if error.errno != errno.ENOBUFS:
            raise error
        self.lost += 1
        return 0

    def _taken(self, size: int) -> list[Message | None]:
        if size == 0:
            return [None]
        try:
            return list(parse_messages(bytes(memoryview(self._buffer)[:size])))
        except MalformedMessage:
            self.malformed += 1
            return [None]


def _open(protocol: int) -> socket.socket:
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol
    )
    try:
        opened.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        opened.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        _enlarge(opened)
        opened.bind((0, 0))
    except OSError:
        opened.close()
        raise
    return opened


def _enlarge(opened: socket.socket) -> None:
    """A receive buffer of 1 MiB; without CAP_NET_ADMIN as much as net.core.rmem_max allows."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

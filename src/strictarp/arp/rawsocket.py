"""Packet sockets bound to one link, with a filter in the kernel. Thin.

A socket belongs to the network namespace that its thread is in when it is made, and to the interface index:
when the link is deleted and made again, it is dead and a new one is needed.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import socket
import struct
import time
from collections.abc import Callable

from strictarp.arp import bpf

BATCH = 64
"""Frames read at one wake-up; the loop gets its turn between batches."""
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 1, 6, 23
_PACKET_MR_MULTICAST, _PACKET_MR_ALLMULTI = 0, 2
_RECEIVE_BUFFER = 2 << 20
_LARGEST_FRAME = 2048
_SIOCGSTAMPNS = 0x8907
_TIMESPEC = struct.Struct("@ll")
_NO_TIME = bytes(_TIMESPEC.size)
_GONE = (errno.ENETDOWN, errno.ENODEV, errno.ENXIO)


def attach_filter(sock: socket.socket, program: bpf.Program) -> None:
    """Give a socket its filter, or another one in its place. Raises OSError."""
    code = ctypes.create_string_buffer(bpf.assemble(program))
    # struct sock_fprog: the count, and the address of the array (native alignment).
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )


class RawSocket:
    """Whole frames of one EtherType on one link, to and from the wire, without blocking. Not those of a VLAN
    on top of the link.

    Counters: `received` and `sent` frames; `unsent`, what the kernel did not take. `broken` is true once the
    link went down or away under the socket.

    Raises OSError when it cannot be made (EPERM without CAP_NET_RAW, ENODEV without such a link).
    """

    def __init__(
        self, index: int, ethertype: int, program: bpf.Program, *, groups: tuple[bytes, ...] = ()
    ) -> None:
        self.index = index
        self.ethertype = ethertype
        self.received = 0
        self.sent = 0
        self.unsent = 0
        self.dropped = 0
        self.broken = False
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        # Protocol 0 hears nothing: there is no moment between the socket and its filter.
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)
        try:
            self.set_filter(program)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._enlarge()
            for group in groups:
                self._join(_PACKET_MR_MULTICAST, group)
            self._bind()
        except OSError:
            self._socket.close()
            raise

    def _join(self, kind: int, group: bytes = b"") -> None:
        membership = struct.pack("=iHH8s", self.index, kind, len(group), group)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)

    def hear_all_groups(self) -> None:
        """Have the card pass every multicast frame from now on. Raises OSError."""
        self._join(_PACKET_MR_ALLMULTI)

    def _enlarge(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def _bind(self) -> None:
        """Bind by index: Python's address takes a name, which may mean another link by now."""
        address = struct.pack(
            "=HHiHBB8s", socket.AF_PACKET, socket.htons(self.ethertype), self.index, 0, 0, 0, b""
        )
        if _libc.bind(self._socket.fileno(), address, len(address)) != 0:
            number = ctypes.get_errno()
            raise OSError(
                number, f"cannot bind to interface {self.index}: {errno.errorcode.get(number, number)}"
            )

    def fileno(self) -> int:
        """The descriptor, for an event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def set_filter(self, program: bpf.Program) -> None:
        """Replace the filter at once; frames already queued passed the old one. Raises OSError."""
        attach_filter(self._socket, bpf.on_link(self.index, program))

    def receive(self) -> bytes | None:
        """The next frame, None when there is none (now, or ever again: `broken`)."""
        while True:
            try:
                frame = self._socket.recv(_LARGEST_FRAME)
            except BlockingIOError:
                return None
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno in _GONE:
                    # One ENETDOWN is reported for each time that the link goes down; frames may follow.
                    self.broken = True
                    return None
                raise
            self.received += 1
            return frame

    def age(self) -> int:
        """Nanoseconds since the kernel received the frame that `receive` returned last; 0 where it does not
        tell.

        By the wall clock: a clock that is set meanwhile makes it wrong, also negative. The first call
        switches the stamps on.
        """
        try:
            seconds, nanos = map(int, _TIMESPEC.unpack(fcntl.ioctl(self._socket, _SIOCGSTAMPNS, _NO_TIME)))
        except OSError:
            return 0  # ENOENT: it came before the stamps were switched on
        return time.time_ns() - seconds * 1_000_000_000 - nanos

    def discard(self) -> int:
        """Throw away all frames that wait, e.g. after a freeze; returns how many."""
        count = 0
        while self.receive() is not None:
            count += 1
        return count

    def send(self, frame: bytes) -> bool:
        """Hand a frame to the kernel; false, and counted, when it does not take it."""
        try:
            self._socket.send(frame)
        except OSError as error:
            self.unsent += 1
            if error.errno in _GONE:
                self.broken = True
            return False
        self.sent += 1
        return True

    def read_dropped(self) -> int:
        """Frames lost in all because they were not read in time; asks the kernel, which resets its count."""
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        _, drops = struct.unpack("=II", raw)
        self.dropped += drops
        return self.dropped

    def watch(self, loop: asyncio.AbstractEventLoop, on_frame: Callable[[bytes], None]) -> None:
        """Call `on_frame` for each frame from now on, at most 64 at a wake-up."""
        loop.add_reader(self._socket.fileno(), self._drain, on_frame)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop calling."""
        loop.remove_reader(self._socket.fileno())

    def _drain(self, on_frame: Callable[[bytes], None]) -> None:
        for _ in range(BATCH):
            frame = self.receive()
            if frame is None:
                return
            on_frame(frame)


_libc = ctypes.CDLL(None, use_errno=True)

"""The kernel's end of a socket, where there is no ip_vs: it answers as net/netfilter/ipvs/ip_vs_ctl.c does.

The daemon's own netlink code runs unchanged; its generic netlink socket is one end of a pair, this is the
other. Each message that asks for one gets an acknowledgement in a datagram of its own, as from the kernel.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable

from strictarp.netlink.messages import (
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    attributes,
    nested,
    parse_messages,
    text,
    u16,
    u32,
)

FAMILY = 30
_CONTROLLER = 16
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE, NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = range(1, 9)
NAMES = {
    NEW_SERVICE: "new service",
    SET_SERVICE: "set service",
    DEL_SERVICE: "delete service",
    GET_SERVICE: "ask for a service",
    NEW_DEST: "new real server",
    SET_DEST: "set real server",
    DEL_DEST: "delete real server",
    GET_DEST: "ask for real servers",
}
_GENERIC = struct.Struct("=BBH")
_DATAGRAM = 1 << 16
_IDLE = u32(7, 0) + u32(8, 0)
"""No connection, active or not."""

Place = tuple[bytes, bytes]
"""A virtual server's address and a real server's."""


class Recorder:
    """A table of virtual servers behind a socket.

    `counts`: messages by what they ask. `on_added`: called with the place of a new real server and the
    monotonic time. `peer`: the daemon's end.
    """

    def __init__(self, on_added: Callable[[Place, float], None] = lambda _place, _now: None) -> None:
        self.counts: Counter[str] = Counter()
        self.table: dict[bytes, tuple[bytes, dict[bytes, bytes]]] = {}
        self.on_added = on_added
        self.socket, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.socket, self.peer):
            end.setsockopt(socket.SOL_SOCKET, 32, 1 << 20)  # SO_SNDBUFFORCE: room for 64 answers and a dump

    def serve(self) -> None:
        """Take one datagram and answer it."""
        datagram = self.socket.recv(_DATAGRAM)
        now = time.monotonic()
        for message in parse_messages(datagram):
            self._answer(message, now)

    def real_servers(self) -> int:
        """How many there are."""
        return sum(len(reals) for _, reals in self.table.values())

    def _answer(self, message: Message, now: float) -> None:
        try:
            answers = self._do(message, now)
            error = 0
        except OSError as refused:
            answers, error = [], refused.errno or errno.EINVAL
        for kind, payload in answers:
            self._send(message, kind, payload)
        if message.flags & NLM_F_DUMP == NLM_F_DUMP:
            self._send(message, NLMSG_DONE, struct.pack("=i", -error))
        elif error or message.flags & NLM_F_ACK:
            self._send(message, NLMSG_ERROR, struct.pack("=i", -error) + bytes(HEADER.size))

    def _send(self, message: Message, kind: int, payload: bytes) -> None:
        self.socket.send(HEADER.pack(HEADER.size + len(payload), kind, 0, message.sequence, 0) + payload)

    def _do(self, message: Message, now: float) -> list[tuple[int, bytes]]:
        if message.type == _CONTROLLER:
            return [(_CONTROLLER, _GENERIC.pack(1, 2, 0) + text(2, "IPVS") + u16(1, FAMILY))]
        number = message.payload[0]
        self.counts[NAMES.get(number, "other")] += 1
        found = attributes(message.payload, _GENERIC.size)
        if number in (GET_SERVICE, GET_DEST):
            return self._asked(number, found, dump=message.flags & NLM_F_DUMP == NLM_F_DUMP)
        if number not in NAMES:
            return []
        whole = bytes(found[1])
        service = attributes(whole)
        key = bytes(service[2]) + bytes(service[3]) + bytes(service[4])
        if number == NEW_SERVICE:
            if key in self.table:
                raise OSError(errno.EEXIST, "")
            self.table[key] = (whole, {})
        elif key not in self.table:
            raise OSError(errno.ESRCH, "")
        elif number == SET_SERVICE:
            self.table[key] = (whole, self.table[key][1])
        elif number == DEL_SERVICE:
            del self.table[key]
        else:
            self._change(number, key, (bytes(service[3][:4]), bytes(found[2])), now)
        return []

    def _change(self, number: int, key: bytes, given: Place, now: float) -> None:
        address, whole = given
        found = attributes(whole)
        place = bytes(found[1]) + bytes(found[2])
        reals = self.table[key][1]
        if (place in reals) == (number == NEW_DEST):
            raise OSError(errno.EEXIST if number == NEW_DEST else errno.ENOENT, "")
        if number == DEL_DEST:
            del reals[place]
            return
        reals[place] = whole
        if number == NEW_DEST:
            self.on_added((address, place[:4]), now)

    def _asked(self, number: int, found: dict[int, memoryview], *, dump: bool) -> list[tuple[int, bytes]]:
        if number == GET_SERVICE and dump:
            return [(FAMILY, _GENERIC.pack(1, 1, 0) + nested(1, whole)) for whole, _ in self.table.values()]
        service = attributes(found[1])
        key = bytes(service[2]) + bytes(service[3]) + bytes(service[4])
        if number == GET_DEST:
            _, reals = self.table.get(key, (b"", {}))
            return [(FAMILY, _GENERIC.pack(5, 1, 0) + nested(2, real, _IDLE)) for real in reals.values()]
        if key not in self.table:
            raise OSError(errno.ESRCH, "")
        return [(FAMILY, _GENERIC.pack(1, 1, 0) + nested(1, self.table[key][0]))]

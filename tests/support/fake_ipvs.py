"""A model of the kernel's IPVS that speaks netlink bytes: a stand-in for `Netlink(NETLINK_GENERIC)`.

It keeps a table and refuses as net/netfilter/ipvs/ip_vs_ctl.c does. The tests in
tests/netlink/test_ipvs_table_behaves.py ask the same questions of this model and, in the VM, of the kernel.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from socket import AF_INET, AF_INET6, htons, ntohs

from strictarp.netlink.ipvs import FLAG_HASHED, Key, RealServer, RealServerState, VirtualServer
from strictarp.netlink.ipvs_parse import command
from strictarp.netlink.messages import (
    HEADER,
    NLM_F_DUMP,
    Message,
    Refusal,
    attribute,
    attributes,
    nested,
    parse_messages,
    read_text,
    read_u16,
    read_u32,
    text,
    u16,
    u32,
)

Attributes = dict[int, memoryview]

CONTROLLER, FAMILY = 16, 37
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE = 1, 2, 3, 4
NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = 5, 6, 7, 8
SET_CONFIG, GET_CONFIG, SET_INFO, GET_INFO, FLUSH = 12, 13, 14, 15, 17


class FakeIpvs:
    """Virtual servers with their real servers, behind the `Transport` protocol of strictarp.netlink.socket.

    `table`: what is programmed now. `connections`: (virtual server key, address, port) → (active, inactive),
    to be set by a test. `log`: (command, key) of every change that was accepted. `refuse_next`: error numbers
    for the next changes, in order, 0 for 'as usual'.
    """

    def __init__(self, schedulers: Sequence[str] = ("rr", "wrr", "lc", "wlc", "sh", "mh")) -> None:
        self.schedulers = frozenset(schedulers)
        self.table: dict[Key, tuple[VirtualServer, dict[tuple[bytes, int], RealServer]]] = {}
        self.connections: dict[tuple[Key, bytes, int], tuple[int, int]] = {}
        self.timeouts = [900, 120, 300]
        self.log: list[tuple[int, Key | None]] = []
        self.refuse_next: list[int] = []
        self.sent = 0

    def close(self) -> None:
        """Nothing to close."""

    async def request(self, messages: Sequence[bytes]) -> list[Refusal | None]:
        answers: list[Refusal | None] = []
        for message in messages:
            try:
                self._do(self._only(message))
                answers.append(None)
            except Refusal as refusal:
                answers.append(refusal)
        return answers

    async def query(self, message: bytes) -> list[Message]:
        return self._do(self._only(message))

    async def dump(self, message: bytes) -> list[Message]:
        asked = self._only(message)
        assert asked.flags & NLM_F_DUMP == NLM_F_DUMP
        if command(asked) == GET_SERVICE:
            return [service_message(server) for server, _ in self.table.values()]
        key = _key(attributes(attributes(asked.payload, 4)[1]))
        if key not in self.table:
            return []
        return [
            dest_message(RealServerState(real, *self.connections.get((key, real.address, real.port), (0, 0))))
            for real in self.table[key][1].values()
        ]

    def _only(self, message: bytes) -> Message:
        self.sent += 1
        assert len(message) % 4 == 0, "unaligned messages would run into each other in a batch"
        (parsed,) = parse_messages(message)
        return parsed

    def _do(self, message: Message) -> list[Message]:
        found = attributes(message.payload, 4)
        if message.type == CONTROLLER:
            return [_family(found)]
        if message.type != FAMILY:
            raise Refusal(errno.EOPNOTSUPP)
        number = command(message)
        if number in (GET_CONFIG, GET_INFO, GET_SERVICE):
            return [self._asked(number, found)]
        if self.refuse_next and (refused := self.refuse_next.pop(0)):
            raise Refusal(refused)
        self._change(number, found)
        self.log.append((number, _key(attributes(found[1])) if 1 in found else None))
        return []

    def _asked(self, number: int, found: Attributes) -> Message:
        if number == GET_CONFIG:
            return _message(SET_CONFIG, b"".join(u32(4 + i, s) for i, s in enumerate(self.timeouts)))
        if number == GET_INFO:
            return _message(SET_INFO, u32(1, 0x010201) + u32(2, 4096))
        key = _key(attributes(found[1]))
        if key not in self.table:
            raise Refusal(errno.ESRCH)
        return service_message(self.table[key][0])

    def _change(self, number: int, found: Attributes) -> None:
        if number == FLUSH:
            self.table.clear()
        elif number == SET_CONFIG:
            asked = [read_u32(found[4 + i], name="timeout") for i in range(3)]
            self.timeouts = [new or old for new, old in zip(asked, self.timeouts, strict=True)]
        elif number in (NEW_SERVICE, SET_SERVICE, DEL_SERVICE):
            self._change_service(number, attributes(found[1]))
        else:
            key = _key(attributes(found[1]))
            if key not in self.table:
                raise Refusal(errno.ESRCH)
            self._change_dest(number, key, attributes(found[2]))

    def _change_service(self, number: int, service: Attributes) -> None:
        key = _key(service)
        if number == NEW_SERVICE and key in self.table:
            raise Refusal(errno.EEXIST)
        if number != NEW_SERVICE and key not in self.table:
            raise Refusal(errno.ESRCH)
        if number == DEL_SERVICE:
            del self.table[key]
            return
        if not {6, 7, 8, 9} <= service.keys():
            raise Refusal(errno.EINVAL)
        scheduler = read_text(service[6])
        if scheduler not in self.schedulers:
            raise Refusal(errno.ENOENT)
        flags = struct.unpack("=II", service[7])[0] & ~FLAG_HASHED
        made = VirtualServer(*key, scheduler, flags, read_u32(service[8], name="timeout"))
        self.table[key] = (made, self.table[key][1] if key in self.table else {})

    def _change_dest(self, number: int, key: Key, dest: Attributes) -> None:
        width = _width(dest[11])
        place = (bytes(dest[1][:width]), ntohs(read_u16(dest[2], name="port")))
        reals = self.table[key][1]
        if number == NEW_DEST and place in reals:
            raise Refusal(errno.EEXIST)
        if number != NEW_DEST and place not in reals:
            raise Refusal(errno.ENOENT)
        if number == DEL_DEST:
            del reals[place]
            return
        if not {3, 4, 5, 6} <= dest.keys() or width != len(key[1]):
            raise Refusal(errno.EINVAL)
        weight = read_u32(dest[4], name="weight")
        if weight > 0x7FFFFFFF:
            raise Refusal(errno.ERANGE)
        reals[place] = RealServer(*place, weight)


def _width(family: memoryview) -> int:
    return 4 if read_u16(family, name="address family") == AF_INET else 16


def _key(service: Attributes) -> Key:
    return (
        read_u16(service[2], name="protocol"),
        bytes(service[3][: _width(service[1])]),
        ntohs(read_u16(service[4], name="port")),
    )


def _family(found: Attributes) -> Message:
    if read_text(found[2]) != "IPVS":
        raise Refusal(errno.ENOENT)
    return _message(1, text(2, "IPVS") + u16(1, FAMILY))


def _message(number: int, attrs: bytes) -> Message:
    payload = struct.pack("=BBH", number, 1, 0) + attrs
    raw = HEADER.pack(HEADER.size + len(payload), FAMILY, 2, 0, 0) + payload
    (message,) = parse_messages(raw)
    return message


def _union(address: bytes) -> bytes:
    return address.ljust(16, b"\0")


def _af(address: bytes) -> int:
    return AF_INET if len(address) == 4 else AF_INET6


def service_message(server: VirtualServer) -> Message:
    """As ip_vs_genl_fill_service orders it."""
    return _message(
        NEW_SERVICE,
        nested(
            1,
            u16(1, _af(server.address)),
            u16(2, server.protocol),
            attribute(3, _union(server.address)),
            u16(4, htons(server.port)),
            text(6, server.scheduler),
            attribute(7, struct.pack("=II", server.flags | FLAG_HASHED, 0xFFFFFFFF)),
            u32(8, server.timeout),
            u32(9, 0xFFFFFFFF if len(server.address) == 4 else 128),
            nested(10, u32(1, 0)),
        ),
    )


def dest_message(state: RealServerState) -> Message:
    """As ip_vs_genl_fill_dest orders it."""
    real = state.server
    return _message(
        NEW_DEST,
        nested(
            2,
            attribute(1, _union(real.address)),
            u16(2, htons(real.port)),
            u32(3, state.forward),
            u32(4, real.weight),
            u32(5, 0),
            u32(6, 0),
            u32(7, state.active),
            u32(8, state.inactive),
            u32(9, 0),
            u16(11, _af(real.address)),
            nested(10, u32(1, 0)),
        ),
    )

"""A model of rtnetlink that speaks its bytes: links by name, and addresses on them.

A stand-in for `Netlink(NETLINK_ROUTE)`. It refuses as net/core/rtnetlink.c, net/ipv4/devinet.c and
net/ipv6/addrconf.c do; tests/proxy/test_models_refuse_as_the_kernel_does.py asks it and the kernel the same.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from strictarp.netlink.messages import (
    HEADER,
    NLM_F_DUMP,
    Message,
    Refusal,
    attribute,
    attributes,
    parse_messages,
    read_text,
    text,
)
from strictarp.netlink.rtnl_encode import IFADDRMSG, IFINFOMSG, family_of
from strictarp.netlink.rtnl_parse import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK

_GETLINK, _GETADDR = 18, 22
_NAME, _LOCAL = 3, 2
Bound = tuple[int, bytes, int]
"""Index of a link, an address on it, and the length of its prefix."""


class FakeRoute:
    """Links and addresses, behind the `Transport` protocol of strictarp.netlink.socket.

    `links`: index → name. `changed`: how many changes were accepted.
    """

    def __init__(self) -> None:
        self.links: dict[int, str] = {}
        self.addresses: set[Bound] = set()
        self.changed = 0
        self._next = 1

    def close(self) -> None:
        """Nothing to close."""

    def remove(self, name: str) -> None:
        """Somebody else deletes a link; its addresses go with it."""
        for index in [index for index, known in self.links.items() if known == name]:
            self._remove(index)

    def _remove(self, index: int) -> None:
        del self.links[index]
        self.addresses = {bound for bound in self.addresses if bound[0] != index}

    async def request(self, messages: Sequence[bytes]) -> list[Refusal | None]:
        answers: list[Refusal | None] = []
        for message in messages:
            try:
                self._change(_only(message))
                self.changed += 1
                answers.append(None)
            except Refusal as refusal:
                answers.append(refusal)
        return answers

    async def query(self, message: bytes) -> list[Message]:
        asked = _only(message)
        assert asked.type == _GETLINK
        name = read_text(attributes(asked.payload, IFINFOMSG.size)[_NAME])
        for index, known in self.links.items():
            if known == name:
                return [_link(index, name)]
        raise Refusal(errno.ENODEV)

    async def dump(self, message: bytes) -> list[Message]:
        asked = _only(message)
        assert asked.flags & NLM_F_DUMP == NLM_F_DUMP
        if asked.type == _GETLINK:
            return [_link(index, name) for index, name in self.links.items()]
        assert asked.type == _GETADDR
        return [_address(*bound) for bound in sorted(self.addresses)]

    def _change(self, message: Message) -> None:
        if message.type in (RTM_NEWADDR, RTM_DELADDR):
            self._change_address(message)
        elif message.type == RTM_NEWLINK:
            name = read_text(attributes(message.payload, IFINFOMSG.size)[_NAME])
            if name in self.links.values():
                raise Refusal(errno.EEXIST)
            self.links[self._next] = name
            self._next += 1
        else:
            assert message.type == RTM_DELLINK
            _, _, index, _, _ = IFINFOMSG.unpack_from(message.payload)
            if index not in self.links:
                raise Refusal(errno.ENODEV)
            self._remove(index)

    def _change_address(self, message: Message) -> None:
        _, prefix, _, _, index = IFADDRMSG.unpack_from(message.payload)
        bound = (index, bytes(attributes(message.payload, IFADDRMSG.size)[_LOCAL]), prefix)
        if index not in self.links:
            raise Refusal(errno.ENODEV)
        if message.type == RTM_NEWADDR:
            if bound in self.addresses:
                raise Refusal(errno.EEXIST)
            self.addresses.add(bound)
        elif bound not in self.addresses:
            raise Refusal(errno.EADDRNOTAVAIL)
        else:
            self.addresses.remove(bound)


def _only(message: bytes) -> Message:
    (parsed,) = parse_messages(message)
    return parsed


def _message(kind: int, payload: bytes) -> Message:
    (message,) = parse_messages(HEADER.pack(HEADER.size + len(payload), kind, 2, 0, 0) + payload)
    return message


def _link(index: int, name: str) -> Message:
    return _message(RTM_NEWLINK, IFINFOMSG.pack(0, 0, index, 0, 0) + text(_NAME, name))


def _address(index: int, address: bytes, prefix: int) -> Message:
    head = IFADDRMSG.pack(family_of(len(address)), prefix, 0, 0, index)
    return _message(RTM_NEWADDR, head + attribute(1, address) + attribute(_LOCAL, address))

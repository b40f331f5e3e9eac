"""Chains, rules and sets of nftables by netlink: dumps only, and what the kernel tells. Pure.

After Linux include/uapi/linux/netfilter/nf_tables.h. Numbers in these messages are in network byte order.
Expressions are taken apart only into name and attributes; what they mean to ARP `arp.nft_reading` knows.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import msgspec

from strictarp.netlink.messages import (
    NLM_F_DUMP,
    NLM_F_REQUEST,
    MalformedMessage,
    Message,
    attributes,
    each_attribute,
    frame,
    read_text,
    text,
)
from strictarp.netlink.policy import parse_nft_table

SET_ANONYMOUS, SET_INTERVAL, SET_MAP, SET_CONCAT = 0x1, 0x4, 0x8, 0x80
ELEMENT_END, ELEMENT_CATCHALL = 0x1, 0x2
POLICY_DROP = 0
VERDICT_DROP, VERDICT_ACCEPT, VERDICT_CONTINUE, VERDICT_JUMP, VERDICT_GOTO, VERDICT_RETURN = (
    0,
    1,
    -1,
    -3,
    -4,
    -5,
)

_SUBSYSTEM = 10 << 8
_GETCHAIN, _GETRULE, _GETSET, _GETSETELEM = (_SUBSYSTEM | kind for kind in (4, 7, 10, 13))
_NFGENMSG = struct.Struct("=BBH")
_DUMP = NLM_F_REQUEST | NLM_F_DUMP
_LIST_ELEM = 1
_DORMANT = 0x1

Attributes = Mapping[int, memoryview]


class Expression(msgspec.Struct, frozen=True):
    """One expression of a rule: its name, such as "payload", and its attributes by number."""

    name: str
    found: Attributes

    def number(self, kind: int, otherwise: int = 0) -> int:
        """An attribute as a number."""
        return number(self.found[kind]) if kind in self.found else otherwise

    def word(self, kind: int) -> str:
        """An attribute as text, empty without it."""
        return read_text(self.found[kind]) if kind in self.found else ""


class ChainTold(msgspec.Struct, frozen=True):
    """hook: its number, -1 for a chain that is only jumped to. devices: of a netdev chain."""

    table: str
    name: str
    hook: int = -1
    priority: int = 0
    policy: int = 1
    devices: tuple[str, ...] = ()


class RuleTold(msgspec.Struct, frozen=True):
    """A rule."""

    table: str
    chain: str
    expressions: tuple[Expression, ...]


class SetTold(msgspec.Struct, frozen=True):
    """A set or map. key_length in bytes."""

    table: str
    name: str
    flags: int
    key_length: int


class VerdictTold(msgspec.Struct, frozen=True):
    """code: one of VERDICT_*, or another that the kernel has."""

    code: int
    chain: str = ""


class ElementTold(msgspec.Struct, frozen=True):
    """key: empty for the catch-all. end: of a range of concatenated fields, else empty."""

    key: bytes
    end: bytes = b""
    flags: int = 0
    verdict: VerdictTold | None = None


def _request(kind: int, family: int, body: bytes = b"") -> bytes:
    return frame(kind, _DUMP, _NFGENMSG.pack(family, 0, 0) + body)


def encode_dump_chains(family: int) -> bytes:
    """Ask for all chains of a family."""
    return _request(_GETCHAIN, family)


def encode_dump_rules(family: int) -> bytes:
    """Ask for all rules of a family."""
    return _request(_GETRULE, family)


def encode_dump_sets(family: int) -> bytes:
    """Ask for all sets of a family."""
    return _request(_GETSET, family)


def encode_dump_elements(family: int, table: str, name: str) -> bytes:
    """Ask for the elements of one set."""
    return _request(_GETSETELEM, family, text(1, table) + text(2, name))


def number(value: memoryview) -> int:
    """A number in network byte order, of whatever width."""
    return int.from_bytes(value, "big")


def _signed(value: memoryview) -> int:
    return int.from_bytes(value, "big", signed=True)


def _found(message: Message, *names: int) -> Attributes:
    found = attributes(message.payload, _NFGENMSG.size)
    for name in names:
        if name not in found:
            raise MalformedMessage(f"nftables message {message.type & 0xFF} without attribute {name}")
    return found


def parse_table(message: Message) -> str:
    """The name of a table; empty for one that is dormant, whose chains are out of action."""
    name = parse_nft_table(message)
    return "" if number(_found(message).get(2, memoryview(b""))) & _DORMANT else name


def parse_chain(message: Message) -> ChainTold:
    """A chain. Raises MalformedMessage."""
    found = _found(message, 1, 3)
    chain = ChainTold(read_text(found[1]), read_text(found[3]))
    if 4 not in found:
        return chain
    hook = attributes(found[4])
    single = (read_text(hook[3]),) if 3 in hook else ()
    several = tuple(read_text(value) for _, value in each_attribute(hook[4])) if 4 in hook else ()
    return msgspec.structs.replace(
        chain,
        hook=number(hook.get(1, memoryview(b""))),
        priority=_signed(hook.get(2, memoryview(b""))),
        policy=number(found[5]) if 5 in found else 1,
        devices=tuple(dict.fromkeys(single + several)),
    )


def parse_rule(message: Message) -> RuleTold:
    """A rule. Raises MalformedMessage."""
    found = _found(message, 1, 2)
    listed = each_attribute(found[4]) if 4 in found else []
    expressions = tuple(_expression(value) for kind, value in listed if kind == _LIST_ELEM)
    return RuleTold(read_text(found[1]), read_text(found[2]), expressions)


def _expression(value: memoryview) -> Expression:
    found = attributes(value)
    if 1 not in found:
        raise MalformedMessage("nftables expression without a name")
    return Expression(read_text(found[1]), attributes(found.get(2, memoryview(b""))))


def parse_set(message: Message) -> SetTold:
    """A set or map. Raises MalformedMessage."""
    found = _found(message, 1, 2)
    flags, length = (number(found[kind]) if kind in found else 0 for kind in (3, 5))
    return SetTold(read_text(found[1]), read_text(found[2]), flags, length)


def parse_elements(messages: Sequence[Message]) -> list[ElementTold]:
    """The elements in the answers to one dump. Raises MalformedMessage."""
    found: list[ElementTold] = []
    for message in messages:
        listed = _found(message).get(3)
        if listed is not None:
            found += [_element(value) for kind, value in each_attribute(listed) if kind == _LIST_ELEM]
    return found


def _element(value: memoryview) -> ElementTold:
    found = attributes(value)
    return ElementTold(
        key=data_value(found[1]) if 1 in found else b"",
        end=data_value(found[10]) if 10 in found else b"",
        flags=number(found[3]) if 3 in found else 0,
        verdict=data_verdict(found[2]) if 2 in found else None,
    )


def data_value(data: memoryview) -> bytes:
    """The bytes in a NFTA_DATA_VALUE; empty for a verdict."""
    return bytes(attributes(data).get(1, b""))


def data_verdict(data: memoryview) -> VerdictTold | None:
    """The verdict in a NFTA_DATA_VERDICT; None for a value."""
    found = attributes(data)
    if 2 not in found:
        return None
    inner = attributes(found[2])
    if 1 not in inner:
        raise MalformedMessage("nftables verdict without a code")
    return VerdictTold(_signed(inner[1]), read_text(inner[2]) if 2 in inner else "")

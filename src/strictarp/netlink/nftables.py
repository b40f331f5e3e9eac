"""nftables by netlink, as far as others' chains have to be known: base chains, comments of rules. Pure.

After Linux include/uapi/linux/netfilter/nf_tables.h; numbers inside attributes are big endian. Comments of
rules stand in their user data as libnftnl writes it (include/libnftnl/udata.h): kind, length, text.
"""

from __future__ import annotations

import struct

import msgspec

from strictarp.netlink.messages import (
    NLM_F_DUMP,
    NLM_F_REQUEST,
    MalformedMessage,
    Message,
    attributes,
    frame,
    read_text,
    text,
)

GROUP = 7
"""Multicast group of all changes (NFNLGRP_NFTABLES)."""
FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}
"""nft's names of those families that routed packets pass through."""
HOOK_FORWARD = 2
DROP = 0

_SUBSYSTEM = 10
_GETCHAIN, _GETRULE = _SUBSYSTEM << 8 | 4, _SUBSYSTEM << 8 | 7
_STRUCTURE = frozenset({0, 2, 3, 5, 6, 8})
"""Events about tables, chains and rules; those of set elements are many, and tell nothing here."""
_NFGENMSG = struct.Struct("=BBH")
_BE32, _BE64 = struct.Struct("!i"), struct.Struct("!Q")
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY = 1, 3, 4, 5
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_USERDATA = 1, 2, 3, 7
_COMMENT = 0


class Chain(msgspec.Struct, frozen=True, gc=False):
    """A chain. family: number. hook: where a base chain hangs, -1 for others. policy: DROP, 1 for accept."""

    family: int
    table: str
    name: str
    hook: int = -1
    priority: int = 0
    policy: int = 1


def encode_dump_chains() -> bytes:
    """Ask for all chains of all families."""
    return frame(_GETCHAIN, NLM_F_REQUEST | NLM_F_DUMP, _NFGENMSG.pack(0, 0, 0))


def encode_dump_rules(chain: Chain) -> bytes:
    """Ask for the rules of one chain."""
    return frame(
        _GETRULE,
        NLM_F_REQUEST | NLM_F_DUMP,
        _NFGENMSG.pack(chain.family, 0, 0) + text(_RULE_TABLE, chain.table) + text(_RULE_CHAIN, chain.name),
    )


def is_structure(message: Message) -> bool:
    """Whether an event is about a table, chain or rule."""
    return message.type >> 8 == _SUBSYSTEM and message.type & 0xFF in _STRUCTURE


def parse_chain(message: Message) -> Chain:
    """A chain. Raises MalformedMessage."""
    if len(message.payload) < _NFGENMSG.size:
        raise MalformedMessage(f"chain of {len(message.payload)} bytes")
    found = attributes(message.payload, _NFGENMSG.size)
    if _CHAIN_TABLE not in found or _CHAIN_NAME not in found:
        raise MalformedMessage("chain without a name or table")
    hook = attributes(found[_CHAIN_HOOK]) if _CHAIN_HOOK in found else {}
    return Chain(
        message.payload[0],
        read_text(found[_CHAIN_TABLE]),
        read_text(found[_CHAIN_NAME]),
        _number(hook.get(_HOOK_NUMBER), _BE32, -1),
        _number(hook.get(_HOOK_PRIORITY), _BE32, 0),
        _number(found.get(_CHAIN_POLICY), _BE32, 1),
    )


def parse_rule(message: Message) -> tuple[int, str]:
    """Handle and comment of a rule; the comment is empty without one. Raises MalformedMessage."""
    if len(message.payload) < _NFGENMSG.size:
        raise MalformedMessage(f"rule of {len(message.payload)} bytes")
    found = attributes(message.payload, _NFGENMSG.size)
    handle = _number(found.get(_RULE_HANDLE), _BE64, 0)
    return handle, _comment(bytes(found.get(_RULE_USERDATA, b"")))


def _comment(data: bytes) -> str:
    """Other programs put what they like into user data: what does not look like a comment is none."""
    while len(data) >= 2:
        kind, length = data[0], data[1]
        if kind == _COMMENT:
            return data[2 : 2 + length].split(b"\0", 1)[0].decode(errors="backslashreplace")
        data = data[2 + length :]
    return ""


def _number(value: memoryview | None, form: struct.Struct, otherwise: int) -> int:
    if value is None:
        return otherwise
    if len(value) != form.size:
        raise MalformedMessage(f"number of {len(value)} bytes in nftables, {form.size} expected")
    return int(form.unpack(value)[0])

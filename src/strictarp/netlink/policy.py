"""Policy rules (`ip rule`) and tables of nftables by netlink: requests, and what the kernel tells. Pure.

After Linux include/uapi/linux/fib_rules.h, nfnetlink.h and netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from socket import AF_INET

import msgspec

from strictarp.netlink.messages import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    MalformedMessage,
    Message,
    attributes,
    frame,
    read_text,
    read_u32,
)
from strictarp.netlink.rtnl_encode import NDMSG, RTMSG

NETLINK_NETFILTER = 12
FAMILY_ARP, FAMILY_NETDEV, FAMILY_BRIDGE = 3, 5, 7
ACTION_LOOKUP, ACTION_GOTO, ACTION_NOP = 1, 2, 3
ACTION_BLACKHOLE, ACTION_UNREACHABLE, ACTION_PROHIBIT = 6, 7, 8

_GETRULE, _GETNEIGH = 34, 30
_GETTABLE, _GETGEN = 10 << 8 | 1, 10 << 8 | 16
_NTF_PROXY = 0x08
_INVERTED = 0x2
_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_GOTO, _FRA_PRIORITY = 1, 2, 3, 4, 6
_FRA_FWMARK, _FRA_TUN_ID, _FRA_SUPPRESS_PREFIXLEN = 10, 12, 14
_FRA_TABLE, _FRA_OIFNAME, _FRA_L3MDEV = 15, 17, 19
_FRA_IP_PROTO, _FRA_SPORT_RANGE, _FRA_DPORT_RANGE, _FRA_DSCP = 22, 23, 24, 25
_BEYOND = frozenset((_FRA_FWMARK, _FRA_TUN_ID, _FRA_IP_PROTO, _FRA_SPORT_RANGE, _FRA_DPORT_RANGE, _FRA_DSCP))
_NFTA_TABLE_NAME = 1
_NFTA_GEN_ID = 1
_NFGENMSG = struct.Struct("=BBH")
_DUMP = NLM_F_REQUEST | NLM_F_DUMP


class Rule(msgspec.Struct, frozen=True, gc=False):
    """A policy rule of IPv4. source, destination: packed, empty for any. action: one of ACTION_*.

    beyond: it looks at a mark, a protocol, ports or a type of service other than 0. suppress_prefix: -1 for
    none.
    """

    priority: int
    action: int
    table: int = 0
    source: bytes = b""
    source_prefix: int = 0
    destination: bytes = b""
    destination_prefix: int = 0
    iif: str = ""
    oif: str = ""
    inverted: bool = False
    l3mdev: bool = False
    beyond: bool = False
    suppress_prefix: int = -1
    target: int = 0


def encode_dump_rules() -> bytes:
    """Ask for all policy rules of IPv4."""
    return frame(_GETRULE, _DUMP, RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))


def encode_dump_proxies() -> bytes:
    """Ask for all proxy neighbour entries of IPv4; answers as for neighbours, index 0 for every device."""
    return frame(_GETNEIGH, _DUMP, NDMSG.pack(AF_INET, 0, 0, _NTF_PROXY, 0))


def encode_dump_nft_tables(family: int) -> bytes:
    """Ask for all nftables tables of a family; a netfilter socket is needed."""
    return frame(_GETTABLE, _DUMP, _NFGENMSG.pack(family, 0, 0))


def encode_get_generation() -> bytes:
    """Ask for the number of nftables' last transaction in the namespace (NFT_MSG_GETGEN)."""
    return frame(_GETGEN, NLM_F_REQUEST | NLM_F_ACK, _NFGENMSG.pack(0, 0, 0))


def parse_generation(message: Message) -> int:
    """The number of nftables' last transaction. Raises MalformedMessage."""
    found = attributes(message.payload, _NFGENMSG.size)
    if len(found.get(_NFTA_GEN_ID, b"")) != 4:
        raise MalformedMessage("nftables generation without a number")
    return int.from_bytes(found[_NFTA_GEN_ID], "big")


def parse_rule(message: Message) -> Rule:
    """A policy rule. Raises MalformedMessage."""
    if len(message.payload) < RTMSG.size:
        raise MalformedMessage(f"rule of {len(message.payload)} bytes, at least {RTMSG.size} expected")
    _, to_prefix, from_prefix, tos, table, _, _, action, flags = RTMSG.unpack_from(message.payload)
    found = attributes(message.payload, RTMSG.size)

    def number(kind: int, name: str, otherwise: int = 0) -> int:
        return read_u32(found[kind], name=name) if kind in found else otherwise

    suppress = number(_FRA_SUPPRESS_PREFIXLEN, "suppressed prefix", 0xFFFFFFFF)
    return Rule(
        priority=number(_FRA_PRIORITY, "priority"),
        action=action,
        table=number(_FRA_TABLE, "table", table),
        source=_address(found.get(_FRA_SRC), "source"),
        source_prefix=_prefix(from_prefix),
        destination=_address(found.get(_FRA_DST), "destination"),
        destination_prefix=_prefix(to_prefix),
        iif=read_text(found[_FRA_IIFNAME]) if _FRA_IIFNAME in found else "",
        oif=read_text(found[_FRA_OIFNAME]) if _FRA_OIFNAME in found else "",
        inverted=bool(flags & _INVERTED),
        l3mdev=bytes(found.get(_FRA_L3MDEV, b"")) == b"\1",
        beyond=bool(tos) or any(any(found[kind]) for kind in _BEYOND if kind in found),
        suppress_prefix=-1 if suppress == 0xFFFFFFFF else suppress,
        target=number(_FRA_GOTO, "goto"),
    )


def _prefix(length: int) -> int:
    if length > 32:
        raise MalformedMessage(f"rule with a prefix of {length} bits")
    return length


def _address(value: memoryview | None, name: str) -> bytes:
    if value is None:
        return b""
    if len(value) != 4:
        raise MalformedMessage(f"rule's {name}: {len(value)} bytes, 4 expected")
    return bytes(value)


def parse_nft_table(message: Message) -> str:
    """The name of a table. Raises MalformedMessage."""
    found = attributes(message.payload, _NFGENMSG.size)
    if _NFTA_TABLE_NAME not in found:
        raise MalformedMessage("nftables table without a name")
    return read_text(found[_NFTA_TABLE_NAME])

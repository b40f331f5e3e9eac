"""Filling maps of nftables by netlink: one datagram, where `nft` is a process that may take seconds. Pure.

After Linux include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h. Numbers inside attributes are big
endian. What is between the begin and the end of a batch is done whole or not at all (nfnetlink_rcv_batch).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from strictarp.netlink.messages import NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, attribute, frame, nested, text

FAMILIES = {4: 2, 16: 10}
"""Width of an address → family of nftables (NFPROTO_IPV4, NFPROTO_IPV6)."""

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_ELEMENTS, _DELETE_ELEMENTS = _SUBSYSTEM << 8 | 12, _SUBSYSTEM << 8 | 14
_NFGENMSG = struct.Struct("!BBH")
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ELEMENT = 1
_KEY, _DATA, _TIMEOUT = 1, 2, 4
_VALUE = 1
_BE64 = struct.Struct("!Q")


class Element(msgspec.Struct, frozen=True, gc=False):
    """One of a map with timeouts: the kernel forgets it by itself after `millis`."""

    key: bytes
    value: bytes
    millis: int


class Filling(msgspec.Struct, frozen=True, gc=False):
    """All that a map shall hold. family: number, as of `FAMILIES`."""

    family: int
    table: str
    name: str
    elements: tuple[Element, ...]


def encode_begin() -> bytes:
    """What goes before the messages of a batch."""
    return frame(_BATCH_BEGIN, NLM_F_REQUEST, _NFGENMSG.pack(0, 0, _SUBSYSTEM))


def encode_end() -> bytes:
    """What goes behind them."""
    return frame(_BATCH_END, NLM_F_REQUEST, _NFGENMSG.pack(0, 0, _SUBSYSTEM))


def encode_fill(filling: Filling) -> list[bytes]:
    """Messages that empty a map, or a set, and fill it: an element that is there keeps its value and time.

    A deletion that names no element deletes all (nft_set_flush).
    """
    place = (
        _NFGENMSG.pack(filling.family, 0, 0)
        + text(_LIST_TABLE, filling.table)
        + text(_LIST_SET, filling.name)
    )
    emptied = frame(_DELETE_ELEMENTS, NLM_F_REQUEST | NLM_F_ACK, place)
    if not filling.elements:
        return [emptied]
    content = nested(_LIST_ELEMENTS, *_listed(filling.elements))
    return [emptied, frame(_NEW_ELEMENTS, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, place + content)]


def _listed(elements: Sequence[Element]) -> list[bytes]:
    return [
        nested(
            _ELEMENT,
            nested(_KEY, attribute(_VALUE, each.key)),
            nested(_DATA, attribute(_VALUE, each.value)),
            attribute(_TIMEOUT, _BE64.pack(each.millis)),
        )
        for each in elements
    ]

"""Queueing disciplines by netlink: which links have a place for tc filters. Pure.

After Linux include/uapi/linux/rtnetlink.h (struct tcmsg, TCA_KIND).
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
)

_GETQDISC = 38
_TCA_KIND = 1
_TCMSG = struct.Struct("=BxxxiIII")
FILTERING = ("clsact", "ingress")
"""Kinds that hold filters of what comes in."""


class Qdisc(msgspec.Struct, frozen=True, gc=False):
    """A queueing discipline of a link, by the link's index."""

    index: int
    kind: str


def encode_dump_qdiscs() -> bytes:
    """Ask for those of all links."""
    return frame(_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, _TCMSG.pack(0, 0, 0, 0, 0))


def parse_qdisc(message: Message) -> Qdisc:
    """One of them. Raises MalformedMessage."""
    if len(message.payload) < _TCMSG.size:
        raise MalformedMessage(f"qdisc of {len(message.payload)} bytes, at least {_TCMSG.size} expected")
    found = attributes(message.payload, _TCMSG.size)
    if _TCA_KIND not in found:
        raise MalformedMessage("qdisc without a kind")
    return Qdisc(_TCMSG.unpack_from(message.payload)[1], read_text(found[_TCA_KIND]))

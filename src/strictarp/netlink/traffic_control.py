"""Where filters of `tc` stand in the way of frames: dumps, and what of them is told. Pure.

Only that there are filters, and of which kind: what they do is in programs that are not told. After Linux
include/uapi/linux/rtnetlink.h and pkt_sched.h.
"""

from __future__ import annotations

import struct
from socket import AF_UNSPEC

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

_GETTFILTER = 46
_TCMSG = struct.Struct("=BxxxiIII")
_TCA_KIND = 1
_DUMP = NLM_F_REQUEST | NLM_F_DUMP
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
"""Places of filters at `clsact`; `ingress` has the first one only."""
_ETH_P_ALL, _ETH_P_ARP = 0x0003, 0x0806


class Told(msgspec.Struct, frozen=True, gc=False):
    """A filter. protocol: 3 for all frames."""

    index: int
    kind: str
    protocol: int

    @property
    def meets_arp(self) -> bool:
        """A filter that sees frames of ARP."""
        return self.protocol in (_ETH_P_ALL, _ETH_P_ARP)


def encode_dump_filters(index: int, parent: int) -> bytes:
    """Ask for the filters at one place of a device."""
    return frame(_GETTFILTER, _DUMP, _TCMSG.pack(AF_UNSPEC, index, 0, parent, 0))


def parse_told(message: Message) -> Told:
    """A filter. Raises MalformedMessage."""
    if len(message.payload) < _TCMSG.size:
        raise MalformedMessage(f"tc message of {len(message.payload)} bytes, {_TCMSG.size} expected")
    _, index, _, _, info = _TCMSG.unpack_from(message.payload)
    found = attributes(message.payload, _TCMSG.size)
    protocol = int.from_bytes((info & 0xFFFF).to_bytes(2, "little"), "big")
    return Told(index, read_text(found[_TCA_KIND]) if _TCA_KIND in found else "", protocol)

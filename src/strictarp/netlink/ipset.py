"""ipsets by netlink, as far as those of others have to be found and destroyed. Pure.

After Linux include/uapi/linux/netfilter/ipset/ip_set.h. Protocol 6, which every kernel since 2.6.39 takes.
"""

from __future__ import annotations

import struct

from strictarp.netlink.messages import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    MalformedMessage,
    Message,
    attribute,
    attributes,
    frame,
    read_text,
    text,
)

IN_USE = 4100
"""The kernel's own error number of a set that a rule or another set refers to (IPSET_ERR_BUSY)."""

_SUBSYSTEM = 6
_DESTROY, _LIST = _SUBSYSTEM << 8 | 3, _SUBSYSTEM << 8 | 7
_NFGENMSG = struct.Struct("=BBH")
_PROTOCOL, _SET_NAME, _FLAGS = 1, 2, 6
_PROTOCOL_VERSION = 6
_ONLY_NAMES = 1 << 1
_NETWORK_ORDER = 0x4000
_HEAD = _NFGENMSG.pack(0, 0, 0) + attribute(_PROTOCOL, bytes([_PROTOCOL_VERSION]))


def encode_dump_names() -> bytes:
    """Ask for the names of all sets."""
    only_names = attribute(_FLAGS | _NETWORK_ORDER, _ONLY_NAMES.to_bytes(4, "big"))
    return frame(_LIST, NLM_F_REQUEST | NLM_F_DUMP, _HEAD + only_names)


def encode_destroy(name: str) -> bytes:
    """Destroy a set. The kernel refuses with `IN_USE` while anything refers to it."""
    return frame(_DESTROY, NLM_F_REQUEST | NLM_F_ACK, _HEAD + text(_SET_NAME, name))


def parse_name(message: Message) -> str:
    """The name of a set. Raises MalformedMessage."""
    if len(message.payload) < _NFGENMSG.size:
        raise MalformedMessage(f"set of {len(message.payload)} bytes")
    found = attributes(message.payload, _NFGENMSG.size)
    if _SET_NAME not in found:
        raise MalformedMessage("set without a name")
    return read_text(found[_SET_NAME])

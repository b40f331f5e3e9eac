"""Generic netlink: the number and multicast groups of a family, by name. Pure but for `resolve`.

After Linux include/uapi/linux/genetlink.h. Asking for a family makes the kernel load its module when it may
(request_module "net-pf-16-proto-16-family-NAME" in net/netlink/genetlink.c).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping

import msgspec

from strictarp.netlink.messages import (
    NLM_F_ACK,
    NLM_F_REQUEST,
    MalformedMessage,
    Message,
    Refusal,
    attributes,
    each_attribute,
    frame,
    read_text,
    read_u16,
    read_u32,
    text,
)
from strictarp.netlink.socket import Transport

_GENL_ID_CTRL = 16
_GETFAMILY = 3
_ATTR_FAMILY_ID, _ATTR_FAMILY_NAME, _ATTR_VERSION, _ATTR_MCAST_GROUPS = 1, 2, 3, 7
_GROUP_NAME, _GROUP_ID = 1, 2


class Family(msgspec.Struct, frozen=True):
    """A generic netlink family: its number in this boot and its multicast groups by name."""

    name: str
    number: int
    groups: Mapping[str, int] = {}


class FamilyMissing(Exception):
    """The kernel has no such family: its module is not loaded and could not be."""


def encode_get_family(name: str) -> bytes:
    """Ask for a family by name."""
    return frame(
        _GENL_ID_CTRL,
        NLM_F_REQUEST | NLM_F_ACK,
        struct.pack("=BBH", _GETFAMILY, 1, 0) + text(_ATTR_FAMILY_NAME, name),
    )


def parse_family(message: Message) -> Family:
    """The answer to `encode_get_family`. Raises MalformedMessage."""
    if len(message.payload) < 4:
        raise MalformedMessage(f"generic netlink header cut off: {len(message.payload)} of 4 bytes")
    found = attributes(message.payload, 4)
    if _ATTR_FAMILY_ID not in found or _ATTR_FAMILY_NAME not in found:
        raise MalformedMessage("generic netlink family without number or name")
    groups: dict[str, int] = {}
    for _, entry in each_attribute(found.get(_ATTR_MCAST_GROUPS, memoryview(b""))):
        group = attributes(entry)
        if _GROUP_NAME in group and _GROUP_ID in group:
            groups[read_text(group[_GROUP_NAME])] = read_u32(group[_GROUP_ID], name="multicast group")
    return Family(
        read_text(found[_ATTR_FAMILY_NAME]), read_u16(found[_ATTR_FAMILY_ID], name="family number"), groups
    )


async def resolve(transport: Transport, name: str) -> Family:
    """Look a family up. Raises FamilyMissing, Refusal, MalformedMessage."""
    try:
        answers = await transport.query(encode_get_family(name))
    except Refusal as refusal:
        if refusal.errno == errno.ENOENT:
            raise FamilyMissing(f"the kernel has no generic netlink family {name}: load its module") from None
        raise
    if not answers:
        raise MalformedMessage(f"no answer about generic netlink family {name}")
    return parse_family(answers[0])

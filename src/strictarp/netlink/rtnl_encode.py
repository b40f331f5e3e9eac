"""rtnetlink requests. Pure. Each returns a whole message with sequence 0; layouts as in `rtnl`."""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, AF_UNSPEC

from strictarp.netlink.messages import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    attribute,
    frame,
    nested,
    text,
)
from strictarp.netlink.rtnl import IFF_NOARP, IFF_UP, SCOPE_GLOBAL

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_GETROUTE, _GETNEIGH = 26, 30
_IFLA_IFNAME, _IFLA_LINKINFO, _INFO_KIND = 3, 18, 1
_IFA_ADDRESS, _IFA_LOCAL, _RTA_DST = 1, 2, 1

IFINFOMSG = struct.Struct("=BxHiII")
IFADDRMSG = struct.Struct("=BBBBI")
RTMSG = struct.Struct("=BBBBBBBBI")
NDMSG = struct.Struct("=BxxxiHBB")

_DUMP = NLM_F_REQUEST | NLM_F_DUMP
_DO = NLM_F_REQUEST | NLM_F_ACK
_MAX_NAME = 15


def family_of(width: int) -> int:
    """Address family of addresses of 4 or 16 bytes; 0 for both. Raises ValueError."""
    try:
        return {0: AF_UNSPEC, 4: AF_INET, 16: AF_INET6}[width]
    except KeyError:
        raise ValueError(f"an address of {width} bytes; 4 or 16 are expected") from None


def encode_dump_links() -> bytes:
    """Ask for all links."""
    return frame(_GETLINK, _DUMP, IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0))


def encode_get_link(name: str) -> bytes:
    """Ask for one link; ENODEV when there is none. Raises ValueError for an impossible name."""
    return frame(_GETLINK, _DO, IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + _name(name))


def encode_new_link(name: str, kind: str) -> bytes:
    """Create a link of a kind without parameters (dummy, bridge), DOWN and NOARP.

    EEXIST when the name is taken, EOPNOTSUPP when the kernel lacks the kind. Raises ValueError for an
    impossible name.
    """
    return frame(
        _NEWLINK,
        _DO | NLM_F_CREATE | NLM_F_EXCL,
        IFINFOMSG.pack(AF_UNSPEC, 0, 0, IFF_NOARP, IFF_NOARP)
        + _name(name)
        + nested(_IFLA_LINKINFO, text(_INFO_KIND, kind)),
    )


def encode_set_link_up(index: int, *, up: bool) -> bytes:
    """Set a link up or down; ENODEV when it is gone."""
    return frame(_NEWLINK, _DO, IFINFOMSG.pack(AF_UNSPEC, 0, index, IFF_UP if up else 0, IFF_UP))


def encode_del_link(index: int) -> bytes:
    """Delete a link; ENODEV when it is gone, EOPNOTSUPP for hardware."""
    return frame(_DELLINK, _DO, IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0))


def _name(name: str) -> bytes:
    if not 0 < len(name.encode()) <= _MAX_NAME or "\0" in name:
        raise ValueError(f"device name {name!r}: 1 to {_MAX_NAME} bytes are expected")
    return text(_IFLA_IFNAME, name)


def encode_dump_addresses(width: int = 0) -> bytes:
    """Ask for all addresses of a family (4, 16) or both (0)."""
    return frame(_GETADDR, _DUMP, IFADDRMSG.pack(family_of(width), 0, 0, 0, 0))


def _address(kind: int, flags: int, index: int, address: bytes, *, prefix: int) -> bytes:
    return frame(
        kind,
        flags,
        IFADDRMSG.pack(family_of(len(address)), prefix, 0, SCOPE_GLOBAL, index)
        + attribute(_IFA_LOCAL, address)
        + attribute(_IFA_ADDRESS, address),
    )


def encode_new_address(index: int, address: bytes, prefix: int) -> bytes:
    """Add an address of scope global; EEXIST when it is there, ENODEV without the device."""
    return _address(_NEWADDR, _DO | NLM_F_CREATE | NLM_F_EXCL, index, address, prefix=prefix)


def encode_del_address(index: int, address: bytes, prefix: int) -> bytes:
    """Delete an address; EADDRNOTAVAIL when it is not there."""
    return _address(_DELADDR, _DO, index, address, prefix=prefix)


def encode_dump_routes(width: int = 0) -> bytes:
    """Ask for all routes of a family (4, 16) or both (0), all tables."""
    return frame(_GETROUTE, _DUMP, RTMSG.pack(family_of(width), 0, 0, 0, 0, 0, 0, 0, 0))


def encode_get_route(address: bytes) -> bytes:
    """Ask which way a packet to `address` would go; ENETUNREACH or EHOSTUNREACH without a route."""
    width = len(address)
    return frame(
        _GETROUTE,
        _DO,
        RTMSG.pack(family_of(width), 8 * width, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, address),
    )


def encode_dump_neighbours(width: int = 0) -> bytes:
    """Ask for all neighbour entries of a family (4, 16) or both (0)."""
    return frame(_GETNEIGH, _DUMP, NDMSG.pack(family_of(width), 0, 0, 0, 0))

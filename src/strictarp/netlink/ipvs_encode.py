"""IPVS over generic netlink: encoding. Pure.

Commands and attributes after Linux include/uapi/linux/ip_vs.h, what each command demands after
net/netfilter/ipvs/ip_vs_ctl.c (ip_vs_genl_parse_service, ip_vs_genl_parse_dest, ip_vs_genl_set_cmd).
An address is a union nf_inet_addr, always 16 bytes on the wire; ports go in network byte order.

Each function takes the number of the generic netlink family (`genl.py`) and returns a whole message with
sequence 0. The parts of a message that never change are packed once, at import.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from socket import AF_INET, AF_INET6, htons

from strictarp.netlink.ipvs import FORWARD_MASQUERADE, Key, RealServer, Timeouts, VirtualServer
from strictarp.netlink.messages import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    attribute,
    frame,
    u32,
)

_VERSION = 1
_NEW_SERVICE, _SET_SERVICE, _DEL_SERVICE, _GET_SERVICE = 1, 2, 3, 4
_NEW_DEST, _SET_DEST, _DEL_DEST, _GET_DEST = 5, 6, 7, 8
_SET_CONFIG, _GET_CONFIG, _GET_INFO, _FLUSH = 12, 13, 15, 17
_SERVICE, _DEST, _TIMEOUT_TCP, _TIMEOUT_TCP_FIN, _TIMEOUT_UDP = 1, 2, 4, 5, 6
_MAX_SCHEDULER = 15

# One Struct a command. Runs of bytes that are the same in every message (headers of attributes, mostly) are
# one field each, packed here once: a prefix holds the header of the nested attribute, the attribute with the
# address family, and the header of the attribute that follows.

_AF = {4: int(AF_INET), 16: int(AF_INET6)}
_ATTR = struct.Struct("=HH")
_AF_ATTR = struct.Struct("=HHHxx")
_START = struct.Struct("=HIIBBH")

_KEY = struct.Struct("=IH14s 16sHxx 4s16s 4sHxx")
_SERVICE_HEAD = struct.Struct("=IH14s 16sHxx 4s16s 4sHxx 4sII 4sI 8s")
_DEST_KEY = struct.Struct("=IH14s 16sHxx 4s16s 4sHxx 16s16s 4sHxx")
_DEST_FULL = struct.Struct("=IH14s 16sHxx 4s16s 4sHxx 16s16s 4sHxx 12sI 16s")

_SVC_ADDRESS = _ATTR.pack(20, 3)
_SVC_PORT = _ATTR.pack(6, 4)
_SVC_FLAGS = _ATTR.pack(12, 7)
_SVC_TIMEOUT = _ATTR.pack(8, 8)
_DEST_PORT = _ATTR.pack(6, 2)
_MASQUERADE_THEN_WEIGHT = u32(3, FORWARD_MASQUERADE) + _ATTR.pack(8, 4)
_NO_THRESHOLDS = u32(5, 0) + u32(6, 0)
_NETMASK = {4: u32(9, 0xFFFFFFFF), 16: u32(9, 128)}
"""A netmask in IPv4, a prefix length in IPv6; the kernel refuses a new service without it."""

_NETLINK_AND_GENL = 20
_KEY_LENGTH = _KEY.size - _NETLINK_AND_GENL
_KEY_PREFIX = {
    width: _ATTR.pack(_KEY_LENGTH, _SERVICE | NLA_F_NESTED) + _AF_ATTR.pack(6, 1, af) + _ATTR.pack(6, 2)
    for width, af in _AF.items()
}
_DEST_KEY_PREFIX, _DEST_PREFIX = (
    {
        width: _ATTR.pack(layout.size - _KEY.size, _DEST | NLA_F_NESTED)
        + _AF_ATTR.pack(6, 11, af)
        + _ATTR.pack(20, 1)
        for width, af in _AF.items()
    }
    for layout in (_DEST_KEY, _DEST_FULL)
)


def _start(command: int, flags: int = NLM_F_REQUEST | NLM_F_ACK) -> bytes:
    """The rest of nlmsghdr after the type, and genlmsghdr."""
    return _START.pack(flags, 0, 0, command, _VERSION, 0)


_STARTS = {
    command: _start(command)
    for command in (_NEW_SERVICE, _SET_SERVICE, _DEL_SERVICE, _NEW_DEST, _SET_DEST, _DEL_DEST)
}
_START_DUMP_DESTS = _start(_GET_DEST, NLM_F_REQUEST | NLM_F_DUMP)
_START_GET_SERVICE = _start(_GET_SERVICE)


@lru_cache(maxsize=64)
def _service_frame(width: int, scheduler: str) -> tuple[int, bytes, bytes]:
    """Length of the message, prefix, and the attribute that follows the fixed part. Raises ValueError."""
    name = scheduler.encode()
    if not 0 < len(name) <= _MAX_SCHEDULER or b"\0" in name:
        raise ValueError(f"IPVS scheduler {scheduler!r}: a name of 1 to {_MAX_SCHEDULER} bytes is expected")
    tail = attribute(6, name + b"\0")
    length = _SERVICE_HEAD.size + len(tail)
    prefix = (
        _ATTR.pack(length - _NETLINK_AND_GENL, _SERVICE | NLA_F_NESTED)
        + _AF_ATTR.pack(6, 1, _AF[width])
        + _ATTR.pack(6, 2)
    )
    return length, prefix, tail


def _full_service(command: int, family: int, server: VirtualServer) -> bytes:
    address = server.address
    length, prefix, tail = _service_frame(len(address), server.scheduler)
    return (
        _SERVICE_HEAD.pack(
            length, family, _STARTS[command], prefix, server.protocol, _SVC_ADDRESS, address,
            _SVC_PORT, htons(server.port), _SVC_FLAGS, server.flags, 0xFFFFFFFF, _SVC_TIMEOUT,
            server.timeout, _NETMASK[len(address)],
        )
        + tail
    )  # fmt: skip


def encode_new_service(family: int, server: VirtualServer) -> bytes:
    """Add a virtual server; EEXIST when its key is taken, ENOENT when the scheduler cannot be loaded."""
    return _full_service(_NEW_SERVICE, family, server)


def encode_set_service(family: int, server: VirtualServer) -> bytes:
    """Change scheduler, flags and timeout of the virtual server with this key; ESRCH when there is none."""
    return _full_service(_SET_SERVICE, family, server)


def _service_key(start: bytes, family: int, key: Key) -> bytes:
    protocol, address, port = key
    return _KEY.pack(
        _KEY.size, family, start, _KEY_PREFIX[len(address)], protocol, _SVC_ADDRESS, address,
        _SVC_PORT, htons(port),
    )  # fmt: skip


def encode_del_service(family: int, key: Key) -> bytes:
    """Delete a virtual server with all its real servers; ESRCH when there is none."""
    return _service_key(_STARTS[_DEL_SERVICE], family, key)


def encode_get_service(family: int, key: Key) -> bytes:
    """Ask for one virtual server; ESRCH when there is none."""
    return _service_key(_START_GET_SERVICE, family, key)


def _full_dest(command: int, family: int, key: Key, real: RealServer) -> bytes:
    protocol, address, port = key
    return _DEST_FULL.pack(
        _DEST_FULL.size, family, _STARTS[command], _KEY_PREFIX[len(address)], protocol, _SVC_ADDRESS,
        address, _SVC_PORT, htons(port), _DEST_PREFIX[len(real.address)], real.address, _DEST_PORT,
        htons(real.port), _MASQUERADE_THEN_WEIGHT, real.weight, _NO_THRESHOLDS,
    )  # fmt: skip


def encode_new_dest(family: int, key: Key, real: RealServer) -> bytes:
    """Add a real server; EEXIST when it is there, ESRCH without the virtual server."""
    return _full_dest(_NEW_DEST, family, key, real)


def encode_set_dest(family: int, key: Key, real: RealServer) -> bytes:
    """Change weight (and method to masquerade) of a real server; ENOENT when it is not there."""
    return _full_dest(_SET_DEST, family, key, real)


def encode_del_dest(family: int, key: Key, real: RealServer) -> bytes:
    """Delete a real server; ENOENT when it is not there. With expire_nodest_conn its connections end."""
    protocol, address, port = key
    return _DEST_KEY.pack(
        _DEST_KEY.size, family, _STARTS[_DEL_DEST], _KEY_PREFIX[len(address)], protocol, _SVC_ADDRESS,
        address, _SVC_PORT, htons(port), _DEST_KEY_PREFIX[len(real.address)], real.address, _DEST_PORT,
        htons(real.port),
    )  # fmt: skip


def _bare(command: int, family: int, flags: int, attrs: bytes = b"") -> bytes:
    return frame(family, flags, struct.pack("=BBH", command, _VERSION, 0) + attrs)


def encode_dump_services(family: int) -> bytes:
    """Ask for all virtual servers of the namespace, both families."""
    return _bare(_GET_SERVICE, family, NLM_F_REQUEST | NLM_F_DUMP)


def encode_dump_dests(family: int, key: Key) -> bytes:
    """Ask for the real servers of one virtual server; an unknown one gives an empty list, not an error."""
    return _service_key(_START_DUMP_DESTS, family, key)


def encode_flush(family: int) -> bytes:
    """Delete every virtual server of the namespace, whoever made it."""
    return _bare(_FLUSH, family, NLM_F_REQUEST | NLM_F_ACK)


def encode_set_config(family: int, timeouts: Timeouts) -> bytes:
    """Set connection timeouts; a field of 0 keeps what is (ip_vs_set_timeout)."""
    return _bare(
        _SET_CONFIG,
        family,
        NLM_F_REQUEST | NLM_F_ACK,
        u32(_TIMEOUT_TCP, timeouts.tcp)
        + u32(_TIMEOUT_TCP_FIN, timeouts.tcp_fin)
        + u32(_TIMEOUT_UDP, timeouts.udp),
    )


def encode_get_config(family: int) -> bytes:
    """Ask for the connection timeouts."""
    return _bare(_GET_CONFIG, family, NLM_F_REQUEST | NLM_F_ACK)


def encode_get_info(family: int) -> bytes:
    """Ask for version and size of the connection table."""
    return _bare(_GET_INFO, family, NLM_F_REQUEST | NLM_F_ACK)

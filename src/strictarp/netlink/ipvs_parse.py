"""IPVS over generic netlink: parsing of what the kernel answers. Pure; attributes as in `ipvs_encode`."""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, ntohs

from strictarp.netlink.ipvs import FLAG_HASHED, Info, RealServer, RealServerState, Timeouts, VirtualServer
from strictarp.netlink.messages import (
    MalformedMessage,
    Message,
    attributes,
    read_text,
    read_u16,
    read_u32,
)

_SERVICE, _DEST, _TIMEOUT_TCP, _TIMEOUT_TCP_FIN, _TIMEOUT_UDP = 1, 2, 4, 5, 6
_FORWARD_MASK = 0x7
_AF = {4: int(AF_INET), 16: int(AF_INET6)}
_GENL_HEADER = 4
_FLAGS = struct.Struct("=II")


def command(message: Message) -> int:
    """The generic netlink command. Raises MalformedMessage."""
    if len(message.payload) < _GENL_HEADER:
        raise MalformedMessage(f"generic netlink header cut off: {len(message.payload)} of 4 bytes")
    return message.payload[0]


def _nested(message: Message, kind: int, name: str) -> dict[int, memoryview]:
    command(message)
    found = attributes(message.payload, _GENL_HEADER)
    if kind not in found:
        raise MalformedMessage(f"IPVS message without its {name}")
    return attributes(found[kind])


def _need(found: dict[int, memoryview], kind: int, name: str) -> memoryview:
    if kind not in found:
        raise MalformedMessage(f"{name} is missing")
    return found[kind]


def _address(value: memoryview, af: int) -> bytes:
    width = 4 if af == AF_INET else 16
    if af not in (AF_INET, AF_INET6) or len(value) < width:
        raise MalformedMessage(f"address of {len(value)} bytes in address family {af}")
    return bytes(value[:width])


def parse_service(message: Message) -> VirtualServer | None:
    """A virtual server of a dump. None: one by firewall mark, which has no address and is never ours.

    Raises MalformedMessage.
    """
    found = _nested(message, _SERVICE, "virtual server")
    if 5 in found:
        return None
    af = read_u16(_need(found, 1, "family of the virtual server"), name="family of the virtual server")
    flags = found.get(7)
    if flags is not None and len(flags) < _FLAGS.size:
        raise MalformedMessage(f"flags of the virtual server: {len(flags)} bytes, 8 expected")
    return VirtualServer(
        protocol=read_u16(_need(found, 2, "protocol"), name="protocol"),
        address=_address(_need(found, 3, "address of the virtual server"), af),
        port=ntohs(read_u16(_need(found, 4, "port of the virtual server"), name="port")),
        scheduler=read_text(found[6]) if 6 in found else "",
        flags=int(_FLAGS.unpack_from(flags)[0]) & ~FLAG_HASHED if flags is not None else 0,
        timeout=read_u32(found[8], name="timeout") if 8 in found else 0,
    )


def parse_dest(message: Message, width: int) -> RealServerState:
    """A real server of a dump. `width` is that of the virtual server's address (4 or 16).

    Kernels before 3.18 do not tell the family of a real server: it is the virtual server's then. Raises
    MalformedMessage.
    """
    found = _nested(message, _DEST, "real server")
    af = read_u16(found[11], name="family of the real server") if 11 in found else _AF[width]
    return RealServerState(
        RealServer(
            address=_address(_need(found, 1, "address of the real server"), af),
            port=ntohs(read_u16(_need(found, 2, "port of the real server"), name="port")),
            weight=read_u32(_need(found, 4, "weight"), name="weight"),
        ),
        active=read_u32(found[7], name="active connections") if 7 in found else 0,
        inactive=read_u32(found[8], name="inactive connections") if 8 in found else 0,
        forward=(read_u32(found[3], name="forwarding method") & _FORWARD_MASK) if 3 in found else 0,
    )


def parse_config(message: Message) -> Timeouts:
    """The answer to `encode_get_config`. Raises MalformedMessage."""
    command(message)
    found = attributes(message.payload, _GENL_HEADER)
    return Timeouts(
        tcp=read_u32(_need(found, _TIMEOUT_TCP, "TCP timeout"), name="TCP timeout"),
        tcp_fin=read_u32(_need(found, _TIMEOUT_TCP_FIN, "TCP FIN timeout"), name="TCP FIN timeout"),
        udp=read_u32(_need(found, _TIMEOUT_UDP, "UDP timeout"), name="UDP timeout"),
    )


def parse_info(message: Message) -> Info:
    """The answer to `encode_get_info` (version as NVERSION packs it). Raises MalformedMessage."""
    command(message)
    found = attributes(message.payload, _GENL_HEADER)
    version = read_u32(_need(found, 1, "IPVS version"), name="IPVS version")
    return Info(
        ((version >> 16) & 0xFF, (version >> 8) & 0xFF, version & 0xFF),
        read_u32(_need(found, 2, "connection table size"), name="connection table size"),
    )

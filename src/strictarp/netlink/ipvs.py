"""IPVS: the values that the codec (`ipvs_encode`, `ipvs_parse`) speaks of, and its errors in words. Pure.

Addresses are packed bytes, 4 or 16, ports numbers in host byte order, timeouts seconds. Flags after Linux
include/uapi/linux/ip_vs.h.
"""

from __future__ import annotations

import errno
from ipaddress import ip_address

import msgspec

from strictarp.netlink.messages import Refusal

FAMILY_NAME = "IPVS"

FLAG_PERSISTENT = 0x1
FLAG_HASHED = 0x2
"""Reported by the kernel for every virtual server, never compared nor set."""
FLAG_SCHED1 = 0x8
FLAG_SCHED2 = 0x10
"""For scheduler `mh` and `sh`: hash on the source port too."""
FORWARD_MASQUERADE = 0

Key = tuple[int, bytes, int]


class VirtualServer(msgspec.Struct, frozen=True, gc=False):
    """A virtual server as we program it; the netmask is always full (no persistence by network).

    protocol: IP protocol number (6, 17, 132). flags: without IP_VS_SVC_F_HASHED.
    timeout: persistence in seconds, meaningful with FLAG_PERSISTENT.
    """

    protocol: int
    address: bytes
    port: int
    scheduler: str = "rr"
    flags: int = 0
    timeout: int = 0

    @property
    def key(self) -> Key:
        """What the kernel tells virtual servers apart by."""
        return (self.protocol, self.address, self.port)


class RealServer(msgspec.Struct, frozen=True, gc=False):
    """A destination of a virtual server, forwarded to by masquerade. Weight 0 gets no new connections."""

    address: bytes
    port: int
    weight: int = 1


class RealServerState(msgspec.Struct, frozen=True, gc=False):
    """A real server as the kernel holds it, with its connections now.

    forward: forwarding method, FORWARD_MASQUERADE unless somebody else made it.
    """

    server: RealServer
    active: int
    inactive: int
    forward: int = FORWARD_MASQUERADE


class Timeouts(msgspec.Struct, frozen=True, gc=False):
    """Connection timeouts of the namespace in seconds. When setting, 0 keeps what is."""

    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0


class Info(msgspec.Struct, frozen=True, gc=False):
    """Version of the kernel's IPVS (major, minor, patch) and size of its connection table."""

    version: tuple[int, int, int]
    connection_table: int


def describe(key: Key) -> str:
    """A virtual server for people: `TCP 192.0.2.100:80`."""
    protocol, address, port = key
    name = {6: "TCP", 17: "UDP", 132: "SCTP"}.get(protocol, f"protocol {protocol}")
    return f"{name} {endpoint(address, port)}"


def endpoint(address: bytes, port: int) -> str:
    """Address and port for people, IPv6 in brackets."""
    ip = ip_address(address)
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def explain_service(server: VirtualServer, refusal: Refusal) -> str:
    """Why the kernel refused a virtual server, and how to mend it (error numbers after ip_vs_ctl.c)."""
    what = f"virtual server {describe(server.key)}"
    reasons = {
        errno.ENOENT: f"scheduler {server.scheduler!r} is not in the kernel: load module "
        f"ip_vs_{server.scheduler} or choose another in ipvs.scheduler",
        errno.EEXIST: "it exists already",
        errno.ESRCH: "it does not exist",
        errno.EAFNOSUPPORT: "this kernel's IPVS has no IPv6 (CONFIG_IP_VS_IPV6)",
        errno.EPERM: "CAP_NET_ADMIN is missing",
    }
    reason = reasons.get(refusal.errno)
    return f"{what}: {reason} ({refusal})" if reason else f"{what}: {refusal}"


def explain_dest(key: Key, real: RealServer, refusal: Refusal) -> str:
    """Why the kernel refused a real server (error numbers after ip_vs_ctl.c)."""
    what = f"real server {endpoint(real.address, real.port)} of {describe(key)}"
    reasons = {
        errno.ENOENT: "it does not exist",
        errno.EEXIST: "it exists already",
        errno.ESRCH: "its virtual server does not exist",
        errno.ERANGE: f"weight {real.weight} is out of range",
        errno.EPERM: "CAP_NET_ADMIN is missing",
    }
    reason = reasons.get(refusal.errno)
    return f"{what}: {reason} ({refusal})" if reason else f"{what}: {refusal}"

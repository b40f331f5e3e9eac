"""Addresses between text and packed bytes, and in networks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from strictarp.netlink.rtnl import covers
from strictarp.proxy.fields import Network


def pack(text: str) -> bytes | None:
    """4 or 16 bytes of an IPv4 or IPv6 address; None when it is neither (a zone, leading zeros)."""
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):  # UnicodeError is a ValueError: text that is no ASCII, or holds a NUL
        return None


def show(address: bytes) -> str:
    """The usual text of a packed address."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def inside(address: bytes, networks: Iterable[Network]) -> bool:
    """The address is in one of the networks."""
    return any(covers(net.network_address.packed, net.prefixlen, address) for net in networks)


def special(address: bytes) -> bool:
    """An address that neither a Service nor an endpoint can have.

    Unspecified, loopback, multicast, IPv4 broadcast, IPv6 link-local, ::/120
    (ValidateNonSpecialIP of the API, but for 169.254.0.0/16, which the status of a load balancer may hold).
    """
    if len(address) == 4:
        return address[0] == 127 or 224 <= address[0] < 240 or address in (b"\0\0\0\0", b"\xff\xff\xff\xff")
    return (
        address[0] == 0xFF or address[:15] == bytes(15) or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)
    )


def loopback_or_link_local(address: bytes) -> bool:
    """127.0.0.0/8, ::1 and fe80::/10: never served as a NodePort address (kube-proxy)."""
    ip = ip_address(address)
    return ip.is_loopback or (ip.version == 6 and ip.is_link_local)

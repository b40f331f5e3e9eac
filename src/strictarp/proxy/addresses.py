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


def loopback_or_link_local(address: bytes) -> bool:
    """127.0.0.0/8, ::1 and fe80::/10: never served as a NodePort address (kube-proxy)."""
    ip = ip_address(address)
    return ip.is_loopback or (ip.version == 6 and ip.is_link_local)

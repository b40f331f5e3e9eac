"""Addresses as numbers, and the ranges of them that an IPAddressPool lists. Pure.

An item of `spec.addresses` is a CIDR or a range, taken literally (a /30 gives four addresses), as MetalLB
reads it (internal/config/config.go).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TypeAlias

import msgspec

Ip: TypeAlias = tuple[int, int]
"""(4 or 6, number)."""
BITS = {4: 32, 6: 128}
_KNOWN = 1 << 15  # the same few thousand addresses are read and written again and again


@lru_cache(maxsize=_KNOWN)
def parse_ip(text: str) -> Ip:
    """An address; raises ValueError. A scope (%eth0) or an IPv4 address in IPv6 clothes is refused."""
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address) and (found.scope_id or found.ipv4_mapped):
        raise ValueError(f"{text!r} is no address of its own")
    return found.version, int(found)


@lru_cache(maxsize=_KNOWN)
def ip_text(ip: Ip) -> str:
    """Canonical text (RFC 5952 for IPv6)."""
    version, number = ip
    return str(ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number))


class Range(msgspec.Struct, frozen=True, gc=False):
    """One item of a pool: its addresses from `first` to `last`, both included, and the item as written."""

    version: int
    first: int
    last: int
    text: str

    def holds(self, ip: Ip) -> bool:
        """The address lies in it."""
        return ip[0] == self.version and self.first <= ip[1] <= self.last

    def overlaps(self, other: Range) -> bool:
        """Some address lies in both."""
        return self.version == other.version and self.first <= other.last and other.first <= self.last


class RangeFault(ValueError):
    """An item of a pool that cannot be used; the message is the part behind the field's name."""


def parse_range(text: str) -> Range:
    """An item of `spec.addresses`; raises RangeFault. Host bits of a CIDR are masked, as in MetalLB."""
    if "-" in text:
        return _parse_pair(text)
    address, slash, length = text.partition("/")
    if not slash:
        raise RangeFault(_without_length(text))
    try:
        version, number = parse_ip(address)
    except ValueError as error:
        raise RangeFault(f"{text!r} is no CIDR: {error}") from None
    if not (length.isascii() and length.isdigit() and int(length) <= BITS[version]):
        raise RangeFault(f"{text!r} is no CIDR: the prefix length must be 0 to {BITS[version]}")
    span = (1 << (BITS[version] - int(length))) - 1
    return Range(version, number & ~span, number | span, text)


def _without_length(text: str) -> str:
    try:
        version, _ = parse_ip(text)
    except ValueError:
        return f"{text!r} is neither a CIDR nor a range; write 192.0.2.0/24 or 192.0.2.10-192.0.2.20"
    return f"{text!r} has no prefix length; write {text}/{BITS[version]} for a single address"


def _parse_pair(text: str) -> Range:
    parts = text.split("-")
    if len(parts) != 2:
        raise RangeFault(f"{text!r} is no range; write FIRST-LAST, such as 192.0.2.10-192.0.2.20")
    ends = []
    for name, part in zip(("start", "end"), parts, strict=True):
        try:
            ends.append(parse_ip(part.strip()))
        except ValueError as error:
            raise RangeFault(f"{text!r} has an unreadable {name}: {error}") from None
    (version, first), (other, last) = ends
    if version != other:
        raise RangeFault(f"{text!r} mixes IPv4 and IPv6; give each family an item of its own")
    if first > last:
        raise RangeFault(f"{text!r} ends before it starts; swap the two addresses")
    return Range(version, first, last, text)

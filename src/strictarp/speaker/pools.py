"""Which pool an address belongs to, as the speaker needs to know it. Pure.

The controller validates pools; the speaker only needs to find the one that an address came from, so an entry
that it cannot read is left out and reported, and the others still count.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from strictarp.kube.objects import IPAddressPool

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Pool(msgspec.Struct, frozen=True):
    """A pool: its ranges as (version, first, last), both ends included, and the labels of its object."""

    name: str
    ranges: tuple[tuple[int, int, int], ...]
    labels: Mapping[str, str]

    def holds(self, address: Address) -> bool:
        """The address lies in one of the ranges."""
        number, version = int(address), address.version
        return any(version == each and first <= number <= last for each, first, last in self.ranges)


def read_pool(source: IPAddressPool) -> tuple[Pool, tuple[str, ...]]:
    """The pool, and what was wrong with entries that could not be read (metallb-l2 1.1: CIDR or A-B)."""
    ranges, errors = [], []
    for entry in source.spec.addresses:
        try:
            ranges.append(_read_range(entry))
        except ValueError as error:
            errors.append(f"IPAddressPool {source.metadata.name}: spec.addresses: {entry!r}: {error}")
    return Pool(source.metadata.name, tuple(ranges), source.metadata.labels or {}), tuple(errors)


def _read_range(entry: str) -> tuple[int, int, int]:
    if "-" in entry:
        first, last = (ipaddress.ip_address(part.strip()) for part in entry.split("-", 1))
        if first.version != last.version or int(first) > int(last):
            raise ValueError("the first address of a range comes before the last, in one family")
        return first.version, int(first), int(last)
    network = ipaddress.ip_network(entry.strip(), strict=False)
    return network.version, int(network.network_address), int(network.broadcast_address)


def pool_of(pools: Iterable[Pool], address: Address) -> Pool | None:
    """The pool that holds the address, None when there is none."""
    return next((pool for pool in pools if pool.holds(address)), None)

"""Which pool an address belongs to, as the speaker needs to know it. Pure.

The controller checks pools; the speaker only finds the one that an address came from, so an item that cannot
be read is left out and reported, and the others still count.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from strictarp.kube.custom import IPAddressPool
from strictarp.kube.ranges import Range, RangeFault, parse_range

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Pool(msgspec.Struct, frozen=True):
    """A pool: its ranges, and the labels of its object."""

    name: str
    ranges: tuple[Range, ...]
    labels: Mapping[str, str]

    def holds(self, address: Address) -> bool:
        """The address lies in one of the ranges."""
        return any(each.holds((address.version, int(address))) for each in self.ranges)


def read_pool(source: IPAddressPool) -> tuple[Pool, tuple[str, ...]]:
    """The pool, and what was wrong with items that could not be read."""
    ranges, errors = [], []
    for item in dict.fromkeys(source.spec.addresses):
        try:
            ranges.append(parse_range(item))
        except RangeFault as error:
            errors.append(f"IPAddressPool {source.metadata.name}: spec.addresses: {error}")
    return Pool(source.metadata.name, tuple(ranges), source.metadata.labels or {}), tuple(errors)


def pool_of(pools: Iterable[Pool], address: Address) -> Pool | None:
    """The pool that holds the address, None when there is none."""
    return next((pool for pool in pools if pool.holds(address)), None)

"""IPAddressPools, read and checked as a whole. Pure.

The rules are MetalLB's (internal/config/config.go): each item of `spec.addresses` is a CIDR or a range, taken
literally (a /30 gives four addresses); no two items overlap, within a pool or across pools.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from strictarp.controller.addresses import Runs, count_within, is_buggy
from strictarp.kube.custom import IPAddressPool, IPAddressPoolStatus, ServiceAllocation
from strictarp.kube.model import LabelSelector
from strictarp.kube.objects import Namespace
from strictarp.kube.ranges import Ip, Range, RangeFault, parse_range
from strictarp.kube.selectors import canonical, fault, selects, selects_any

NAME_LABEL = "kubernetes.io/metadata.name"
MAX_COUNT = (1 << 63) - 1
"""The largest count that the API's int64 holds."""
SHOWN = 8


class Pool(msgspec.Struct, frozen=True, gc=False):
    """A pool as the allocator needs it.

    `reserved`: it has a serviceAllocation, so it is tried before the others and by those alone that it
    suits. `namespaces`: those it is for, None where none are asked for. `priority` 0 comes last.
    `taken`: addresses that somebody outside answers for; they are given to those alone who ask by name.
    """

    name: str
    ranges: tuple[Range, ...]
    auto_assign: bool = True
    avoid_buggy: bool = False
    reserved: bool = False
    priority: int = 0
    namespaces: frozenset[str] | None = None
    service_selectors: tuple[LabelSelector, ...] = ()
    taken: frozenset[Ip] = frozenset()

    def holds(self, ip: Ip) -> bool:
        """The address may be given from this pool."""
        return any(each.holds(ip) for each in self.ranges) and not (self.avoid_buggy and is_buggy(ip))

    def suits(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """A Service with these labels in this namespace may have addresses from it.

        Namespace and labels must both suit. Namespace selectors that select nothing restrict nothing here, as
        in MetalLB: see `invites`.
        """
        if self.namespaces and namespace not in self.namespaces:
            return False
        return not self.service_selectors or selects_any(self.service_selectors, labels)

    def invites(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """A reserved pool that such a Service is given addresses from without asking for it.

        Namespace selectors that select nothing invite nobody; who asks by name or address is still let in.
        """
        if self.namespaces is not None and not self.namespaces and not self.service_selectors:
            return False
        return self.suits(namespace, labels)

    def capacity(self, version: int) -> int:
        """How many addresses of a family it can give, however many that are."""
        return sum(self._usable(each) for each in self.ranges if each.version == version)

    def in_use(self, version: int, runs: Runs) -> int:
        """How many of a family's used addresses are its own."""
        return sum(
            count_within(runs, each.first, each.last) for each in self.ranges if each.version == version
        )

    def counters(self, runs: Mapping[int, Runs]) -> IPAddressPoolStatus:
        """Its status, from the used addresses of each family. A count beyond int64 is its largest value.

        MetalLB lets the sum overflow where a huge item is listed before another one.
        """
        used = {version: self.in_use(version, runs[version]) for version in (4, 6)}
        free = {version: min(self.capacity(version) - used[version], MAX_COUNT) for version in (4, 6)}
        return IPAddressPoolStatus(used[4], used[6], free[4], free[6])

    def _usable(self, each: Range) -> int:
        size = each.last - each.first + 1
        if not self.avoid_buggy or each.version == 6:
            return size
        return size - (_buggy_below(each.last + 1) - _buggy_below(each.first))


def _buggy_below(number: int) -> int:
    """How many of the IPv4 addresses below `number` end in .0 or .255."""
    return 2 * (number // 256) + (1 if number % 256 else 0)


def parse_pools(
    objects: Iterable[IPAddressPool], namespaces: Iterable[Namespace] = ()
) -> tuple[tuple[Pool, ...], tuple[str, ...]]:
    """All pools in order of their names, and all faults.

    A fault reads `IPAddressPool NAME: FIELD: what is wrong and how to mend it`. With any fault the pools
    must not be used: the configuration that was good last stays in force as a whole.
    """
    known = tuple(namespaces)
    pools, faults = [], []
    for source in sorted(objects, key=lambda each: each.metadata.name):
        pool, wrong = _parse_pool(source, known)
        pools.append(pool)
        faults += wrong
    return tuple(pools), (*faults, *_overlaps(pools))


def _parse_pool(source: IPAddressPool, known: tuple[Namespace, ...]) -> tuple[Pool, list[str]]:
    name, spec = source.metadata.name, source.spec
    ranges, faults = [], []
    if not spec.addresses:
        faults.append("spec.addresses: empty; list at least one CIDR or range")
    for item in spec.addresses:
        try:
            ranges.append(parse_range(item))
        except RangeFault as error:
            faults.append(f"spec.addresses: {error}")
    allocation = spec.service_allocation
    if allocation is not None:
        faults += [f"spec.serviceAllocation.{wrong}" for wrong in _allocation_faults(allocation)]
    pool = Pool(
        name,
        tuple(ranges),
        auto_assign=spec.auto_assign is not False,
        avoid_buggy=spec.avoid_buggy_ips,
        reserved=allocation is not None,
        priority=allocation.priority if allocation else 0,
        namespaces=_namespaces(allocation, known) if allocation else None,
        service_selectors=(allocation.service_selectors or ()) if allocation else (),
    )
    return pool, [f"IPAddressPool {name}: {wrong}" for wrong in dict.fromkeys(faults)]


def _namespaces(allocation: ServiceAllocation, known: Iterable[Namespace]) -> frozenset[str] | None:
    """The namespaces listed and those selected; None if neither is asked for."""
    listed, selectors = allocation.namespaces or (), allocation.namespace_selectors or ()
    if not listed and not selectors:
        return None
    chosen = (
        each.metadata.name
        for each in known
        # The API server sets this label on every Namespace; a file may lack it.
        if any(
            selects(selector, {NAME_LABEL: each.metadata.name, **(each.metadata.labels or {})})
            for selector in selectors
        )
    )
    return frozenset((*listed, *chosen))


def _allocation_faults(allocation: ServiceAllocation) -> Iterator[str]:
    listed = allocation.namespaces or ()
    for name in sorted({each for each in listed if listed.count(each) > 1}):
        yield f"namespaces: {name!r} is listed twice; list it once"
    for field, selectors in (
        ("namespaceSelectors", allocation.namespace_selectors or ()),
        ("serviceSelectors", allocation.service_selectors or ()),
    ):
        for index, selector in enumerate(selectors):
            if (wrong := fault(selector)) is not None:
                yield f"{field}[{index}].{wrong}"
            if canonical(selector) in map(canonical, selectors[:index]):
                yield f"{field}[{index}]: the same selector is listed twice; list it once"


def _overlaps(pools: Iterable[Pool]) -> Iterator[str]:
    """Items that share addresses, each told once, about the pool that is later in order.

    Along the line of addresses an item overlaps an earlier one exactly if it begins before the farthest end
    seen so far.
    """
    items = sorted(
        ((each, pool.name) for pool in pools for each in pool.ranges),
        key=lambda item: (item[0].version, item[0].first, item[0].last, item[1]),
    )
    farthest: tuple[Range, str] | None = None
    for item in items:
        if farthest is not None and farthest[0].overlaps(item[0]):
            (other, owner), (one, name) = sorted((farthest, item), key=lambda pair: pair[1])
            where = "the same pool" if owner == name else f"IPAddressPool {owner}"
            yield (
                f"IPAddressPool {name}: spec.addresses: {one.text} overlaps {other.text} of {where}; "
                "an address must be in one item only"
            )
        if farthest is None or item[0].version != farthest[0].version or item[0].last > farthest[0].last:
            farthest = item


def pool_of(pools: Iterable[Pool], ip: Ip) -> Pool | None:
    """The pool that an address may be given from."""
    return next((pool for pool in pools if pool.holds(ip)), None)


def with_taken(pools: Iterable[Pool], taken: Iterable[Ip]) -> tuple[Pool, ...]:
    """The pools, knowing which of their addresses somebody outside answers for."""
    found = frozenset(taken)
    return tuple(
        msgspec.structs.replace(pool, taken=frozenset(filter(pool.holds, found))) if found else pool
        for pool in pools
    )


def pools_text(pools: Iterable[Pool]) -> str:
    """`NAME (ITEMS); …`, for messages: of many the first few. It goes into Events and conditions."""
    texts = [f"{pool.name} ({_some([each.text for each in pool.ranges], ', ')})" for pool in pools]
    return _some(texts, "; ") or "none"


def _some(texts: Sequence[str], between: str) -> str:
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return between.join((*texts[:SHOWN], *more))

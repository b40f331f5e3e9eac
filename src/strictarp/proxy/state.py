"""The whole that should be programmed, kept as contributions of single Services. Pure, no I/O.

A change of one Service costs the work of that Service: addresses and set elements that Services share are
counted, a virtual server that several want belongs to the oldest of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set

import msgspec

from strictarp.netlink.ipvs import Key, describe
from strictarp.proxy.operations import Element
from strictarp.proxy.services import Contribution, Exposure


class Touched(msgspec.Struct):
    """Parts of the whole that may differ from the kernel. Sets of it are united and emptied in place."""

    keys: set[Key] = msgspec.field(default_factory=set)
    addresses: set[bytes] = msgspec.field(default_factory=set)
    elements: set[Element] = msgspec.field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.keys or self.addresses or self.elements)

    def unite(self, other: Touched) -> None:
        """Take in what another touched."""
        self.keys |= other.keys
        self.addresses |= other.addresses
        self.elements |= other.elements

    def without(self, other: Touched) -> Touched:
        """What is in this and not in another."""
        return Touched(
            self.keys - other.keys, self.addresses - other.addresses, self.elements - other.elements
        )


class Desired:
    """What must exist. `bound` and `elements` count who needs an entry; none is there with a count of 0.

    leaving: virtual servers that no Service wants any more, there without real servers of their own until
    the connections through them are over.
    """

    def __init__(self) -> None:
        self.contributions: dict[str, Contribution] = {}
        self.leaving: dict[Key, Exposure] = {}
        self.bound: Counter[bytes] = Counter()
        self.elements: Counter[Element] = Counter()
        self._claims: dict[Key, tuple[tuple[str, str], ...]] = {}

    def keys(self) -> Iterable[Key]:
        """All virtual servers."""
        return self._claims.keys() | self.leaving.keys()

    def exposure(self, key: Key) -> Exposure | None:
        """The virtual server with this key, of the oldest Service that wants it, or one that is leaving."""
        claims = self._claims.get(key)
        return self.contributions[claims[0][1]].exposures[key] if claims else self.leaving.get(key)

    def carries_nothing(self) -> bool:
        """No virtual server is wanted, or none has a real server."""
        return not any(
            exposure.reals
            for contribution in self.contributions.values()
            for exposure in contribution.exposures.values()
        )

    def services_on(self, node: str) -> frozenset[str]:
        """Services with an endpoint on a node. Looks through all: nodes seldom die, indexes cost always."""
        return frozenset(
            key for key, contribution in self.contributions.items() if node in contribution.nodes
        )

    def services_at(self, addresses: Set[bytes]) -> frozenset[str]:
        """Services with a virtual server on one of these addresses. Looks through all, as `services_on`."""
        return frozenset(
            key
            for key, contribution in self.contributions.items()
            if any(address in addresses for _, address, _ in contribution.exposures)
        )

    def put(
        self, service: str, new: Contribution | None, lingers: Callable[[Exposure], bool] = lambda _: False
    ) -> Touched:
        """Replace what a Service contributes (None: nothing any more); what that may have changed.

        `lingers`: whether a virtual server that nobody wants any more is to leave slowly.
        """
        old = self.contributions.get(service)
        if old == new:
            return Touched()
        keys = {*(old.exposures if old else ()), *(new.exposures if new else ())}
        before = {key: self.exposure(key) for key in keys}
        self._replace(service, old, new)
        touched = Touched()
        for key in keys:
            self._leave(key, before[key], lingers)
            after = self.exposure(key)
            if before[key] == after:
                continue
            touched.keys.add(key)
            self._count(after, +1, touched)
            self._count(before[key], -1, touched)
        return touched

    def _leave(self, key: Key, before: Exposure | None, lingers: Callable[[Exposure], bool]) -> None:
        """A Service that wants the address and port has them at once."""
        if key in self._claims:
            self.leaving.pop(key, None)
        elif before is not None and key not in self.leaving and lingers(before):
            self.leaving[key] = msgspec.structs.replace(before, reals=())

    def linger(self, exposure: Exposure) -> None:
        """Let a virtual server leave slowly that an earlier process has left."""
        self.leaving[exposure.server.key] = msgspec.structs.replace(exposure, reals=())
        self._count(exposure, +1, Touched())

    def left(self, key: Key) -> Touched:
        """A virtual server has left; what that changed."""
        touched = Touched(keys={key})
        self._count(self.leaving.pop(key), -1, touched)
        return touched

    def _replace(self, service: str, old: Contribution | None, new: Contribution | None) -> None:
        if old is not None:
            for key in old.exposures:
                rest = tuple(age for age in self._claims[key] if age != old.age)
                if rest:
                    self._claims[key] = rest
                else:
                    del self._claims[key]
        if new is None:
            self.contributions.pop(service, None)
            return
        self.contributions[service] = new
        for key in new.exposures:
            self._claims[key] = tuple(sorted((*self._claims.get(key, ()), new.age)))

    def _count(self, exposure: Exposure | None, by: int, touched: Touched) -> None:
        if exposure is None:
            return
        for element in exposure.elements:
            self.elements[element] += by
            if self.elements[element] == 0:
                del self.elements[element]
            touched.elements.add(element)
        if exposure.bind:
            address = exposure.server.address
            self.bound[address] += by
            if self.bound[address] == 0:
                del self.bound[address]
            touched.addresses.add(address)

    def conflicts(self, keys: Iterable[Key]) -> Iterator[str]:
        """One warning for each Service that does not get a virtual server among `keys`."""
        for key in keys:
            claims = self._claims.get(key, ())
            for _, loser in claims[1:]:
                yield (
                    f"Service {loser}: spec.ports: {describe(key)} belongs to the older Service "
                    f"{claims[0][1]}, not served"
                )

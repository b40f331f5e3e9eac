"""What the API's objects amount to: a verdict on each Service, and from these the view of each link. Pure.

A changed Service or EndpointSlice costs the judgement of that Service; what concerns all (pools,
advertisements, nodes, members) costs all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from types import MappingProxyType

import msgspec

from strictarp.kube.objects import EndpointSlice, Node, Service
from strictarp.kube.ranges import Range
from strictarp.speaker import advertising
from strictarp.speaker.candidates import Facts, Verdict, evaluate, is_not_ready
from strictarp.speaker.links import Place, place_of
from strictarp.speaker.membership import Presence
from strictarp.speaker.pools import pool_of
from strictarp.speaker.view import Candidate, Member, Vip

SERVICE_LABEL = "kubernetes.io/service-name"
NO_WISHES: Mapping[str, str] = MappingProxyType({})


class Picture:
    """The Services and what is held of them. Feed it, then read `verdicts` after `judge`."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self._services: dict[str, Service] = {}
        self._slices: dict[str, dict[str, EndpointSlice]] = {}
        self._facts = Facts()
        self._dirty: set[str] = set()
        self._announced: dict[bytes, set[str]] = {}
        """Packed address → the Services that are announced with it."""
        self._strays: dict[bytes, Range] = {}
        """Those of these that lie in no pool, each as a range."""

    def put_service(self, key: str, service: Service | None) -> None:
        """A Service as it is now; None: it is gone."""
        if service is None:
            self._services.pop(key, None)
        else:
            self._services[key] = service
        self._dirty.add(key)

    def put_slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """An EndpointSlice before and after; it may have moved from one Service to another."""
        for each in (old, new):
            owner = _owner(each)
            if each is None or owner is None:
                continue
            slices = self._slices.setdefault(owner, {})
            if each is new:
                slices[each.key] = each
            else:
                slices.pop(each.key, None)
            if not slices:
                del self._slices[owner]
            self._dirty.add(owner)

    def put_facts(self, facts: Facts) -> None:
        """What holds for all Services. An advertisement that has got faults stays as it was without them."""
        known = advertising.in_force(facts.advertising, self._facts.advertising)
        facts = msgspec.structs.replace(facts, advertising=known)
        if facts != self._facts:
            before, self._facts = self._facts, facts
            self._dirty |= self._services.keys()
            if facts.pools != before.pools:
                self._strays = {}
                for address in self._announced:
                    self._note_stray(address)

    def judge(self, most: int | None = None) -> bool:
        """Judge what has changed, at most so many Services; whether any verdict became another.

        A caller with deadlines takes small portions until nothing is `pending`.
        """
        changed = False
        for key in list(itertools.islice(self._dirty, most)):
            self._dirty.discard(key)
            service = self._services.get(key)
            slices = tuple(self._slices.get(key, {}).values())
            before = self.verdicts.get(key)
            verdict = evaluate(service, slices, self._facts, before) if service is not None else None
            if verdict != before:
                self._replace(key, verdict)
                changed = True
        return changed

    def _replace(self, key: str, verdict: Verdict | None) -> None:
        before = self.verdicts.pop(key, None)
        for address in _announced(before):
            keys = self._announced[address]
            keys.discard(key)
            if not keys:
                del self._announced[address]
                self._strays.pop(address, None)
        if verdict is not None:
            self.verdicts[key] = verdict
        for address in _announced(verdict):
            if address not in self._announced:
                self._announced[address] = set()
                self._note_stray(address)
            self._announced[address].add(key)

    def _note_stray(self, address: bytes) -> None:
        ip = ip_address(address)
        if pool_of(self._facts.pools, ip) is None:
            self._strays[address] = Range(ip.version, int(ip), int(ip), str(ip))

    @property
    def pending(self) -> bool:
        """Whether there is something left to judge."""
        return bool(self._dirty)

    def verdicts_on(self, addresses: Iterable[bytes]) -> list[Verdict]:
        """The verdicts on the Services that are announced with any of these addresses (packed)."""
        keys = {key for address in addresses for key in self._announced.get(address, ())}
        return [self.verdicts[key] for key in sorted(keys)]

    @property
    def ranges(self) -> list[Range]:
        """Where this node may have to answer: the pools' ranges, and announced addresses that left them."""
        return [*(span for pool in self._facts.pools for span in pool.ranges), *self._strays.values()]

    def service(self, key: str) -> Service | None:
        """A Service by `namespace/name`."""
        return self._services.get(key)

    def services_of(self, address: bytes) -> list[Service]:
        """The Services that are announced with this address (packed), without those just deleted."""
        keys = sorted(self._announced.get(address, ()))
        return [self._services[key] for key in keys if key in self._services]


def _announced(verdict: Verdict | None) -> set[bytes]:
    if verdict is None or verdict.why is not None:
        return set()
    return {address.packed for address in verdict.addresses}


def _owner(each: EndpointSlice | None) -> str | None:
    if each is None:
        return None
    name = (each.metadata.labels or {}).get(SERVICE_LABEL)
    return f"{each.metadata.namespace}/{name}" if name else None


def vips(
    verdicts: Mapping[str, Verdict],
    places: Iterable[Place],
    node: str,
    wishes: Mapping[str, str] = NO_WISHES,
) -> dict[int, dict[bytes, Vip]]:
    """Link index → the VIPs of its segment, with the candidates in order. wishes: Service → its next owner.

    An address that several Services share has one owner: one that all of them may have, where there is one.
    """
    known = tuple(places)
    found: dict[int, dict[bytes, Vip]] = {place.index: {} for place in known}
    for _, verdict in sorted(verdicts.items()):
        if verdict.why is not None:
            continue
        allowed = advertising.interfaces_of(verdict.matching, node)
        first: tuple[int, bytes] | None = None
        for address in verdict.addresses:
            order = verdict.order_of(address)
            candidate = any(each.node == node for each in order)
            place = place_of(known, address.packed)
            if place is None:
                continue
            announced = place_of(known, address.packed, allowed)
            eligible = candidate and announced is not None
            index = (announced or place).index
            link = found[index]
            before = link.get(address.packed)
            beside = first[1] if first is not None and first[0] == index else b""
            first = first or (index, address.packed)
            fresh = Vip(
                address.packed,
                order,
                eligible,
                beside if beside != address.packed else b"",
                ((verdict.service, verdict.again),),
                wishes.get(verdict.service, ""),
            )
            link[address.packed] = fresh if before is None else _shared(before, fresh, node)
    return found


def _shared(one: Vip, other: Vip, node: str) -> Vip:
    order, again = common(one.candidates, other.candidates), one.again + other.again
    if not order:
        return msgspec.structs.replace(one, again=again)
    there = {each.node for each in order}
    eligible = node in there and (one.eligible or other.eligible)
    wish = next((each for each in (one.wish, other.wish) if each in there), "")
    return Vip(one.address, order, eligible, one.beside, again, wish)


def common(one: tuple[Candidate, ...], other: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """The candidates that two Services with one address share, in the order of the first."""
    there = {each.node for each in other}
    return tuple(each for each in one if each.node in there)


def members(living: Mapping[str, Presence], nodes: Mapping[str, Node], place: Place) -> dict[str, Member]:
    """The nodes with a living speaker, as the machine on this link wants them."""
    return {
        name: Member(name, presence.macs, _first(nodes.get(name), place), is_not_ready(nodes.get(name)))
        for name, presence in living.items()
    }


def node_addresses(nodes: Mapping[str, Node], place: Place) -> dict[bytes, str]:
    """InternalIPs on this segment, of either family → node, of all nodes that have one there."""
    return {packed: name for name, node in nodes.items() for packed in _internal(node, place)}


def _first(node: Node | None, place: Place) -> bytes:
    return next(_internal(node, place), b"")


def _internal(node: Node | None, place: Place) -> Iterator[bytes]:
    """A node's InternalIPs on this segment, packed."""
    for entry in (node.status.addresses or ()) if node is not None else ():
        if entry.type != "InternalIP":
            continue
        try:
            packed = ip_address(entry.address).packed
        except ValueError:
            continue
        if place.holds(packed):
            yield packed

"""The API server: one list of objects, and what each node has seen of it. Watches are late, or away."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from simulation.clock import Clock
from strictarp.speaker.election import order
from strictarp.speaker.view import Candidate, Member, View, Vip


class Objects(NamedTuple):
    """What users and controllers wrote.

    vips: packed address → nodes that are selected and their scores. not_ready: nodes that the API calls so.
    beside: second address of a Service → its first. wishes: first address of a Service → the node that it is
    to be handed over to. drained: nodes that are to own nothing.
    """

    vips: dict[bytes, dict[str, int]]
    not_ready: frozenset[str] = frozenset()
    beside: Mapping[bytes, bytes] = MappingProxyType({})
    wishes: Mapping[bytes, str] = MappingProxyType({})
    drained: frozenset[str] = frozenset()


class Watcher:
    """What one node knows. seen: node → local time at which its Lease was last seen renewed."""

    def __init__(self, name: str, tell: Callable[[View], None], local: Callable[[], int], delay: int) -> None:
        self.name = name
        self.tell = tell
        self.local = local
        self.delay = delay
        self.away = False
        self.objects: Objects | None = None
        self.seen: dict[str, int] = {}
        self.next_delivery = 0
        self.told: object = None
        """What its last view was made of."""


class Api:
    """expiry: how long a Lease counts after it was seen renewed; renewal: how often a node renews, µs."""

    def __init__(self, clock: Clock, objects: Objects, *, expiry: int, renewal: int) -> None:
        self.clock = clock
        self.objects = objects
        self.expiry = expiry
        self.renewal = renewal
        self.leases: dict[str, tuple[bytes, bytes]] = {}
        """Node → MAC and address of its Lease; it stays when the node is gone."""
        self.watchers: dict[str, Watcher] = {}
        self._orders: dict[object, tuple[Candidate, ...]] = {}

    def connect(self, watcher: Watcher) -> None:
        """A node starts, lists everything and watches from then on. An old Lease cannot be told from a new
        one: clocks are not trusted, so each counts as just renewed.
        """
        away = self.watchers[watcher.name].away if watcher.name in self.watchers else False
        watcher.away = away
        self.watchers[watcher.name] = watcher
        if not away:
            self._later(watcher, self._relist, watcher)

    def disconnect(self, name: str) -> None:
        """The node's process is gone."""
        old = self.watchers.get(name)
        if old is not None:
            gone = Watcher(name, lambda view: None, lambda: 0, 0)
            gone.away = old.away
            self.watchers[name] = gone

    def change(self, objects: Objects) -> None:
        """Somebody wrote; each watcher sees it after its delay."""
        self.objects = objects
        for watcher in self.watchers.values():
            if not watcher.away:
                self._later(watcher, self._take_objects, watcher, objects)

    def renew(self, name: str, mac: bytes, address: bytes) -> None:
        """A node renews its Lease, if it reaches the API."""
        own = self.watchers.get(name)
        if own is None or own.away:
            return
        self.leases[name] = (mac, address)
        for watcher in self.watchers.values():
            if not watcher.away:
                self._later(watcher, self._take_renewal, watcher, name)

    def leave(self, names: list[str]) -> None:
        """The API does not answer these nodes any more."""
        for name in names:
            watcher = self.watchers[name]
            watcher.away = True
            if watcher.objects is not None:
                self._tell(watcher)

    def come_back(self, names: list[str]) -> None:
        """It answers them again: they list everything anew. Nobody could renew, so nothing has expired."""
        for name in names:
            watcher = self.watchers[name]
            watcher.away = False
            self._later(watcher, self._relist, watcher)

    def _later(self, watcher: Watcher, action: Callable[..., None], *args: object) -> None:
        time = max(self.clock.now + watcher.delay, watcher.next_delivery)
        watcher.next_delivery = time
        self.clock.at(time, self._if_there, watcher, action, args)

    def _if_there(self, watcher: Watcher, action: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.watchers.get(watcher.name) is watcher and not watcher.away:
            action(*args)

    def _relist(self, watcher: Watcher) -> None:
        watcher.objects = self.objects
        now = watcher.local()
        watcher.seen = dict.fromkeys(self.leases, now)
        self.clock.at(self.clock.now + self.expiry * 102 // 100, self._expire, watcher)
        self._tell(watcher)

    def _take_objects(self, watcher: Watcher, objects: Objects) -> None:
        watcher.objects = objects
        self._tell(watcher)

    def _take_renewal(self, watcher: Watcher, name: str) -> None:
        new = name not in watcher.seen or watcher.local() - watcher.seen[name] > self.expiry
        watcher.seen[name] = watcher.local()
        self.clock.at(self.clock.now + self.expiry * 102 // 100, self._expire, watcher)
        if new:
            self._tell(watcher)

    def _expire(self, watcher: Watcher) -> None:
        if self.watchers.get(watcher.name) is watcher and not watcher.away:
            self._tell(watcher)

    def _tell(self, watcher: Watcher) -> None:
        """The watcher's view, as its shell would make it. While its own renewals fail, no Lease expires. The
        address of a Node is known whatever its Lease.
        """
        objects = watcher.objects
        if objects is None:
            return
        now = watcher.local()
        live = [
            name
            for name, at in watcher.seen.items()
            if watcher.away or now - at <= self.expiry or name == watcher.name
        ]
        addresses = {address: name for name, (_, address) in self.leases.items()}
        basis = (objects, watcher.away, live, [self.leases.get(name) for name in live], addresses)
        if basis == watcher.told:
            return
        watcher.told = basis
        members = {
            name: Member(name, (self.leases[name][0],), self.leases[name][1], name in objects.not_ready)
            for name in sorted(live)
            if name in self.leases
        }
        vips = {}
        for address, scores in objects.vips.items():
            chosen = {name: score for name, score in scores.items() if name in members}
            first = objects.beside.get(address, b"")
            candidates = self._ordered(chosen, first or address, objects.not_ready, objects.drained)
            wish = objects.wishes.get(first or address, "")
            if wish not in chosen.keys() - objects.drained:
                wish = ""
            vips[address] = Vip(address, candidates, watcher.name in chosen, first, wish=wish)
        watcher.tell(View(vips, members, api_alive=not watcher.away, nodes=addresses))

    def _ordered(
        self, chosen: dict[str, int], address: bytes, behind: frozenset[str], drained: frozenset[str]
    ) -> tuple[Candidate, ...]:
        """The order of election, worked out once for all who ask."""
        key = (address, behind, drained, *chosen.items())
        if key not in self._orders:
            self._orders[key] = order(chosen, str(ipaddress.ip_address(address)), behind, drained)
        return self._orders[key]

"""The Ethernet segment: who gets which frame, and when. Faults change its fields and then call `changed`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from simulation.clock import Clock
from simulation.trace import Conditions, Trace, What

LIGHT_LOSS = 0.05
"""Up to this loss every promise holds: three hellos, and three probes that are answered twice, must be lost
together (SPEAKER 5: 9e-5 false takeovers a day and observer).
"""
_HELLO_ETHERTYPE = b"\x88\xb5"
_KEEP = 2_000_000

Pair = tuple[int, int]


class Port:
    """One plug. lag: how late, at most, its host handles a frame, µs. speaks: it heeds speakers' frames; to
    spare time, others are not handed them. deaf: it heeds nothing. arrived: port → when its last frame
    arrives here.
    """

    __slots__ = ("arrived", "deaf", "label", "lag", "mac", "receive", "speaks")

    def __init__(
        self, label: str, mac: bytes, receive: Callable[[bytes], None], *, lag: int, speaks: bool, deaf: bool
    ) -> None:
        self.label = label
        self.mac = mac
        self.receive = receive
        self.lag = lag
        self.speaks = speaks
        self.deaf = deaf
        self.arrived: dict[int, int] = {}


class Segment:
    """A switch that knows every MAC. delay: (least, most) one-way, µs; half_claim: P/2."""

    def __init__(
        self, clock: Clock, chance: random.Random, trace: Trace, delay: tuple[int, int], *, half_claim: int
    ) -> None:
        self.clock = clock
        self.chance = chance
        self.trace = trace
        self.delay = delay
        self.half_claim = half_claim
        self.ports: list[Port] = []
        self.by_mac: dict[bytes, int] = {}
        # Faults.
        self.cuts: dict[str, frozenset[Pair]] = {}
        """Name of a fault → pairs between which nothing passes."""
        self.unclean: set[str] = set()
        """Faults among `cuts` that are no partition."""
        self.filters: dict[str, frozenset[Pair]] = {}
        """Name of a fault → pairs between which only our own EtherType is dropped."""
        self.losses: dict[str, float] = {}
        self.slow: dict[str, tuple[frozenset[Pair], int]] = {}
        self.fading: dict[str, tuple[frozenset[Pair], int]] = {}
        """Of `slow`: those that are over, but whose last frames are still on their way."""
        self.duplicates: dict[str, float] = {}
        self.scramble: dict[str, int] = {}
        self.recorded: list[tuple[int, bytes]] | None = None
        # What they amount to.
        self._down: frozenset[Pair] = frozenset()
        self._filtered: frozenset[Pair] = frozenset()
        self._loss = 0.0
        self._duplicate = 0.0
        self._spread = 0
        self._extra: dict[Pair, int] = {}
        self._troubled = False
        """Something is cut, filtered or lost."""
        self._heeding: tuple[list[int], list[int]] = ([], [])
        """Ports that heed a broadcast of any other kind, and a speaker's."""
        self.conditions = Conditions(slowest=delay[1])

    def plug(
        self,
        label: str,
        mac: bytes,
        receive: Callable[[bytes], None],
        *,
        lag: int = 0,
        speaks: bool = False,
        deaf: bool = False,
    ) -> int:
        """A new port; its number."""
        self.ports.append(Port(label, mac, receive, lag=lag, speaks=speaks, deaf=deaf))
        number = len(self.ports) - 1
        self.by_mac[mac] = number
        if speaks or not deaf:
            self._heeding[0].append(number)
        if speaks:
            self._heeding[1].append(number)
        return number

    def change_mac(self, port: int, mac: bytes) -> None:
        """Another card is on this port."""
        del self.by_mac[self.ports[port].mac]
        self.ports[port].mac = mac
        self.by_mac[mac] = port

    def record(self) -> None:
        """Keep the frames of the last seconds, for an attacker."""
        if self.recorded is None:
            self.recorded = []

    def changed(self) -> None:
        """The faults in force have changed."""
        self._down = frozenset().union(*self.cuts.values())
        self._filtered = frozenset().union(*self.filters.values())
        self._loss = max(self.losses.values(), default=0.0)
        self._duplicate = max(self.duplicates.values(), default=0.0)
        self._spread = max(self.scramble.values(), default=0)
        self._extra = {}
        for pairs, delay in self.slow.values():
            for pair in pairs:
                self._extra[pair] = max(delay, self._extra.get(pair, 0))
        self._troubled = bool(self._down or self._filtered or self._loss)
        self._note()

    def _note(self) -> None:
        extra = dict(self._extra)
        for pairs, delay in self.fading.values():
            for pair in pairs:
                extra[pair] = max(delay, extra.get(pair, 0))
        every = [(a, b) for a in range(len(self.ports)) for b in range(len(self.ports)) if a != b]
        usual = self.delay[1] + self._spread
        late = {pair for pair in every if usual + extra.get(pair, 0) >= self.half_claim}
        heavy = self._loss > LIGHT_LOSS
        bad = frozenset(every) if heavy else self._down | self._filtered | late
        speed = [usual + extra.get(pair, 0) for pair in every if pair not in late]
        deaf = frozenset(
            port
            for port in range(len(self.ports))
            if all((other, port) in self._down for other in range(len(self.ports)) if other != port)
            and any((port, other) not in self._down for other in range(len(self.ports)) if other != port)
        )
        unclean = heavy or bool(late) or bool(self.filters) or bool(self.unclean & self.cuts.keys())
        self.conditions = Conditions(
            self._down, bad, unclean, bool(self._loss), max(speed, default=usual), deaf, bool(self._spread)
        )
        self.trace.add(self.clock.now, What.LINKS, info=self.conditions)

    def slow_down(self, name: str, pairs: Iterable[Pair], delay: int, *, until: int) -> None:
        """Frames between these pairs take so much longer, until then."""
        self.slow[name] = (frozenset(pairs), delay)
        self.changed()
        self.clock.at(until, self._fade, name)
        self.clock.at(until + delay, self._faded, name)

    def _fade(self, name: str) -> None:
        self.fading[name] = self.slow.pop(name)
        self.changed()

    def _faded(self, name: str) -> None:
        del self.fading[name]
        self.changed()

    def transmit(self, port: int, data: bytes) -> None:
        """A frame leaves a host."""
        # What somebody has never heard is news to it, also from a recording: nothing tells a frame's age.
        # So only frames that everybody hears are recorded.
        heard_by_all = not (self._down or self._filtered or self._loss)
        if self.recorded is not None and heard_by_all and not self.ports[port].deaf:
            self.recorded.append((self.clock.now, data))
            if len(self.recorded) > 4096:
                oldest = self.clock.now - _KEEP
                self.recorded = [entry for entry in self.recorded if entry[0] >= oldest]
        ours = data[12:14] == _HELLO_ETHERTYPE
        known = None if data[0] & 1 else self.by_mac.get(data[:6])
        heeding = self._heeding[ours] if known is None else (known,)
        targets = [target for target in heeding if target != port]
        if not self._troubled:
            self._deliver(port, targets, data)
            return
        for target in targets:
            if self._passes(port, target, ours=ours):
                self._deliver(port, (target,), data)

    def _passes(self, port: int, target: int, *, ours: bool) -> bool:
        """Whether a frame gets through what is cut, filtered and lost. ours: it is a speaker's."""
        pair = (port, target)
        if pair in self._down or (ours and pair in self._filtered):
            return False
        if self._loss and self.chance.random() < self._loss:
            if ours:
                sender = self.ports[port].label
                self.trace.add(self.clock.now, What.LOST, self.ports[target].label, info=sender)
            return False
        return True

    def _deliver(self, port: int, targets: Sequence[int], data: bytes) -> None:
        chance, at, ports = self.chance.random, self.clock.at, self.ports
        least, most = self.delay
        soonest, room = self.clock.now + least, most - least
        for target in targets:
            to = ports[target]
            time = soonest + int(chance() * (room + to.lag))
            if self._extra:
                time += self._extra.get((port, target), 0)
            if self._spread:
                time += int(chance() * self._spread)
            else:  # a switch keeps the order of two ports
                time = to.arrived[port] = max(time, to.arrived.get(port, 0))
            at(time, to.receive, data)
            if self._duplicate and chance() < self._duplicate:
                at(time + int(chance() * most), to.receive, data)

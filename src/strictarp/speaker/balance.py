"""Evening out the addresses over the nodes, with few moves. Pure.

What moves together (a Service's addresses, and Services that share one) is a unit; its weight is the number
of its addresses. A move, or a chain of moves that each make room for the next, is made when it lowers the
sum of the squares of the loads. Where all units weigh the same, no plan evens out better: that is so when no
such chain is left (semi-matchings, Harvey and others 2003).
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence

import msgspec


class Unit(msgspec.Struct, frozen=True):
    """What has one owner. places: the nodes that are as good as any for it, in order of the election. owner:
    empty while nobody announces it; such a one is left alone.
    """

    services: tuple[str, ...]
    addresses: tuple[str, ...]
    places: tuple[str, ...]
    owner: str = ""

    @property
    def weight(self) -> int:
        """How many addresses it has."""
        return len(self.addresses)


class Step(msgspec.Struct, frozen=True):
    """One unit, and where it goes."""

    unit: Unit
    to: str


class Plan(msgspec.Struct, frozen=True):
    """before, after: node → addresses."""

    steps: tuple[Step, ...]
    before: Mapping[str, int]
    after: Mapping[str, int]


def balance(units: Sequence[Unit]) -> Plan:
    """What to move where."""
    owned = sorted((each for each in units if each.owner and each.places), key=lambda each: each.services)
    nodes = sorted({node for each in owned for node in (*each.places, each.owner)})
    before = {node: sum(each.weight for each in owned if each.owner == node) for node in nodes}
    state = _State(owned, Counter(before))
    for number, unit in enumerate(owned):
        if unit.owner not in unit.places:
            state.move(number, min(unit.places, key=lambda node: state.load[node]))
    while (chain := state.best_chain()) is not None:
        for number, to in chain:
            state.move(number, to)
    steps = [Step(unit, to) for unit, to in zip(owned, state.at, strict=True) if to != unit.owner]
    return Plan(tuple(steps), before, {node: state.load[node] for node in nodes})


_Chain = list[tuple[int, str]]


class _State:
    """Where each unit is by the moves so far. Units are known by their numbers."""

    def __init__(self, units: Sequence[Unit], load: Counter[str]) -> None:
        self.units = units
        self.load = load
        self.at: list[str] = []
        self._edges: dict[int, dict[str, dict[str, list[tuple[int, int, int]]]]] = {}
        """Weight → node → other node → heap of the units that may go there; those that left are in it still.
        """
        for number, unit in enumerate(units):
            self.at.append(unit.owner)
            self._offer(number)

    def _offer(self, number: int) -> None:
        """Where a unit may go from where it is. First comes one that goes home, then one that moves anyway,
        then the one that has that node earliest in its order.
        """
        unit, here = self.units[number], self.at[number]
        edges = self._edges.setdefault(unit.weight, {}).setdefault(here, {})
        for place, to in enumerate(unit.places):
            if to != here:
                rank = 0 if to == unit.owner else 1 if here != unit.owner else 2
                heapq.heappush(edges.setdefault(to, []), (rank, place, number))

    def move(self, number: int, to: str) -> None:
        weight = self.units[number].weight
        self.load[self.at[number]] -= weight
        self.load[to] += weight
        self.at[number] = to
        self._offer(number)

    def best_chain(self) -> _Chain | None:
        """The shortest that helps; of these the one that helps most."""
        found = [
            (len(chain), -gain, weight, chain)
            for weight in sorted(self._edges)
            for gain, chain in self._chains(weight)
        ]
        return min(found)[3] if found else None

    def _chains(self, weight: int) -> Iterator[tuple[int, _Chain]]:
        """From each node, along units of this weight, to each that has enough less to do: gain and chain."""
        for source in sorted(self._edges[weight]):
            chains: dict[str, _Chain] = {source: []}
            queue = deque([source])
            while queue:
                node = queue.popleft()
                for to, number in self._ways(weight, node):
                    if to not in chains:
                        chains[to] = [*chains[node], (number, to)]
                        queue.append(to)
            for target, chain in chains.items():
                gain = self.load[source] - self.load[target] - weight
                if chain and gain > 0:
                    yield gain, chain

    def _ways(self, weight: int, node: str) -> Iterator[tuple[str, int]]:
        """The nodes that a unit may go to from here, and which unit."""
        for to, heap in sorted(self._edges[weight].get(node, {}).items()):
            while heap and self.at[heap[0][2]] != node:
                heapq.heappop(heap)
            if heap:
                yield to, heap[0][2]

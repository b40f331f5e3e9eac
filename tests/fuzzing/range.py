"""A firing range: three living speakers, frames that hit them, and what must not come of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from fuzzing import oracle
from fuzzing.frames import HELLO, Surroundings, draw
from strictarp.hello.frames import GROUP_MAC
from strictarp.hello.replay import WIDTH
from strictarp.speaker.machine import Machine
from strictarp.speaker.settings import SECOND
from support.speakers import CLUSTER, GATEWAY, GATEWAY6, KEYS, SETTINGS, VIP, VIP6, Table, address

NAMES = ("a", "b", "c")
VIPS = (VIP, VIP6, *(address(f"203.0.113.{number}") for number in range(2, 8)), address("2001:db8::101"))
NODES = {address(f"192.0.2.1{number}"): name for number, name in enumerate("abcd", 1)}
_STEP = 20
"""µs between two frames."""
_TIDY = 2_000
_MOST_KEPT = 8_000
_CHALLENGE = 7


class Harm(Exception):
    """A frame did what it must not do. The message says which, and how to see it again."""


class Range:
    """Fires frames drawn from a seed, one after the other, and looks after each."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.fired = 0
        self.results: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._table = Table((*NAMES, "d"), vips=VIPS, gateway6=GATEWAY6)
        self._table.node_addresses = NODES
        self._table.settled()
        self._table.kill("d")
        self._table.after(2 * SECOND)
        # What the dead one said to a single node would still be new to the others, once.
        dead = self._table.macs["d"]
        recorded = [
            each
            for each in self._table.sent
            if each[12:14] == HELLO and (each[6:12] != dead or each[:6] == GROUP_MAC)
        ]
        # Until nothing of it is new, also to whom it was not sent.
        self._table.after(WIDTH * SETTINGS.hello * 11 // 10)
        self.around = Surroundings(
            [self._table.macs[name] for name in NAMES],
            (*NAMES, "d"),
            [*VIPS, GATEWAY, GATEWAY6, *NODES],
            cluster=CLUSTER,
            keys=KEYS,
            recorded=recorded,
        )
        self._owned = {name: set(self._table.machines[name].owned) for name in NAMES}
        assert sum(map(len, self._owned.values())) == len(VIPS)

    def fire(self, count: int) -> None:
        """So many frames. Raises Harm."""
        for kind, data in self._drawn(count):
            name = NAMES[self.fired % len(NAMES)]
            try:
                self._hit(name, kind, data)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise Harm(
                    f"seed {self.seed}, frame {self.fired} ({kind}) to {name}: {what}\n{data.hex()}"
                ) from error
        for name in NAMES:
            values = kept(self._table.machines[name])
            if values > _MOST_KEPT:
                raise Harm(f"seed {self.seed}: {name} keeps {values} values of what it heard")

    def _drawn(self, count: int) -> Iterator[tuple[str, bytes]]:
        for _ in range(count):
            self.fired += 1
            yield draw(self._chance, self.around)
            if self.fired % 8 == 0:
                self._table.after(8 * _STEP)
            if self.fired % _TIDY == 0:
                for each in (self._table.answers, self._table.sent, self._table.said, self._table.reports):
                    each.clear()

    def _hit(self, name: str, kind: str, data: bytes) -> None:
        machine = self._table.machines[name]
        answers, refused = len(self._table.answers), sum(machine.counters.values())
        asked = oracle.asks_for(data, self._table.macs[name])
        wanted = [asked] if asked in self._owned[name] else []
        self._table.inject(name, data)
        answered = [each for _, _, each in self._table.answers[answers:]]
        counted = sum(machine.counters.values()) - refused
        if answered != wanted:
            raise AssertionError(f"answered {answered}, asked for {wanted}")
        for each in NAMES:
            if self._table.machines[each].owned.keys() != self._owned[each]:
                raise AssertionError(f"{each} owns {set(self._table.machines[each].owned)}")
        expected = self._refusals(name, data)
        if expected is not None and counted != expected:
            raise AssertionError(f"counted {counted} times as refused, expected {expected}")
        self.results[f"{kind}: fired"] += 1
        self.results[f"{kind}: answered"] += len(answered)
        self.results[f"{kind}: refused"] += counted

    def _refusals(self, name: str, data: bytes) -> int | None:
        """How often it has to be counted as a frame that does not count; None: it may or may not be.

        Nobody fires a rightly signed frame that is new and of a living incarnation, so none may count. Who
        is asked for a proof gives it, as often as he is asked.
        """
        kind = data[12:14]
        if kind in (b"\x08\x06", b"\x86\xdd"):
            return 0 if oracle.is_well_formed(data) else 1
        if kind != HELLO:
            return 0
        if not oracle.is_authentic(data, CLUSTER, KEYS.current):
            return 1
        return None if data[19] == _CHALLENGE else 1


def kept(machine: Machine) -> int:
    """How much a machine remembers, in all its tables."""
    core = machine._core
    tables = [each for each in vars(core).values() if isinstance(each, dict | set | list)]
    tables += [asked.macs for asked in core.asked.values()]
    tables += [each for slot in core.slots.values() for each in (slot.askers, slot.spoke)]
    return sum(map(len, tables))

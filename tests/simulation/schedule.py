"""A seed's plan: who is there, what goes wrong when. A value: printed, compared, carried out by `world`."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from strictarp.speaker.settings import MS, SECOND, Settings

QUICK = Settings(settle=SECOND, season=4 * SECOND, season_most=16 * SECOND, audit=4 * SECOND)
"""The protocol's intervals with a short seasoning, so that a node comes of age several times in a run, and
frequent audits.
"""
SLOW_START = Settings()
"""The intervals in force."""


class Fault(msgspec.Struct, frozen=True):
    """One thing that goes wrong, or that somebody does. at, until: true time, µs. nodes: numbers of nodes.

    amount: how much, by kind (`KINDS`). vip: number of the VIP it is about.
    """

    kind: str
    at: int
    until: int
    nodes: tuple[int, ...]
    amount: int
    vip: int

    def __str__(self) -> str:
        nodes = ",".join(f"n{number}" for number in self.nodes)
        span = f"{self.at / SECOND:.3f}-{self.until / SECOND:.3f} s"
        return f"{span} {self.kind} nodes {nodes} amount {self.amount} vip {self.vip}"


class Kind(msgspec.Struct, frozen=True):
    """How a kind of fault is drawn. weight: how often. lasts, amount: least and most (µs; unit by kind).

    nodes: least and most that it hits.
    """

    weight: int
    lasts: tuple[int, int] = (0, 0)
    amount: tuple[int, int] = (0, 1)
    nodes: tuple[int, int] = (1, 1)


KINDS: dict[str, Kind] = {
    # Processes and machines. amount of crash: 0 stays dead.
    "crash": Kind(12, (300 * MS, 8 * SECOND), (0, 3)),
    "pause": Kind(10, (30 * MS, 5 * SECOND)),
    "short pause": Kind(6, (100 * MS, 420 * MS)),
    "stutter": Kind(8, (200 * MS, 345 * MS), (1, 4)),
    "pause in a claim": Kind(6, (60 * MS, 300 * MS)),
    "stop amid actions": Kind(5, (100 * MS, 2 * SECOND), (1, 30)),
    "busy": Kind(3, (SECOND, 8 * SECOND), (2 * MS, 9 * MS)),
    # The wire.
    "partition": Kind(10, (200 * MS, 7 * SECOND), (2, 3)),
    "one-way link": Kind(4, (200 * MS, 4 * SECOND), nodes=(2, 2)),
    "light loss": Kind(6, (SECOND, 10 * SECOND), (10, 50)),
    "heavy loss": Kind(3, (SECOND, 5 * SECOND), (60, 300)),
    "slow": Kind(5, (500 * MS, 5 * SECOND), (5 * MS, 30 * MS), (1, 3)),
    "very slow": Kind(3, (300 * MS, 3 * SECOND), (60 * MS, 150 * MS), (1, 3)),
    "duplicates": Kind(3, (SECOND, 6 * SECOND), (100, 500)),
    "reordering": Kind(3, (SECOND, 6 * SECOND), (5 * MS, 25 * MS)),
    "dead receive path": Kind(5, (1500 * MS, 6 * SECOND)),
    "dead send path": Kind(3, (500 * MS, 5 * SECOND)),
    "deaf": Kind(3, (3 * SECOND, 8 * SECOND), nodes=(2, 2)),
    "carrier": Kind(3, (100 * MS, 4 * SECOND)),
    "new card": Kind(2),
    # The API. amount of away: 1 hits all nodes.
    "api slow": Kind(5, (2 * SECOND, 8 * SECOND), (200 * MS, 5 * SECOND), (1, 2)),
    "api away": Kind(4, (2 * SECOND, 8 * SECOND), (0, 1), (1, 2)),
    "split vote": Kind(6, (2 * SECOND, 5 * SECOND), (MS, 30 * MS)),
    "vip gone": Kind(3, (500 * MS, 5 * SECOND)),
    "ineligible": Kind(5, (SECOND, 8 * SECOND), (0, 1), (1, 2)),
    "not ready": Kind(3, (SECOND, 8 * SECOND), nodes=(1, 3)),
    "score": Kind(4, (2 * SECOND, 9 * SECOND), (1, 9)),
    # What people do.
    "move": Kind(6),
    "drain": Kind(4, (SECOND, 6 * SECOND)),
    "wish": Kind(4, (500 * MS, 8 * SECOND)),
    "drained node": Kind(4, (SECOND, 8 * SECOND), nodes=(1, 2)),
    "leave": Kind(5, (500 * MS, 7 * SECOND)),
    "rolling restart": Kind(3, (2 * SECOND, 5 * SECOND), nodes=(2, 3)),
    "new keys": Kind(2, (3 * SECOND, 6 * SECOND)),
    # Others. amount of replay: 1 from 800 ms before a crash of the owner.
    "replay": Kind(6, (SECOND, 6 * SECOND), (0, 1)),
    "forgery": Kind(3, (SECOND, 6 * SECOND)),
    "kernel answers": Kind(4, (SECOND, 10 * SECOND)),
    "foreign host": Kind(3, (500 * MS, 4 * SECOND)),
}


_ONCE = "new keys"
_MANY = (90, 110)
"""VIPs of a schedule in which an owner's set does not fit into a hello: one node is preferred for all."""
_MANY_OFTEN = 0.004


class Schedule(msgspec.Struct, frozen=True):
    """Everything a run needs apart from the seed's chance.

    nodes: of the first cluster; strangers: of a second one on the same segment. delay: one-way, least and
    most. lags: of each node, how late at most it handles things. gateways: families of IP, of which the nodes
    know a gateway. asks: least and most between two questions of the client for one VIP. paired: the third
    VIP is another address of the first one's Service.
    """

    seed: int
    nodes: int
    strangers: int
    vips: int
    settings: Settings
    delay: tuple[int, int]
    lags: tuple[int, ...]
    gateways: tuple[int, ...]
    lease: tuple[int, int]
    asks: tuple[int, int]
    length: int
    faults: tuple[Fault, ...]
    paired: bool = False

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: {self.nodes} nodes, {self.vips} VIPs, {self.length / SECOND:.1f} s, delay "
            f"{self.delay[0] / MS:.1f} to {self.delay[1] / MS:.1f} ms, season {self.settings.season // MS} ms"
        )
        more = f", {self.strangers} nodes of another cluster" if self.strangers else ""
        gateway = ", gateway by IPv" + " and IPv".join(map(str, self.gateways)) if self.gateways else ""
        gateway = gateway or ", no gateway known"
        gateway += ", dual stack" if self.paired else ""
        return "\n".join([head + more + gateway, *(f"  {fault}" for fault in self.faults)])


def draw(seed: int, kinds: Sequence[str] = (), *, settings: Settings = QUICK) -> Schedule:
    """The schedule of a seed. kinds: only these kinds of faults, else all by weight."""
    chance = random.Random(f"schedule {seed}")
    mixed = not kinds
    cold = mixed and chance.random() < 0.06
    if cold and chance.random() < 0.3:
        settings = SLOW_START
    nodes = chance.choice((3, 3, 3, 4, 4, 5, 5, 6, 7))
    vips = chance.choice((2, 2, 3, 3, 4, 6))
    if mixed and chance.random() < _MANY_OFTEN:
        vips = chance.choice(_MANY)
    warm = (settings.season + 1_500 * MS) if not cold else 0
    last = warm + (16 if cold else 11) * SECOND
    count = chance.choice((3, 3, 4, 4, 5, 6))
    faults = [
        _draw_fault(chance, kind, nodes, vips, chance.randint(warm, last))
        for kind in _draw_kinds(chance, list(kinds or KINDS), count)
    ]
    end = max([fault.until for fault in faults] + [last])
    delay = chance.choice(((50, 500), (100, 1_000), (200, 3_000), (500, 5_000)))
    lags = tuple(chance.choice((300, 1_000, 1_000, 4_000)) for _ in range(nodes))
    return Schedule(
        seed=seed,
        nodes=nodes,
        strangers=2 if mixed and chance.random() < 0.05 else 0,
        vips=vips,
        settings=settings,
        delay=delay,
        lags=lags,
        gateways=chance.choices(((4,), (4, 6), (6,), ()), (6, 2, 1, 1))[0],
        lease=(2 * SECOND, 8 * SECOND) if chance.random() < 0.7 else (10 * SECOND, 40 * SECOND),
        asks=(150 * MS * max(1, vips // 6), 600 * MS * max(1, vips // 6)),
        length=max(20 * SECOND, end + 3 * SECOND),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
        paired=vips > 2 and chance.random() < 0.5,
    )


def _draw_kinds(chance: random.Random, names: list[str], count: int) -> list[str]:
    """By weight. A key is not rotated again before all nodes have the last one."""
    drawn: list[str] = []
    while len(drawn) < count:
        (kind,) = chance.choices(names, [KINDS[name].weight for name in names])
        if kind != _ONCE or kind not in drawn or names == [_ONCE]:
            drawn.append(kind)
    return drawn


def _draw_fault(chance: random.Random, kind: str, nodes: int, vips: int, at: int) -> Fault:
    rule = KINDS[kind]
    hit = chance.sample(range(nodes), min(nodes, chance.randint(*rule.nodes)))
    return Fault(
        kind=kind,
        at=at,
        until=at + chance.randint(*rule.lasts),
        nodes=tuple(hit),
        amount=chance.randint(*rule.amount),
        vip=chance.randrange(vips),
    )

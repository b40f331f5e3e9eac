"""Every promise of the protocol, checked over a whole trace."""

from __future__ import annotations

from typing import NamedTuple

from simulation.answerers import Answerers
from simulation.bounds import Bounds
from simulation.coverage import Coverage
from simulation.moves import Moves
from simulation.picture import Disturbances, Picture, Violation
from simulation.trace import What
from simulation.world import World


class Verdict(NamedTuple):
    """violations: in order of time. outages: how long a VIP that somebody could own had no answer, µs;
    handovers: gaps of planned moves, µs.
    """

    violations: tuple[Violation, ...]
    outages: tuple[int, ...]
    handovers: tuple[int, ...]


def judge(world: World) -> Verdict:
    """What a finished run of this world broke."""
    entries = world.trace.entries
    schedule = world.schedule
    busy = [fault.amount for fault in schedule.faults if fault.kind == "busy"]
    slowest = [entry.info.slowest for entry in entries if entry.what is What.LINKS]
    bounds = Bounds(
        schedule.settings,
        lag=max([*schedule.lags, *busy]),
        slowest=max([*slowest, schedule.delay[1]]),
        nodes=schedule.nodes,
    )
    hearers = {"gw": world.gateway.port, "client": world.client.port}
    picture = Picture(world.members, schedule.settings, hearers)
    disturbances = Disturbances(schedule.settings)
    gateway = world.gateway.port if schedule.gateways else None
    coverage = Coverage(picture, disturbances, bounds, gateway=gateway)
    moves = Moves(picture, disturbances, bounds)
    checks: tuple[Answerers | Coverage | Moves, ...] = (Answerers(picture, bounds), coverage, moves)
    for entry in entries:
        for check in checks:
            check.before(entry)
        disturbances.note(entry, picture)
        picture.apply(entry)
        for check in checks:
            check.after(entry)
    for check in checks:
        check.end(schedule.length)
    found = [violation for check in checks for violation in check.found]
    found.sort(key=lambda violation: violation.at)
    return Verdict(tuple(found), tuple(coverage.gaps), tuple(moves.gaps))

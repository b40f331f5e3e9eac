"""Many nodes, and many IPs at once. STRICTARP_NODES=100 and STRICTARP_ADDRESSES=1000 take minutes, so it is
fewer by default.
"""

import os

import msgspec

from simulation.run import Run, run
from simulation.schedule import QUICK, Fault, Schedule
from strictarp.speaker.actions import Kind, Report
from strictarp.speaker.settings import MS, SECOND

NODES = int(os.environ.get("STRICTARP_NODES", "12"))
ADDRESSES = int(os.environ.get("STRICTARP_ADDRESSES", "160"))


def _run(nodes: int, vips: int, *faults: Fault) -> Run:
    return run(
        Schedule(
            seed=1,
            nodes=nodes,
            strangers=0,
            vips=vips,
            settings=msgspec.structs.replace(QUICK, settle=500 * MS, season=1_500 * MS),
            delay=(100, 1_000),
            lags=(1_000,) * nodes,
            gateways=(4,),
            lease=(2 * SECOND, 8 * SECOND),
            asks=(25 * vips * MS, 100 * vips * MS),
            length=8 * SECOND,
            faults=faults,
        )
    )


def _fault(kind: str, at: int, node: int, amount: int, vip: int) -> Fault:
    return Fault(kind, at, at + 2 * SECOND, (node,), amount, vip)


def _reports(done: Run, kind: Kind) -> list[Report]:
    found = [entry.info for entry in done.trace.entries if isinstance(entry.info, Report)]
    return [report for report in found if report.kind is kind]


def test_many_nodes_start_lose_an_owner_and_move_an_ip() -> None:
    crash = _fault("crash", 4 * SECOND, 0, 0, 0)
    done = _run(NODES, 3, crash, _fault("move", 5 * SECOND, 1, 1, 1))
    assert not done.summary
    assert len(_reports(done, Kind.SEASONED)) == NODES
    assert len(_reports(done, Kind.HANDED_OVER)) == 1


def test_an_owner_of_many_ips_dies_and_all_are_answered_within_the_bound_of_one() -> None:
    done = _run(3, ADDRESSES, _fault("crash", 5 * SECOND, 0, 0, 0))
    assert not done.summary
    moved = len(_reports(done, Kind.TOOK_OVER)) - ADDRESSES
    assert moved > ADDRESSES // 6
    assert max(done.verdict.outages) < 500 * MS


def test_an_owner_of_many_ips_leaves_a_segment_that_reorders_and_hands_over_every_one() -> None:
    reordering = _fault("reordering", 4 * SECOND, 0, 20 * MS, 0)
    done = _run(4, ADDRESSES, reordering, _fault("leave", 5 * SECOND, 0, 0, 0))
    assert not done.summary
    moved = len(_reports(done, Kind.HANDED_OVER))
    assert moved > ADDRESSES // 8
    assert len(_reports(done, Kind.TOOK_OVER)) == ADDRESSES + moved
    assert not _reports(done, Kind.NOT_TAKEN)
    assert not _reports(done, Kind.RELEASED)

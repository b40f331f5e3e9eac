"""A proxy that is killed in the middle of its work leaves what the next one brings to the plan.

STRICTARP_KILLS says at how many random points the real daemon is killed in the virtual machine.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from support.killed_daemon import SERVICES_HELD, Site, bodies
from support.machine import ModelMachine, load_modules
from support.proxy_objects import endpoint_slice, service
from support.sequence_player import Player
from support.sequences import Kill, Put, Sequence, Step, Turn, sequence

MANY = 10**6


def _world(step: int) -> list[Step]:
    """A few Services of each kind; with another `step` nearly everything is another."""
    ports = [
        {"name": "http", "port": 80 + step, "nodePort": 30080 + step},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]
    targets = [
        {"name": "http", "port": 8080, "protocol": "TCP"},
        {"name": "dns", "port": 5353, "protocol": "UDP"},
    ]
    both = ["203.0.113.11", "2001:db8:9::11"]
    items = [
        service("a", both[0], clusterIPs=both, ipFamilies=["IPv4", "IPv6"], type="NodePort", ports=ports),
        service(
            "b", "203.0.113.12", type="LoadBalancer", ingress=["192.0.2.100", f"192.0.2.{101 + step}"],
            loadBalancerSourceRanges=["10.0.0.0/8" if step else "10.1.0.0/16"], ports=ports[:1],
            externalTrafficPolicy="Local" if step else "Cluster",
        ),
        endpoint_slice("a", [f"198.51.100.{n + step}" for n in (1, 2)], ports=targets),
        endpoint_slice("a", ["2001:db8:5::1"], ports=targets, name="a-3", kind="IPv6"),
        endpoint_slice("b", [(f"198.51.100.{4 - step}", "node1")]),
    ]  # fmt: skip
    return [Put(item) for item in items]


def _messages(steps: list[Step]) -> int:
    """How many messages and scripts the last turn of these steps takes."""
    machine = ModelMachine()

    async def count() -> int:
        player = Player(machine, _of(steps))
        await player.begin()
        machine.faults.left = MANY
        await player.turn()
        assert machine.faults.left is not None
        return MANY - machine.faults.left

    return asyncio.run(count())


def _of(steps: list[Step]) -> Sequence:
    drawn = sequence(1)
    return Sequence(drawn.config, drawn.node, tuple(steps), ends=True)


BEFORE: dict[str, list[Step]] = {
    "a cold start": _world(0),
    "a change of everything": [*_world(0), Turn(0.0), Turn(5.0), *_world(1)],
}


@pytest.mark.parametrize("what", BEFORE)
def test_killed_before_any_message_of_a_sync_it_ends_as_planned(what: str) -> None:
    before = BEFORE[what]
    messages = _messages(before)
    assert messages > 20
    for after in range(messages):
        again = Random(after).randrange(messages)  # the one that repairs is killed too
        asyncio.run(Player(ModelMachine(), _of([*before, Kill(after), Kill(again)])).play())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    load_modules()
    made = Site(tmp_path)
    try:
        made.begin()
        yield made
    finally:
        made.end()


def _change(site: Site, rng: Random) -> None:
    """Enough that the daemon has much to do, but not so much that it doubts."""
    for number in rng.sample(range(SERVICES_HELD), 3):
        if rng.random() < 0.3:
            site.delete(number)
        else:
            site.put(*bodies(number, rng))


@pytest.mark.vm
@pytest.mark.timeout(900)
def test_a_daemon_killed_at_a_random_point_of_a_sync_is_followed_by_one_that_ends_as_planned(
    site: Site,
) -> None:
    points = int(os.environ.get("STRICTARP_KILLS", "3"))
    rng = Random(int(os.environ.get("STRICTARP_KILLS_SEED", "1")))
    died = 0
    try:
        for point in range(points):
            if point % 3 == 0:  # in a cold start
                site.flush()
                site.start(rng.randrange(60), armed=True)
            else:
                site.start(rng.randrange(12), armed=False)
                site.ends_as_planned(60.0)
                site.arm()
                _change(site, rng)
            died += site.killed(4.0)
        site.start(0, armed=False)
        site.ends_as_planned(60.0)
    except BaseException as failure:
        failure.add_note((site.folder / "proxy.log").read_text())
        raise
    print(f"{died} of {points} died by themselves")
    assert died > points / 2

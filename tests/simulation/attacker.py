"""Somebody on the segment without the key: sends recorded frames again, and made-up ones."""

from __future__ import annotations

from simulation.node import Node
from simulation.schedule import Fault
from simulation.world import World
from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.speaker.settings import MS

_HELLO = b"\x88\xb5"
BEFORE = 800 * MS
"""How far back a replay reaches. More than T, so that a dead owner's last hellos are among it."""


def replay(world: World, fault: Fault, *, crash: Node | None) -> None:
    """Send what speakers said in the last `BEFORE` again and again, every type, unchanged. crash: this node
    dies first, so that a believed replay keeps it alive.
    """
    world.segment.record()
    if crash is not None:
        world.clock.at(world.clock.now + BEFORE, crash.kill)
        world.clock.at(fault.until + BEFORE, crash.start)
    world.clock.at(world.clock.now + BEFORE + 1, _again, world, fault.until + BEFORE, None)


def _again(world: World, until: int, tape: list[bytes] | None) -> None:
    now = world.clock.now
    if tape is None:
        recorded = world.segment.recorded or []
        tape = [data for time, data in recorded if time >= now - BEFORE and data[12:14] == _HELLO]
    if now >= until or not tape:
        return
    # In order mostly: a window of numbers that is not checked lets a recording through only then.
    for data in tape[:: world.chance.choice((1, 1, 2, 3))][:40]:
        at = now + world.chance.randint(0, 90 * MS)
        world.clock.at(at, world.segment.transmit, world.attacker, data)
    world.clock.at(now + 100 * MS, _again, world, until, tape)


def forge(world: World, fault: Fault) -> None:
    """Changed recordings, and ARP or NDP that says a VIP is at the owner's or at another node's MAC."""
    world.segment.record()
    world.clock.at(world.clock.now + 200 * MS, _invent, world, fault)


def _invent(world: World, fault: Fault) -> None:
    now, chance = world.clock.now, world.chance
    if now >= fault.until:
        return
    recorded = [data for _, data in world.segment.recorded or [] if data[12:14] == _HELLO]
    for data in chance.sample(recorded, min(3, len(recorded))):
        world.segment.transmit(world.attacker, _changed(world, data))
    vip = world.clusters[0].vips[fault.vip]
    mac = chance.choice(world.nodes).mac
    form = arp.gratuitous_request if chance.random() < 0.5 else arp.gratuitous_reply
    if len(vip) == 16:
        form = ndp.unsolicited
    world.segment.transmit(world.attacker, form(mac, vip))
    world.clock.at(now + chance.randint(10 * MS, 200 * MS), _invent, world, fault)


def _changed(world: World, data: bytes) -> bytes:
    """Another source, another byte, or cut: none of it passes the tag."""
    chance = world.chance
    way = chance.randrange(3)
    if way == 0:
        return data[:6] + world.segment.ports[world.attacker].mac + data[12:]
    if way == 1:
        at = chance.randrange(14, 70)
        return (
            data[:at] + bytes((data[at] ^ (1 << chance.randrange(8)),)) + data[at + 1 :]
            if at < len(data)
            else data
        )
    return data[: chance.randrange(14, len(data))]

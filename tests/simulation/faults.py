"""What each kind of fault does to a world. `schedule.KINDS` says how they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simulation.api import Objects
from simulation.attacker import forge, replay
from simulation.node import Node, Process
from simulation.schedule import Fault
from simulation.trace import What
from simulation.world import World
from strictarp.hello.auth import Keys
from strictarp.speaker.actions import Kind, Report
from strictarp.speaker.events import DrainEnded, DrainRequested, MoveRequested
from strictarp.speaker.settings import MS, SECOND

Pair = tuple[int, int]
_LOOK = 100 * MS
"""How often a process that is to end is looked at."""


def plan(world: World) -> None:
    """Have every fault of the world's schedule happen at its time."""
    for number, fault in enumerate(world.schedule.faults):
        world.clock.at(fault.at, _begin, world, fault, f"{fault.kind} {number}")


def _begin(world: World, fault: Fault, name: str) -> None:
    world.note(str(fault))
    APPLY[fault.kind](world, fault, name)


def _node(world: World, fault: Fault) -> Node:
    return world.nodes[fault.nodes[0]]


def _owner_or(world: World, fault: Fault) -> Node:
    """The owner of the fault's VIP for faults that matter most there; every third time just its node."""
    owner = world.owner(_vip(world, fault))
    return owner if owner is not None and world.chance.random() < 0.67 else _node(world, fault)


def _vip(world: World, fault: Fault) -> bytes:
    return world.clusters[0].vips[fault.vip]


def _crash(world: World, fault: Fault, name: str) -> None:
    node = _owner_or(world, fault)
    node.kill()
    if fault.amount:
        world.clock.at(fault.until, node.start)


def _pause(world: World, fault: Fault, name: str) -> None:
    node = _owner_or(world, fault)
    node.stop()
    world.clock.at(fault.until, node.wake)


def _stutter(world: World, fault: Fault, name: str) -> None:
    """Stop, a few frames, stop, up to three times: no single gap is as long as the lease."""
    node = _owner_or(world, fault)
    lasts = fault.until - fault.at
    rounds = world.chance.randint(1, 3)

    def again() -> None:
        nonlocal rounds
        rounds -= 1
        pause = lasts * world.chance.randint(600, 1_000) // 1_000
        if rounds > 0:
            world.clock.at(world.clock.now + pause, lambda: node.wake(steps=fault.amount, then=again))
        else:
            world.clock.at(world.clock.now + pause, node.wake)

    node.stop()
    again()


def _pause_in_claim(world: World, fault: Fault, name: str) -> None:
    """The owner dies; whoever claims first is stopped while it claims."""
    owner = world.owner(_vip(world, fault))
    if owner is not None:
        owner.kill()
        world.clock.at(world.clock.now + 6_000 * MS, owner.start)
    seen = False

    def watch(node: Node, report: Report) -> None:
        nonlocal seen
        if report.kind is Kind.CLAIM_STARTED and not seen:
            seen = True
            at = world.clock.now + world.chance.randint(0, world.settings.claim)
            world.clock.at(at, node.stop)
            world.clock.at(at + fault.until - fault.at, node.wake)

    for node in world.nodes:
        node.on_report = watch
    world.clock.at(world.clock.now + 2_000 * MS, _watch_no_more, world)


def _watch_no_more(world: World) -> None:
    for node in world.nodes:
        node.on_report = None


def _stop_amid_actions(world: World, fault: Fault, name: str) -> None:
    node = _owner_or(world, fault)
    if node.process is not Process.RUNNING:
        return
    node.freeze_in = fault.amount
    node.when_stopped = lambda: world.clock.at(world.clock.now + fault.until - fault.at, node.wake)


def _busy(world: World, fault: Fault, name: str) -> None:
    node = _node(world, fault)
    before = node.lag

    def set_lag(lag: int) -> None:
        node.lag = world.segment.ports[node.port].lag = lag

    set_lag(fault.amount)
    world.clock.at(fault.until, set_lag, before)


def _ports(world: World) -> range:
    return range(len(world.segment.ports))


def _cut(world: World, fault: Fault, name: str, pairs: Iterable[Pair], *, unclean: bool = False) -> None:
    segment = world.segment
    segment.cuts[name] = frozenset(pairs)
    if unclean:
        segment.unclean.add(name)
    segment.changed()

    def heal() -> None:
        del segment.cuts[name]
        segment.changed()

    world.clock.at(fault.until, heal)


def _partition(world: World, fault: Fault, name: str) -> None:
    side = {port: world.chance.randrange(fault.amount) for port in _ports(world)}
    _cut(world, fault, name, [(a, b) for a in side for b in side if side[a] != side[b]])


def _one_way(world: World, fault: Fault, name: str) -> None:
    a, b = (world.nodes[number].port for number in fault.nodes)
    _cut(world, fault, name, [(a, b)], unclean=True)


def _dead_receive(world: World, fault: Fault, name: str) -> None:
    port = _owner_or(world, fault).port
    _cut(world, fault, name, [(other, port) for other in _ports(world) if other != port])


def _dead_send(world: World, fault: Fault, name: str) -> None:
    port = _owner_or(world, fault).port
    _cut(world, fault, name, [(port, other) for other in _ports(world) if other != port])


def _deaf(world: World, fault: Fault, name: str) -> None:
    """Two nodes do not hear each other's hellos, and one of them has just been started."""
    a, b = (world.nodes[number] for number in fault.nodes)
    segment = world.segment
    segment.filters[name] = frozenset({(a.port, b.port), (b.port, a.port)})
    segment.changed()
    if world.chance.random() < 0.7:
        a.kill()
        world.clock.at(world.clock.now + 200 * MS, a.start)

    def heal() -> None:
        del segment.filters[name]
        segment.changed()

    world.clock.at(fault.until, heal)


def _set_while(world: World, fault: Fault, name: str, table: dict[str, float], value: float) -> None:
    table[name] = value
    world.segment.changed()

    def end() -> None:
        del table[name]
        world.segment.changed()

    world.clock.at(fault.until, end)


def _loss(world: World, fault: Fault, name: str) -> None:
    _set_while(world, fault, name, world.segment.losses, fault.amount / 1_000)


def _duplicates(world: World, fault: Fault, name: str) -> None:
    _set_while(world, fault, name, world.segment.duplicates, fault.amount / 1_000)


def _reordering(world: World, fault: Fault, name: str) -> None:
    world.segment.scramble[name] = fault.amount
    world.segment.changed()

    def end() -> None:
        del world.segment.scramble[name]
        world.segment.changed()

    world.clock.at(fault.until, end)


def _slow(world: World, fault: Fault, name: str) -> None:
    """Everything to and from some nodes, or one direction of it, takes longer."""
    ports = {world.nodes[number].port for number in fault.nodes}
    way = world.chance.randrange(3)
    pairs = [
        (a, b)
        for a in _ports(world)
        for b in _ports(world)
        if a != b and ((a in ports and way != 1) or (b in ports and way != 2))
    ]
    world.segment.slow_down(name, pairs, fault.amount, until=fault.until)


def _carrier(world: World, fault: Fault, name: str) -> None:
    node = _owner_or(world, fault)
    port = node.port
    others = [other for other in _ports(world) if other != port]
    _cut(world, fault, name, [(port, x) for x in others] + [(x, port) for x in others])
    node.set_link(node.mac, up=False)
    world.clock.at(fault.until, lambda: node.set_link(node.mac, up=True))


def _new_card(world: World, fault: Fault, name: str) -> None:
    node = _owner_or(world, fault)
    world.trace.add(world.clock.now, What.PLAN, node.label, info="new card")
    node.set_link(node.mac[:2] + bytes((world.chance.randrange(1, 255), *node.mac[3:])), up=True)


def _api_slow(world: World, fault: Fault, name: str) -> None:
    for number in fault.nodes:
        watcher = world.api.watchers.get(f"n{number}")
        if watcher is not None:
            watcher.delay = fault.amount
    node = world.nodes[fault.nodes[0]]
    objects = world.api.objects
    # Something to be late about: another node is preferred, or this one is not wanted any more.
    vip = _vip(world, fault)
    scores = {**objects.vips.get(vip, {}), node.identity.name: 5}
    if vip in objects.vips:
        world.api.change(objects._replace(vips={**objects.vips, vip: scores}))

    def end() -> None:
        for number in fault.nodes:
            watcher = world.api.watchers.get(f"n{number}")
            if watcher is not None:
                watcher.delay = 50 * MS

    world.clock.at(fault.until, end)


def _split_vote(world: World, fault: Fault, name: str) -> None:
    """Two candidates each believe to be the first, the owner dies, and the segment is slow."""
    vip = _vip(world, fault)
    owner = world.owner(vip)
    scores = world.api.objects.vips.get(vip)
    others = [node for node in world.nodes if node is not owner]
    if owner is None or scores is None or len(others) < 2:
        return
    chosen = world.chance.choice(others)
    for node in world.nodes:
        world.api.watchers[node.identity.name].delay = 10 * MS if node is chosen else fault.until - fault.at
    world.api.change(
        world.api.objects._replace(vips={**world.api.objects.vips, vip: {**scores, chosen.identity.name: 9}})
    )
    world.clock.at(world.clock.now + 100 * MS, owner.kill)
    world.clock.at(fault.until, owner.start)
    pairs = [(a, b) for a in _ports(world) for b in _ports(world) if a != b]
    world.segment.slow_down(name, pairs, fault.amount, until=fault.until)

    def end() -> None:
        for node in world.nodes:
            world.api.watchers[node.identity.name].delay = 50 * MS

    world.clock.at(fault.until, end)


def _api_away(world: World, fault: Fault, name: str) -> None:
    numbers = range(len(world.nodes)) if fault.amount else fault.nodes
    names = [f"n{number}" for number in numbers if f"n{number}" in world.api.watchers]
    world.api.leave(names)
    world.clock.at(fault.until, world.api.come_back, names)


def _change(world: World, edit: Callable[[Objects], Objects]) -> None:
    world.api.change(edit(world.api.objects))


def _vip_gone(world: World, fault: Fault, name: str) -> None:
    vip = _vip(world, fault)
    before = world.api.objects.vips.get(vip)
    if before is None:
        return
    _change(world, lambda now: now._replace(vips={k: v for k, v in now.vips.items() if k != vip}))
    world.clock.at(fault.until, _change, world, lambda now: now._replace(vips={**now.vips, vip: before}))


def _ineligible(world: World, fault: Fault, name: str) -> None:
    """These nodes may not own the VIP, or any."""
    names = {f"n{number}" for number in fault.nodes}
    one = _vip(world, fault) if fault.amount else None

    def without(now: Objects) -> Objects:
        vips = {
            vip: {k: v for k, v in scores.items() if k not in names} if one in (None, vip) else scores
            for vip, scores in now.vips.items()
        }
        return now._replace(vips=vips)

    def again(now: Objects) -> Objects:
        return now._replace(vips={vip: dict.fromkeys(names, 0) | scores for vip, scores in now.vips.items()})

    _change(world, without)
    world.clock.at(fault.until, _change, world, again)


def _not_ready(world: World, fault: Fault, name: str) -> None:
    names = frozenset(f"n{number}" for number in fault.nodes)
    _change(world, lambda now: now._replace(not_ready=now.not_ready | names))
    world.clock.at(fault.until, _change, world, lambda now: now._replace(not_ready=now.not_ready - names))


def _score(world: World, fault: Fault, name: str) -> None:
    vip, node = _vip(world, fault), f"n{fault.nodes[0]}"

    def set_to(now: Objects, score: int) -> Objects:
        scores = now.vips.get(vip)
        if scores is None or node not in scores:
            return now
        return now._replace(vips={**now.vips, vip: {**scores, node: score}})

    _change(world, lambda now: set_to(now, fault.amount))
    world.clock.at(fault.until, _change, world, lambda now: set_to(now, 0))


def _wish(world: World, fault: Fault, name: str) -> None:
    """A node is to have the Service of this VIP."""
    vip, node = _vip(world, fault), f"n{fault.nodes[0]}"
    first = world.api.objects.beside.get(vip, vip)
    _change(world, lambda now: now._replace(wishes={**now.wishes, first: node}))

    def without(now: Objects) -> Objects:
        return now._replace(wishes={key: each for key, each in now.wishes.items() if key != first})

    world.clock.at(fault.until, _change, world, without)


def _drained_node(world: World, fault: Fault, name: str) -> None:
    """These nodes are to own nothing for a while."""
    names = frozenset(f"n{number}" for number in fault.nodes)
    _change(world, lambda now: now._replace(drained=now.drained | names))
    world.clock.at(fault.until, _change, world, lambda now: now._replace(drained=now.drained - names))


def _move(world: World, fault: Fault, name: str) -> None:
    vip = _vip(world, fault)
    owner = world.owner(vip)
    if owner is not None:
        world.trace.add(world.clock.now, What.PLAN, owner.label, vip, "move")
        to = f"n{fault.nodes[0]}" if fault.amount else None
        owner.feed(MoveRequested(vip, to if to != owner.identity.name else None))


def _drain(world: World, fault: Fault, name: str) -> None:
    node = _owner_or(world, fault)
    if node.process is Process.DEAD:
        return
    world.trace.add(world.clock.now, What.PLAN, node.label, info="drain")
    node.feed(DrainRequested(leave=False))
    world.clock.at(fault.until, node.feed, DrainEnded())


def _leave(world: World, fault: Fault, name: str) -> None:
    """SIGTERM; the node is started again later."""
    node = _owner_or(world, fault)
    if node.process is Process.DEAD:
        return
    world.trace.add(world.clock.now, What.PLAN, node.label, info="drain")
    node.gone_when_finished = True
    node.feed(DrainRequested())

    def restart() -> None:
        node.kill()
        node.start()

    world.clock.at(max(fault.until, world.clock.now + world.settings.drain_grace + 500 * MS), restart)


def _rolling_restart(world: World, fault: Fault, name: str) -> None:
    """One node after the other leaves, is started again, and the next one leaves."""
    _restart_next(world, list(fault.nodes))


def _restart_next(world: World, numbers: list[int]) -> None:
    if not numbers:
        return
    node = world.nodes[numbers[0]]
    if node.process is not Process.DEAD:
        world.trace.add(world.clock.now, What.PLAN, node.label, info="drain")
        node.gone_when_finished = True
        node.feed(DrainRequested())
    deadline = world.clock.now + world.settings.drain_grace + 500 * MS
    world.clock.at(world.clock.now + _LOOK, _restart_when_gone, world, numbers, deadline)


def _restart_when_gone(world: World, numbers: list[int], deadline: int) -> None:
    node = world.nodes[numbers[0]]
    if node.process is not Process.DEAD and world.clock.now < deadline:
        world.clock.at(world.clock.now + _LOOK, _restart_when_gone, world, numbers, deadline)
        return
    node.kill()
    node.start()
    world.clock.at(
        world.clock.now + world.chance.randint(100 * MS, SECOND), _restart_next, world, numbers[1:]
    )


def _new_keys(world: World, fault: Fault, name: str) -> None:
    """The key is rotated as the controller does it: all accept the new one before anybody signs with it.
    Each node learns of each step at its own time.
    """
    old, new = world.clusters[0].keys.current, world.chance.randbytes(32)
    world.clusters[0].keys = Keys(new)
    steps = (Keys(old, new), Keys(new, old), Keys(new))
    for number, keys in enumerate(steps):
        for node in world.nodes:
            at = fault.at + (fault.until - fault.at) * number // 3 + world.chance.randint(0, 900 * MS)
            world.clock.at(at, node.take_keys, keys)


def _replay(world: World, fault: Fault, name: str) -> None:
    replay(world, fault, crash=world.owner(_vip(world, fault)) if fault.amount else None)


def _forgery(world: World, fault: Fault, name: str) -> None:
    forge(world, fault)


def _kernel_answers(world: World, fault: Fault, name: str) -> None:
    node = _node(world, fault)
    node.kernel_answers = True

    def end() -> None:
        node.kernel_answers = False

    world.clock.at(fault.until, end)


def _foreign_host(world: World, fault: Fault, name: str) -> None:
    vip = _vip(world, fault)
    world.foreign.addresses.add(vip)
    world.trace.add(world.clock.now, What.FOREIGN, address=vip, info=True)

    def end() -> None:
        world.foreign.addresses.discard(vip)
        world.trace.add(world.clock.now, What.FOREIGN, address=vip, info=False)

    world.clock.at(fault.until, end)


APPLY: dict[str, Callable[[World, Fault, str], None]] = {
    "crash": _crash,
    "pause": _pause,
    "short pause": _pause,
    "stutter": _stutter,
    "pause in a claim": _pause_in_claim,
    "stop amid actions": _stop_amid_actions,
    "busy": _busy,
    "partition": _partition,
    "one-way link": _one_way,
    "light loss": _loss,
    "heavy loss": _loss,
    "slow": _slow,
    "very slow": _slow,
    "duplicates": _duplicates,
    "reordering": _reordering,
    "dead receive path": _dead_receive,
    "dead send path": _dead_send,
    "deaf": _deaf,
    "carrier": _carrier,
    "new card": _new_card,
    "api slow": _api_slow,
    "api away": _api_away,
    "split vote": _split_vote,
    "vip gone": _vip_gone,
    "ineligible": _ineligible,
    "not ready": _not_ready,
    "score": _score,
    "wish": _wish,
    "drained node": _drained_node,
    "move": _move,
    "drain": _drain,
    "leave": _leave,
    "rolling restart": _rolling_restart,
    "new keys": _new_keys,
    "replay": _replay,
    "forgery": _forgery,
    "kernel answers": _kernel_answers,
    "foreign host": _foreign_host,
}

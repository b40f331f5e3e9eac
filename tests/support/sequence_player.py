"""Plays a sequence on a machine, and compares what is programmed in the end with the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strictarp.kube.objects import EndpointSlice, Service
from strictarp.netlink.ipvs import Key, describe
from strictarp.proxy import nftables
from strictarp.proxy.addresses import show
from strictarp.proxy.engine import NODE_PORTS, Engine
from strictarp.proxy.metrics import Metrics
from strictarp.proxy.operations import Element
from strictarp.proxy.plan import document, flag_names, plan_objects
from strictarp.proxy.seam import HeldServer, KernelRefused, KernelView
from strictarp.proxy.services import FRONTS, is_ours, place_of
from strictarp.proxy.situation import situation
from strictarp.proxy.sync import Syncer
from support.machine import Hands, Killed, Machine, ModelMachine
from support.sequences import (
    Blind,
    Busy,
    Delete,
    Foreign,
    Kill,
    Put,
    Reconfigure,
    Refuse,
    Restart,
    See,
    Sequence,
    Step,
    Turn,
)
from support.stranger import LOSSES, NOTICED, Stranger

DRAIN_LIMIT = 120.0
FULL_LOOK = 60.0
_PROTOCOLS = {6: "TCP", 17: "UDP", 132: "SCTP"}
State = dict[str, object]


class Player:
    """A process after the other on one machine, and what the API holds meanwhile.

    `excused`: virtual servers of ours after somebody else had deleted everything that told whose they are,
    and the process that knew has ended before it could look. What it made after that is not excused.
    """

    def __init__(self, machine: Machine, sequence: Sequence) -> None:
        self.machine = machine
        self.stranger = Stranger(machine)
        self.excused: set[Key] = set()
        self.processes = 0
        self._sequence = sequence
        self._services: dict[str, Service] = {}
        self._slices: dict[str, EndpointSlice] = {}
        self._config, self._node = sequence.config, sequence.node
        self._dead: frozenset[str] = frozenset()
        self._now = 1000.0
        self._at_risk: set[Key] = set()
        self._notice = False

    async def play(self) -> None:
        """All of it, until everything is quiet."""
        await self.begin()
        self.machine.faults.clear()
        if self._sequence.ends and isinstance(self.machine, ModelMachine):
            self.machine.table.connections.clear()
        await self._settle()

    async def begin(self) -> None:
        """All its steps."""
        await self._start()
        for step in self._sequence.steps:
            await self._step(step)

    async def _start(self) -> None:
        """A new process; one that ends while it starts is followed by the next."""
        while True:
            self.processes += 1
            facts = situation(self._config, self._node)
            self.engine = Engine(self._config, facts, DRAIN_LIMIT)
            self.hands = self.machine.hands()
            self.syncer = self._syncer(self.hands)
            for each in self._services.values():
                self._feed_service(each.key, each)
            for piece in self._slices.values():
                self._feed_slice(piece.key, None, piece)
            try:
                await self.hands.prepare()
                await self.syncer.skeleton()
            except (Killed, KernelRefused, OSError):
                self.machine.faults.left = None
                continue
            return

    def _syncer(self, hands: Hands) -> Syncer:
        return Syncer(
            self.engine,
            hands,
            lambda elements: nftables.whole_table(self._config, (), elements, self._node.families),
            min_period=0.0,
            full_look=FULL_LOOK,
            metrics=Metrics(),
            clock=lambda: self._now,
        )

    async def _step(self, step: Step) -> None:
        match step:
            case Put(item):
                self._put(item)
            case Delete(key):
                self._delete(key)
            case See(node, dead):
                self._node, self._dead = node, dead
                self._see()
            case Reconfigure(config):
                self._config = config
                self.engine.reconfigure(config)
                self._see()
                self.syncer.reload_table()
            case Turn(after):
                await self.turn(after)
            case Refuse(numbers):
                self.machine.faults.refusals += numbers
            case Blind(questions):
                self.machine.faults.blind = questions
            case Foreign(what, pick):
                await self._disturb(what, pick)
            case Busy(pick):
                await self._connect(pick)
            case _:
                await self._end(step)

    async def _disturb(self, what: str, pick: int) -> None:
        await self.stranger.do(what, pick)
        if what in LOSSES:
            self._at_risk |= (await self.stranger.look()).servers.keys()
            if self.hands.looks == 0:
                await self._excuse()  # of what its predecessor knew this one has seen nothing yet
        if what in NOTICED and pick % 2:
            self.syncer.look_soon()
        elif what in NOTICED:
            self._notice = True  # the event comes after the next turn

    async def _end(self, step: Restart | Kill) -> None:
        match step:
            case Restart():
                await self._again()
            case Kill(after):
                self.machine.faults.left = after
                await self.turn(0.0)
                if self.machine.faults.left is not None:  # it lived: then it dies now
                    self.machine.faults.left = None
                    await self._again()

    # --- objects, as the daemon's watches give them --------------------------------------------------------

    def _put(self, item: Service | EndpointSlice) -> None:
        if isinstance(item, Service):
            self._services[item.key] = item
            self._feed_service(item.key, item)
        else:
            old = self._slices.get(item.key)
            self._slices[item.key] = item
            self._feed_slice(item.key, old, item)

    def _delete(self, key: str) -> None:
        if self._services.pop(key, None) is not None:
            self._feed_service(key, None)
        elif (old := self._slices.pop(key, None)) is not None:
            self._feed_slice(key, old, None)

    def _feed_service(self, key: str, new: Service | None) -> None:
        """The watch leaves out what is for another proxy: it is deleted when it becomes so."""
        self.engine.store.service(key, new if new and is_ours(new.metadata.labels) else None)

    def _feed_slice(self, key: str, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        before = old if old and is_ours(old.metadata.labels) else None
        self.engine.store.slice(key, before, new if new and is_ours(new.metadata.labels) else None)

    def _see(self) -> None:
        self.engine.see(situation(self._config, self._node, self._dead))

    # --- processes -----------------------------------------------------------------------------------------

    async def turn(self, after: float = 0.0) -> None:
        """The process works, `after` some seconds; it may be killed, then the next one is there."""
        self._now += after
        looks = self.hands.looks
        try:
            await self.syncer.turn()
        except Killed:
            self.machine.faults.left = None
            await self._again()
            return
        if self.hands.looks > looks and not self.syncer.failing:
            self._at_risk.clear()
        if self._notice:
            self.syncer.look_soon()
            self._notice = False
        self._see()  # a new process hears of dead nodes only after its first turn

    async def _again(self) -> None:
        """The process is gone; the next one, which looks first of all, starts over what is left."""
        await self._excuse()
        self._at_risk.clear()
        await self._start()

    async def _excuse(self) -> None:
        """Whose these are nobody can tell any more who has not seen it before."""
        if not self._at_risk:
            return
        view, elements = await self.stranger.look(), await self.stranger.elements()
        named = {element for name, element in elements if name in FRONTS}
        self.excused |= {
            key
            for key in self._at_risk & view.servers.keys()
            if key[1] not in view.bound
            and place_of(key) not in named
            and not (key[1] in self._node.addresses and key[2] in NODE_PORTS)
        }

    # --- connections, which only the model can have --------------------------------------------------------

    async def _connect(self, pick: int) -> None:
        if not isinstance(self.machine, ModelMachine):
            return
        places = sorted(
            (key, *place) for key, (_, reals) in self.machine.table.table.items() for place in reals
        )
        if places:
            self.machine.table.connections[places[pick % len(places)]] = (pick % 3, pick % 2)

    # --- the end -----------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Until nothing drains, fails or is doubted: a doubt lasts a minute, a drain as long as its limit."""
        for turns in range(40):
            await self.turn(31.0)
            if turns >= 3 and self._quiet():
                break
        else:
            raise AssertionError(f"never quiet: {self.syncer.failing or 'something still drains'}")
        self.syncer.look_soon()
        await self.turn(1.0)
        found, wanted = await self.found(), self.wanted()
        assert found == wanted, differences(found, wanted)
        before = self.machine.faults.changes
        await self.turn(61.0)
        assert self.machine.faults.changes == before, "it goes on changing what is as planned"

    def _quiet(self) -> bool:
        engine = self.engine
        busy = engine.failed or len(engine.drains) or engine.desired.leaving or len(engine.store)
        return not (busy or self.syncer.failing)

    def wanted(self) -> State:
        """What `strictarp proxy plan` says of the objects as they are now."""
        desired, warnings = plan_objects(self._services.values(), self._slices.values(), self.engine.facts)
        made = document(desired, self._config, warnings)
        return {**plan_state(made), "healthCheckNodePorts": made["healthCheckNodePorts"]}

    async def found(self) -> State:
        """What the kernel holds, in the plan's form; without what is somebody else's, which must be whole."""
        view = await self.stranger.look()
        held = dict(view.servers)
        for key, (server, reals) in self.stranger.servers.items():
            assert key in held, f"{describe(key)} of somebody else is gone"
            seen = held.pop(key)
            assert (seen.server, {state.server for state in seen.reals.values()}) == (server, reals)
        assert self.stranger.addresses <= view.bound, "addresses of somebody else are gone"
        may_stay = (self.excused | self.stranger.taken) - set(self.engine.desired.keys())
        ours = KernelView(
            {key: each for key, each in held.items() if key not in may_stay},
            view.bound - self.stranger.addresses,
        )
        health = {
            key: {"port": port, "localEndpoints": count}
            for key, (port, count) in sorted(self.engine.health.items())
        }
        return {**kernel_state(ours, await self.stranger.elements()), "healthCheckNodePorts": health}


def kernel_state(view: KernelView, elements: Iterable[Element]) -> State:
    """What the kernel holds, in the form of `plan_state`."""
    sets: dict[str, list[str]] = {name: [] for name in sorted(nftables.SETS.keys() - nftables.IMPLIED)}
    for name, element in sorted(elements):
        if name in sets:
            sets[name].append(element)
    return {
        "servers": _servers(view.servers),
        "addresses": [show(each) for each in sorted(view.bound, key=lambda each: (len(each), each))],
        "sets": sets,
    }


def plan_state(plan: Mapping[str, object]) -> State:
    """What must be in the kernel after the document that `strictarp proxy plan` prints."""
    servers = plan["virtualServers"]
    assert isinstance(servers, list)
    return {
        "servers": {f"{each['protocol']} {each['address']}:{each['port']}": each for each in servers},
        "addresses": plan["addresses"],
        "sets": plan["sets"],
    }


def _servers(held: Mapping[Key, HeldServer]) -> dict[str, object]:
    return {
        f"{_PROTOCOLS[key[0]]} {show(key[1])}:{key[2]}": {
            "address": show(key[1]),
            "port": key[2],
            "protocol": _PROTOCOLS[key[0]],
            "scheduler": each.server.scheduler,
            "flags": flag_names(each.server),
            "timeout": each.server.timeout,
            "realServers": [
                {"address": show(address), "port": port, "weight": state.server.weight}
                for (address, port), state in sorted(each.reals.items())
            ],
        }
        for key, each in held.items()
    }


def differences(found: State, wanted: State) -> str:
    """Only what differs, for people."""
    lines = []
    for name in wanted:
        here, there = found[name], wanted[name]
        if isinstance(here, dict) and isinstance(there, dict):
            for key in sorted({*here, *there}):
                if here.get(key) != there.get(key):
                    lines.append(f"{name} {key}: found {here.get(key)}, planned {there.get(key)}")
        elif here != there:
            lines.append(f"{name}: found {here}, planned {there}")
    return "\n".join(lines)

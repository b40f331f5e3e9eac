"""The proxy's core as a machine without I/O: objects in, operations out, outcomes back in. Pure.

The shell calls `steps` for what is due, carries the operations out and tells each outcome to `done`; what was
refused stays touched and comes again with the next `steps`. `looked` takes in a full look at the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from strictarp.netlink.ipvs import Key
from strictarp.proxy.addresses import inside
from strictarp.proxy.config import Config
from strictarp.proxy.diff import Steps, diff, draining
from strictarp.proxy.drains import FIRST_LOOK, Drains
from strictarp.proxy.lingering import leftovers, may_linger
from strictarp.proxy.mirror import Mirror
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    ChangeSets,
    Element,
    Operation,
    RemoveReal,
    RemoveServer,
    SetReal,
    SetServer,
    UnbindAddress,
)
from strictarp.proxy.seam import KernelView, SchedulerMissing
from strictarp.proxy.services import FRONTS, Contribution, Exposure, place_of, plan_service
from strictarp.proxy.situation import Situation
from strictarp.proxy.state import Desired, Touched
from strictarp.proxy.store import Store

BATCH = 200
"""Services planned in one go; between two the event loop gets its turn."""
NODE_PORTS = range(30000, 32768)
_OF_REALS = (AddReal, SetReal, RemoveReal)


class Engine:
    """Store, desired state, mirror and drains of one node, and what is still to do.

    unsure: parts of which nobody knows what became of an operation. health: Service → its
    healthCheckNodePort and the number of its endpoints here. no_local: Service → traffic policies that ask
    for local endpoints while there are only others.
    """

    def __init__(self, config: Config, facts: Situation, drain_limit: float) -> None:
        self.store = Store()
        self.desired = Desired()
        self.mirror = Mirror()
        self.drains = Drains(drain_limit)
        self.facts = facts
        self.failed = Touched()
        self.unsure = Touched()
        self._names: set[Element] = set()
        self.warnings: dict[str, tuple[str, ...]] = {}
        self.health: dict[str, tuple[int, int]] = {}
        self.no_local: dict[str, frozenset[str]] = {}
        self._config = config

    def reconfigure(self, config: Config) -> None:
        """What is decided here by the configuration alone; `see` follows with new facts."""
        self._config = config

    def see(self, facts: Situation) -> None:
        """The node changed: plan again what depends on it.

        Endpoints of nodes that died or came back concern only the Services that have some there, and
        addresses of other nodes only those that have them too.
        """
        before = self.facts
        self.facts = facts = msgspec.structs.replace(facts, missing=before.missing)
        if before == facts:
            return
        if msgspec.structs.replace(before, dead=facts.dead, others=facts.others) != facts:
            self.store.mark_all()
            return
        for node in before.dead ^ facts.dead:
            self.store.mark(*self.desired.services_on(node))
        moved = {address for address, _ in before.others.items() ^ facts.others.items()}
        if moved:
            self.store.mark(*self.desired.services_at(moved))

    def plan(self, limit: int = BATCH) -> tuple[Touched, list[tuple[str, str]]]:
        """Plan at most `limit` waiting Services; what may have changed, and new warnings by Service."""
        touched = Touched()
        news: list[tuple[str, str]] = []
        for key in self.store.take(limit):
            service = self.store.services.get(key)
            new = plan_service(service, self.store.slices(key), self.facts) if service else None
            touched.unite(self.desired.put(key, new, self._lingers))
            self._note(key, new)
            news += [(key, warning) for warning in self._news(key, new)]
        return touched, news

    def _lingers(self, exposure: Exposure) -> bool:
        """Connections through a virtual server that is not wanted any more may end by themselves.

        Those of TCP, since others have no end; not those through an address of a load balancer, which may be
        given to another Service, on another node, at once.
        """
        held = self.mirror.servers.get(exposure.server.key)
        return may_linger(exposure) and held is not None and not held.empty

    def _note(self, key: str, new: Contribution | None) -> None:
        if new is not None and new.no_local:
            self.no_local[key] = new.no_local
        else:
            self.no_local.pop(key, None)
        if new is not None and new.health is not None:
            self.health[key] = new.health
        else:
            self.health.pop(key, None)

    def _news(self, key: str, new: Contribution | None) -> list[str]:
        """Warnings of a Service that were not told before: each part that is refused is logged once."""
        found = (*new.warnings, *self.desired.conflicts(new.exposures)) if new else ()
        known = self.warnings.pop(key, ())
        if found:
            self.warnings[key] = found
        return [warning for warning in found if warning not in known]

    def steps(self, touched: Touched) -> Steps:
        """What is to be done about the touched parts."""
        return diff(touched, self.desired, self.mirror)

    def everything(self) -> Touched:
        """All parts that exist or should."""
        return Touched(
            {*self.desired.keys(), *self.mirror.servers},
            {*self.desired.bound, *self.mirror.bound},
            {*self.desired.elements, *self.mirror.elements},
        )

    def parts_of_service(self, contribution: Contribution) -> Touched:
        """The parts that one Service needs."""
        touched = Touched(keys=set(contribution.exposures))
        for exposure in contribution.exposures.values():
            touched.elements.update(exposure.elements)
            if exposure.bind:
                touched.addresses.add(exposure.server.address)
        return touched

    def done(self, operations: Sequence[Operation], outcomes: Sequence[str | None]) -> list[str]:
        """Take in what became of operations; the reasons of those that were refused."""
        reasons = []
        changed: set[Key] = set()
        for operation, reason in zip(operations, outcomes, strict=True):
            if reason is None:
                self.mirror.record(operation)
                if isinstance(operation, _OF_REALS):
                    changed.add(operation.key)
                continue
            self.failed.unite(parts_of(operation))
            if not (isinstance(reason, SchedulerMissing) and self._do_without(operation)):
                reasons.append(reason)
        for key in changed:
            self._settle(key)
        return reasons

    def stands_on_held(self, operation: Operation) -> bool:
        """Whether the mirror holds what an operation stands on. The real servers of a virtual server that
        was just refused stand on nothing: that they find none tells of no loss.
        """
        return not isinstance(operation, AddReal | SetReal) or operation.key in self.mirror.servers

    def unanswered(self, operations: Sequence[Operation]) -> None:
        """Nobody knows what became of these: the next look counts what they name as ours."""
        for operation in operations:
            self.unsure.unite(parts_of(operation))

    def _do_without(self, operation: Operation) -> bool:
        """A Service asks for a scheduler that the kernel lacks: those that do are planned again without it.

        False for the configuration's own scheduler, which nothing can stand in for.
        """
        if not isinstance(operation, AddServer | SetServer):
            return False
        name = operation.server.scheduler
        if name == self.facts.scheduler:
            return False
        self.facts = msgspec.structs.replace(self.facts, missing=self.facts.missing | {name})
        self.store.mark(
            *(
                key
                for key, contribution in self.desired.contributions.items()
                if any(exposure.server.scheduler == name for exposure in contribution.exposures.values())
            )
        )
        return True

    def without_new(self, servers: Sequence[Operation]) -> list[Operation]:
        """What may be done to virtual servers when set elements were refused; new ones are noted as refused.

        Without SNAT they would send traffic astray, and a later process could not tell that they are ours.
        """
        new = {operation.server.key for operation in servers if isinstance(operation, AddServer)}
        self.failed.keys |= new
        return [operation for operation in servers if not parts_of(operation).keys <= new]

    def without_names(self, last_sets: Sequence[Operation]) -> list[Operation]:
        """What may leave the sets: not the name of a virtual server that is not, or may not be, removed yet.

        By it a later process tells that the server is ours. What stays is noted as refused.
        """
        stay = {place_of(key) for key in (self.failed.keys & self.mirror.servers.keys()) | self.unsure.keys}
        kept: list[Operation] = []
        for operation in last_sets:
            if not (isinstance(operation, ChangeSets) and stay):
                kept.append(operation)
                continue
            named = {each for each in operation.remove if each[0] in FRONTS and each[1] in stay}
            self.failed.elements |= named
            if rest := tuple(each for each in operation.remove if each not in named):
                kept.append(ChangeSets(remove=rest))
        return kept

    def follow_drains(self, touched: Touched, now: float) -> None:
        """Note which real servers of the touched virtual servers are draining."""
        for key in touched.keys:
            # Most deleted Services have no connection: one look, now, and they are gone.
            first_look = 0.0 if key in self.desired.leaving else FIRST_LOOK
            self.drains.set(key, draining(key, self.desired, self.mirror), now, first_look)

    def _settle(self, key: Key) -> None:
        held, wanted = self.mirror.servers.get(key), self.desired.exposure(key)
        if held is not None and wanted is not None:
            held.as_wanted(wanted.reals)

    def left(self, key: Key) -> Touched:
        """What has to be done about a virtual server after its real servers were looked at."""
        held = self.mirror.servers.get(key)
        if key not in self.desired.leaving or (held is not None and not held.empty):
            return Touched()
        return self.desired.left(key)

    def take_failed(self) -> Touched:
        """What was refused and is to be tried again."""
        failed, self.failed = self.failed, Touched()
        return failed

    def looked(self, view: KernelView, *, adopt: bool) -> Touched:
        """Take in a full look; what is not wanted any more, after what was seen.

        Ours is what we want and what we knew. With `adopt`, at the start, also what an earlier process left:
        all addresses of kube-ipvs0, virtual servers that our nftables sets name (elements go last), those on
        addresses of kube-ipvs0, and on the node's own within the NodePort range; but never what is in
        excludeCIDRs unless we want it. `elements_are` comes before.
        """
        known = self.mirror.servers.keys() | self.unsure.keys
        self.mirror.look(view, self._ours(view, known, adopt=adopt), self._our_address(adopt=adopt))
        for key in self.mirror.servers:
            self._settle(key)
        self.unsure = Touched()
        left = Touched()
        for key in tuple(self.desired.leaving):
            left.unite(self.left(key))
        if adopt:
            for exposure in leftovers(view, self.mirror, self.desired):
                self.desired.linger(exposure)
        return left

    def _our_address(self, *, adopt: bool) -> Callable[[bytes], bool]:
        known = self.mirror.bound | self.unsure.addresses

        def ours(address: bytes) -> bool:
            if address in self.desired.bound:
                return True
            return not inside(address, self._config.exclude) and (adopt or address in known)

        return ours

    def _ours(self, view: KernelView, known: set[Key], *, adopt: bool) -> Callable[[Key], bool]:
        journal = {element for name, element in self.mirror.elements if name in FRONTS} if adopt else set()

        def ours(key: Key) -> bool:
            _, address, port = key
            if self.desired.exposure(key) is not None:
                return True
            if inside(address, self._config.exclude):
                return False
            left = address in view.bound or (address in self.facts.host and port in NODE_PORTS)
            return key in known or (adopt and (left or place_of(key) in journal))

        return ours

    def names_lost(self) -> set[Element]:
        """Names that our sets lost, of virtual servers that are still to go: nothing wanted brings them back.

        By its name a later process tells that a server is ours.
        """
        if self._names:
            still = {place_of(key) for key in self.mirror.servers if self.desired.exposure(key) is None}
            self._names = {each for each in self._names - self.mirror.elements if each[1] in still}
        return self._names

    def elements_are(self, elements: set[Element]) -> None:
        """The sets of our nftables table hold exactly these now."""
        self._names |= {each for each in self.mirror.elements - elements if each[0] in FRONTS}
        wanted = {element for element in self.desired.elements if element in elements}  # no second copies
        self.mirror.elements = wanted | (elements - wanted)


def parts_of(operation: Operation) -> Touched:
    """What has to be compared again when an operation was refused."""
    match operation:
        case BindAddress(address) | UnbindAddress(address):
            return Touched(addresses={address})
        case ChangeSets(add, remove):
            return Touched(elements={*add, *remove})
        case AddServer(server) | SetServer(server):
            return Touched(keys={server.key})
        case RemoveServer(key):
            return Touched(keys={key})
        case _:
            return Touched(keys={operation.key})


def unprepared(binds: Sequence[Operation], failed: Touched, *, sets_failed: bool) -> list[Operation]:
    """Addresses that must not become local yet: SNAT, or their virtual server, is not there.

    They are to be noted as refused, and come again.
    """
    waiting = {address for _, address, _ in failed.keys}
    return [
        bind for bind in binds if isinstance(bind, BindAddress) and (sets_failed or bind.address in waiting)
    ]

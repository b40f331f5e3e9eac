"""Brings the kernel to what the engine wants, turn by turn. Thin: engine, drains and caution decide."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from strictarp.netlink.conntrack import UDP
from strictarp.proxy import slow_look
from strictarp.proxy.caution import Caution
from strictarp.proxy.diff import Steps
from strictarp.proxy.engine import Engine, parts_of, unprepared
from strictarp.proxy.flows import Round, concerned, stale
from strictarp.proxy.metrics import Metrics
from strictarp.proxy.nft_listing import BadListing, parse_listings
from strictarp.proxy.nftables import FAMILIES, INTERVALS, TABLE
from strictarp.proxy.operations import BindAddress, ChangeSets, Element, Operation, describe_operation
from strictarp.proxy.seam import Impossible, Kernel, KernelRefused, Vanished
from strictarp.proxy.state import Touched
from strictarp.proxy.store import FIRST

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0
DOUBT_SECONDS = 60.0
PART = 1024
"""Operations that are encoded, sent and noted at a time."""
WATCH_SECONDS = 2.0
"""IPVS tells nobody when it is flushed: so often one virtual server is asked for."""
_MOST_REASONS, _MOST_TOLD = 5, 1000
_OUTSIDE = (KernelRefused, BadListing, OSError, TimeoutError)


async def _nothing(_: Sequence[BindAddress]) -> None:
    """Nobody needs to know before."""


class Syncer:
    """One node's loop. `table`: text of our whole nftables table with given elements. `on_turn`: called after
    each turn. `before_binds`: called before addresses are bound. `min_period`: seconds from the begin of a
    turn to that of the next.

    `on_drift`: called with how many differences, made by others, a full look repaired. `on_warning`: called
    with a Service and what of it cannot be served. Both may be set before the first turn.

    `failing`: why the last turn did not do everything; Impossible when it did all that can be done. `settled`
    is set when a first turn did all that can be done.
    """

    def __init__(
        self,
        engine: Engine,
        kernel: Kernel,
        table: Callable[[Iterable[Element]], str],
        *,
        min_period: float,
        full_look: float,
        metrics: Metrics,
        on_turn: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.failing = ""
        self.settled = asyncio.Event()
        self._kernel = kernel
        self._table = table
        self._clock = clock
        self.min_period = min_period
        self._full_look = full_look
        self._metrics = metrics
        self._on_turn = on_turn
        self.on_drift: Callable[[int], None] = lambda _: None
        self.on_warning: Callable[[str, str], None] = lambda _service, _warning: None
        self.before_binds: Callable[[Sequence[BindAddress]], Awaitable[None]] = _nothing
        self._caution = Caution(DOUBT_SECONDS)
        self._flows = Round()
        self._flows_fail = ""
        self._told: set[str] = set()
        self._vanished = False
        self._looked = False
        self._rules: tuple[str, ...] | None = None
        self._table_due = True
        self._look_at = 0.0
        self._look_asked = False
        self._watch_at = 0.0
        self._retry_at: float | None = None
        self._retry_wait = FIRST_RETRY
        self._queued_at: float | None = None
        self._working_on: float | None = None
        self._wake = asyncio.Event()
        self._started = False
        self._slow: asyncio.Task[bool] | None = None
        self._meanwhile = Touched()

    def wake(self) -> None:
        """Something is to be done: objects or the node changed."""
        if self._queued_at is None:
            self._queued_at = self._clock()
        self._wake.set()

    @property
    def waiting_since(self) -> float | None:
        """When the oldest change came that no finished turn has taken in, or the kernel began to refuse what
        a look wanted to repair; None without either. What is impossible counts as done: else one Service's
        endpoint would make the node look ill for all.
        """
        return self._working_on or self._queued_at

    def reload_table(self) -> None:
        """What the text of the table depends on has changed."""
        self._table_due = True
        self.wake()

    def look_soon(self) -> None:
        """Compare everything with the kernel in the next turn, also when a look is under way now."""
        self._look_asked = True
        self.wake()

    async def run(self) -> None:
        """Turn after turn, forever. Call it when all objects are known."""
        try:
            while True:
                started = self._clock()
                await self.turn()
                await self._rest(started)
        finally:
            self._end_slow_look()

    async def turn(self) -> None:
        """Do what is due now."""
        self._wake.clear()
        started = self._clock()
        self._working_on = self._working_on or self._queued_at
        self._queued_at = None
        worked = await self._turn(started)
        if not self.failing:
            self._told.clear()
        if not self.failing or isinstance(self.failing, Impossible):
            self.settled.set()
            self._working_on = None
        else:
            self._working_on = self._working_on or started
        if len(self.engine.store):
            self._wake.set()  # the kernel's answers changed plans
        if worked:
            seconds = self._clock() - started
            self._metrics.synced(seconds, full=self._looked, failed=bool(self.failing))
        self._on_turn()

    async def skeleton(self) -> None:
        """Make our tables, without elements, on a node that has none: SNAT is there before anything else.

        Raises KernelRefused.
        """
        if not any(await self._tables(elements=False)):
            await self._kernel.load_rules(self._table(()))

    async def _rest(self, started: float) -> None:
        """Sleep until something is to be done, and at least minSyncPeriod after the turn began."""
        now = self._clock()
        due = [
            self._look_at,
            self._watch_at,
            self._retry_at,
            self.engine.drains.next_look(),
            self._caution.look_at(),
            self._flows.next_at(),
        ]
        limit = min(moment for moment in due if moment is not None)
        if self.failing:
            limit = max(limit, now + FIRST_RETRY)
        if limit > now:
            try:
                async with asyncio.timeout(limit - now):
                    await self._wake.wait()
            except TimeoutError:
                pass
        pause = started + self.min_period - self._clock()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _turn(self, now: float) -> bool:
        """Whether there was something to do, rather than only to ask after."""
        touched = Touched()
        self._looked = False
        before, self.failing = self.failing, ""
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            touched.unite(self.engine.take_failed())
        touched.unite(await self._plan())
        doubt_over = self._caution.look_at()
        try:
            await self._watch(now)
            due = self._look_asked or (now >= self._look_at and not self._begin_slow_look(now))
            due |= self._slow_look_found()
            if due or (doubt_over is not None and now >= doubt_over):
                await self._whole(now, touched)
            elif self._started:
                await self._carry_out(self.engine.steps(touched), touched)
                if self._vanished:
                    # Mended piecemeal, what is left could not be told from foreign after an end of this
                    # process, and the rest would wait for the next full look.
                    self.failing = ""
                    await self._whole(now, touched)
            await self._drain(now)
            await self._end_stale_flows(now)
        except _OUTSIDE as error:
            self.engine.failed.unite(touched)
            self._fail(str(error))
            # What went out before may have been done without an answer: the mirror is not to be trusted.
            self._look_at = now + self._retry_wait
        if self.failing:
            self._retry_at = now + self._retry_wait
            self._retry_wait = min(2 * self._retry_wait, LONGEST_RETRY)
        elif self.engine.failed or not self._started:
            self.failing = before
        else:
            self._retry_wait = FIRST_RETRY
        return bool(touched) or self._looked or bool(self.failing)

    async def _plan(self) -> Touched:
        touched = Touched()
        while len(self.engine.store):
            part, warnings = self.engine.plan()
            touched.unite(part)
            for service, warning in warnings:
                log.warning(warning)
                self.on_warning(service, warning)
            await asyncio.sleep(0)
        return touched

    async def _watch(self, now: float) -> None:
        """Somebody may have flushed IPVS: a kube-proxy that starts in another mode, or `ipvsadm -C`."""
        if now < self._watch_at:
            return
        self._watch_at = now + WATCH_SECONDS
        one = next(iter(self.engine.mirror.servers), None)
        if self._started and one is not None and not await self._kernel.holds(one):
            self._look_at = 0.0

    def _begin_slow_look(self, now: float) -> bool:
        """Compare everything while changes go on, where that takes its time. False: it has to be at once."""
        at_once = not self._started or self._look_at == 0.0 or self._table_due or self._rules is None
        if at_once or self.failing or len(self.engine.mirror.servers) <= slow_look.FEW:
            return False
        self._end_slow_look()
        self._look_at = now + self._full_look
        self._meanwhile = Touched()
        self._slow = asyncio.create_task(
            slow_look.differs(self._kernel, self.engine, self._tables, self._rules or (), self._meanwhile)
        )
        self._slow.add_done_callback(self._slow_look_over)
        return True

    def _slow_look_over(self, look: asyncio.Task[bool]) -> None:
        if not look.cancelled():
            look.exception()  # taken note of, also when nobody waits for the result any more
            self._wake.set()

    def _slow_look_found(self) -> bool:
        """The slow look is over and found a difference, or could not look."""
        if self._slow is None or not self._slow.done():
            return False
        ended, self._slow = self._slow, None
        try:
            return ended.result()
        except _OUTSIDE:
            return True  # the look at once tells why

    def _end_slow_look(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    async def _whole(self, now: float, touched: Touched) -> None:
        """A full look at the kernel, and everything that differs. `touched`: what was to change anyhow."""
        self._end_slow_look()
        engine = self.engine
        self._looked = True
        self._look_asked = False
        self._look_at = 0.0  # what fails on the way leads to another look
        self._vanished = False
        drift = await self._look(touched)
        touched = engine.everything()
        first = engine.desired.contributions.get(FIRST)
        if first is not None and not self._started:
            some = engine.parts_of_service(first)
            await self._carry_out(engine.steps(some).without_removals(), some)
        steps = engine.steps(touched)
        removals, held = steps.leaving(), engine.mirror.size()
        if not self._caution.believes(
            removals=removals, held=held, empty=engine.desired.carries_nothing(), now=now
        ):
            log.warning(
                "nearly everything would be removed: waiting whether the API stays with it",
                extra={"fields": {"removals": removals, "held": held, "seconds": DOUBT_SECONDS}},
            )
            steps = steps.without_removals()
        await self._carry_out(steps, touched)
        if not self._started:
            self._flows.add(key for key in engine.mirror.servers if key[0] == UDP)
        elif drift:
            log.warning("the kernel differed from what was programmed", extra={"fields": {"repairs": drift}})
            self._metrics.repaired(drift)
            self.on_drift(drift)
        self._started = True
        self._look_at = now + (FIRST_RETRY if self._vanished else self._full_look)

    async def _look(self, touched: Touched) -> int:
        """Take in what the kernel holds; how many differences others made, the first time 0.

        Our table is loaded whole when it is not as we left it, or what it is made of changed.
        """
        engine, drift = self.engine, 0
        await self._kernel.prepare()
        listing = parse_listings(await self._tables())
        engine.elements_are(set(listing.elements))
        self._flows.add(key for key in engine.unsure.keys if key[0] == UDP)
        expected = engine.looked(await self._kernel.view(), adopt=not self._started)
        expected.unite(touched)
        expected.unite(engine.take_failed())
        if self._started:
            steps = engine.steps(engine.everything().without(expected))
            # In doubt removals wait; they are no drift.
            drift = len((steps if self._caution.look_at() is None else steps.without_removals()).all())
        due = self._table_due or self._rules is None
        tampered = not due and self._rules is not None and listing.rules != self._rules
        if due or tampered or engine.names_lost():
            await self._load_table()
        return drift + tampered

    async def _tables(self, *, elements: bool = True) -> list[bytes]:
        """Our tables as nft lists them."""
        families = [FAMILIES[width] for width in self.engine.facts.families]
        return [await self._kernel.list_rules(family, TABLE, elements=elements) for family in families]

    async def _load_table(self) -> None:
        """Replace the table. A change of what it is made of, while nft works, makes it due again."""
        due, self._table_due = self._table_due, False
        try:
            await self._replace_table()
        except _OUTSIDE:
            self._table_due |= due
            raise

    async def _replace_table(self) -> None:
        """In one transaction. What is still in use of an earlier process stays in."""
        engine = self.engine
        self._end_slow_look()  # it would take the old table for a difference, or the new one
        wanted = set(engine.desired.elements)
        left = engine.mirror.elements | engine.names_lost()
        loaded = wanted | left
        try:
            await self._kernel.load_rules(self._table(loaded))
        except KernelRefused:
            self._metrics.nft_failed()
            # Intervals of both may overlap. The rest of what is left names virtual servers that are still
            # there: without it a later process would take them for somebody else's.
            apart = {element for element in left if element[0] != INTERVALS}
            if wanted | apart == loaded:
                raise
            loaded = wanted | apart
            await self._kernel.load_rules(self._table(loaded))
        self._rules = parse_listings(await self._tables(elements=False)).rules
        engine.elements_are(loaded)

    async def _carry_out(self, steps: Steps, touched: Touched) -> None:
        """SNAT, then virtual servers, then addresses, then removals; each only on what it stands on."""
        if self._table_due and self._started:
            await self._load_table()
        sets_failed = not await self._apply(steps.sets)
        await self._apply(self.engine.without_new(steps.servers) if sets_failed else steps.servers)
        wait = unprepared(steps.binds, self.engine.failed, sets_failed=sets_failed)
        self.engine.done(wait, ["waits for SNAT and virtual servers"] * len(wait))
        held_back = set(wait)
        binds = [bind for bind in steps.binds if bind not in held_back]
        await self.before_binds([bind for bind in binds if isinstance(bind, BindAddress)])
        await self._apply(binds)
        await self._apply(steps.removals)
        await self._apply(self.engine.without_names(steps.last_sets))
        self.engine.follow_drains(touched, self._clock())

    async def _apply(self, operations: Sequence[Operation]) -> bool:
        """Whether everything was carried out. Part by part: their messages need not all be there at once."""
        done = [
            await self._apply_part(operations[start : start + PART])
            for start in range(0, len(operations), PART)
        ]
        return all(done)

    async def _apply_part(self, operations: Sequence[Operation]) -> bool:
        if self._slow is not None:
            for operation in operations:
                self._meanwhile.unite(parts_of(operation))
        try:
            outcomes = await self._kernel.apply(operations)
        except _OUTSIDE:
            self.engine.unanswered(operations)
            raise
        self._flows.add(concerned(operations, outcomes, self.engine.mirror))
        reasons = self.engine.done(operations, outcomes)
        self._vanished |= any(
            isinstance(outcome, Vanished) and self.engine.stands_on_held(operation)
            for operation, outcome in zip(operations, outcomes, strict=True)
        )
        self._metrics.applied(len(operations), len(reasons))
        if any(
            o is not None
            for o, what in zip(outcomes, operations, strict=True)
            if isinstance(what, ChangeSets)
        ):
            self._metrics.nft_failed()
        if log.isEnabledFor(logging.DEBUG):
            for operation in operations:
                log.debug(describe_operation(operation))
        for reason in sorted(reasons, key=lambda each: isinstance(each, Impossible))[:_MOST_REASONS]:
            self._fail(reason)
        return not reasons

    async def _drain(self, now: float) -> None:
        engine, gone = self.engine, list[Operation]()
        due = engine.drains.due(now)
        try:
            for key in due:
                gone += engine.drains.seen(key, await self._kernel.reals(key), now)
        finally:
            await self._apply(gone)
        engine.follow_drains(Touched(keys=set(due)), now)
        for key in due:
            if touched := engine.left(key):
                await self._carry_out(engine.steps(touched), touched)

    async def _end_stale_flows(self, now: float) -> None:
        """UDP connections that are tracked past their endpoint. A kernel that cannot tell is no failure."""
        keys = self._flows.take(now)
        if not keys:
            return
        started = self._clock()
        try:
            flows = list(stale(await self._kernel.flows(keys), keys, self.engine.mirror))
            ended = await self._kernel.end_flows(flows) if flows else 0
        except KernelRefused as refused:
            if str(refused) != self._flows_fail:
                log.warning("stale UDP connections stay", extra={"fields": {"reason": str(refused)}})
            self._flows_fail = str(refused)
            return
        self._flows_fail = ""
        self._metrics.ended(ended, self._clock() - started)

    def _fail(self, reason: str) -> None:
        """Tell a reason once, as long as it lasts. What may still help comes before what is impossible."""
        if reason not in self._told:
            log.error("not everything could be programmed", extra={"fields": {"reason": reason}})
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(reason)
        if not self.failing or not isinstance(reason, Impossible):
            self.failing = reason

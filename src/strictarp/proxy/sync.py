"""Brings the kernel to what the engine wants, turn by turn. Thin: engine, drains and caution decide."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from strictarp.proxy.caution import Caution
from strictarp.proxy.diff import Steps
from strictarp.proxy.engine import Engine, unprepared
from strictarp.proxy.metrics import Metrics
from strictarp.proxy.nft_listing import BadListing, Listing, parse_listings
from strictarp.proxy.nftables import FAMILIES, TABLE
from strictarp.proxy.operations import BindAddress, Element, Operation, describe_operation
from strictarp.proxy.seam import Kernel, KernelRefused
from strictarp.proxy.state import Touched
from strictarp.proxy.store import FIRST

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0
DOUBT_SECONDS = 60.0
_OUTSIDE = (KernelRefused, BadListing, OSError, TimeoutError)


async def _nothing(_: Sequence[BindAddress]) -> None:
    """Nobody needs to know before."""


class Syncer:
    """One node's loop. `table`: text of our whole nftables table with given elements. `on_turn`: called after
    each turn. `before_binds`: called before addresses are bound. `min_period`: seconds from the begin of a
    turn to that of the next.

    `failing`: why the last turn did not do everything. `settled` is set when a first turn did everything.
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
        self.before_binds: Callable[[Sequence[BindAddress]], Awaitable[None]] = _nothing
        self._caution = Caution(DOUBT_SECONDS)
        self._rules: Listing | None = None
        self._table_due = True
        self._look_at = 0.0
        self._retry_at: float | None = None
        self._retry_wait = FIRST_RETRY
        self._queued_at: float | None = None
        self._working_on: float | None = None
        self._wake = asyncio.Event()
        self._started = False

    def wake(self) -> None:
        """Something is to be done: objects or the node changed."""
        if self._queued_at is None:
            self._queued_at = self._clock()
        self._wake.set()

    @property
    def waiting_since(self) -> float | None:
        """When the oldest change came that no finished turn has taken in; None without one."""
        return self._working_on or self._queued_at

    def reload_table(self) -> None:
        """What the text of the table depends on has changed."""
        self._table_due = True
        self.wake()

    def look_soon(self) -> None:
        """Compare everything with the kernel in the next turn."""
        self._look_at = 0.0
        self.wake()

    async def run(self) -> None:
        """Turn after turn, forever. Call it when all objects are known."""
        while True:
            started = self._clock()
            await self.turn()
            await self._rest(started)

    async def turn(self) -> None:
        """Do what is due now."""
        self._wake.clear()
        started = self._clock()
        self._working_on = self._working_on or self._queued_at
        self._queued_at = None
        await self._turn(started)
        if not self.failing:
            self.settled.set()
            self._working_on = None
        if len(self.engine.store):
            self._wake.set()  # the kernel's answers changed plans
        self._metrics.synced(self._clock() - started)
        self._on_turn()

    async def skeleton(self) -> None:
        """Make our tables, without elements, on a node that has none: SNAT is there before anything else.

        Raises KernelRefused.
        """
        if not any(await self._tables()):
            await self._kernel.load_rules(self._table(()))

    async def _rest(self, started: float) -> None:
        """Sleep until something is to be done, and at least minSyncPeriod after the turn began."""
        now = self._clock()
        due = [self._look_at, self._retry_at, self.engine.drains.next_look(), self._caution.look_at()]
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

    async def _turn(self, now: float) -> None:
        touched = Touched()
        before, self.failing = self.failing, ""
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            touched.unite(self.engine.take_failed())
        touched.unite(await self._plan())
        doubt_over = self._caution.look_at()
        try:
            if now >= self._look_at or (doubt_over is not None and now >= doubt_over):
                await self._whole(now)
            elif self._started:
                await self._carry_out(self.engine.steps(touched), touched)
            await self._drain(now)
        except _OUTSIDE as error:
            self.engine.failed.unite(touched)
            self._fail(str(error))
            if now >= self._look_at:
                self._look_at = now + self._retry_wait
        if self.failing:
            self._retry_at = now + self._retry_wait
            self._retry_wait = min(2 * self._retry_wait, LONGEST_RETRY)
        elif self.engine.failed or not self._started:
            self.failing = before
        else:
            self._retry_wait = FIRST_RETRY

    async def _plan(self) -> Touched:
        touched = Touched()
        while len(self.engine.store):
            part, warnings = self.engine.plan()
            touched.unite(part)
            for warning in warnings:
                log.warning(warning)
            await asyncio.sleep(0)
        return touched

    async def _whole(self, now: float) -> None:
        """A full look at the kernel, and everything that differs.

        Our table is loaded whole when it is not as we left it, or what it is made of changed.
        """
        engine = self.engine
        await self._kernel.prepare()
        listing = parse_listings(await self._tables())
        engine.elements_are(set(listing.elements))
        engine.looked(await self._kernel.view(), adopt=not self._started)
        if self._table_due or self._rules is None or listing.rules != self._rules.rules:
            await self._load_table()
        touched = engine.everything()
        engine.take_failed()
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
        if self._started and (drift := len(steps.all())):
            log.warning("the kernel differed from what was programmed", extra={"fields": {"repairs": drift}})
            self._metrics.repaired(drift)
        await self._carry_out(steps, touched)
        self._started = True
        self._look_at = now + self._full_look

    async def _tables(self) -> list[bytes]:
        """Our tables as nft lists them."""
        families = [FAMILIES[width] for width in self.engine.facts.families]
        return [await self._kernel.list_rules(family, TABLE) for family in families]

    async def _load_table(self) -> None:
        """Replace the table in one transaction. What is still in use of an earlier process stays in."""
        engine = self.engine
        wanted, both = set(engine.desired.elements), {*engine.desired.elements, *engine.mirror.elements}
        try:
            await self._kernel.load_rules(self._table(both))
        except KernelRefused:
            if both == wanted:
                raise
            await self._kernel.load_rules(self._table(wanted))  # intervals of both may overlap
        self._rules = parse_listings(await self._tables())
        engine.elements_are(set(self._rules.elements))
        self._table_due = False

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
        await self._apply(steps.last_sets)
        self.engine.follow_drains(touched, self._clock())

    async def _apply(self, operations: Sequence[Operation]) -> bool:
        if not operations:
            return True
        reasons = self.engine.done(operations, await self._kernel.apply(operations))
        self._metrics.applied(len(operations), len(reasons))
        if log.isEnabledFor(logging.DEBUG):
            for operation in operations:
                log.debug(describe_operation(operation))
        for reason in reasons[:5]:
            self._fail(reason)
        return not reasons

    async def _drain(self, now: float) -> None:
        engine = self.engine
        for key in engine.drains.due(now):
            gone = engine.drains.seen(key, await self._kernel.reals(key), now)
            await self._apply(gone)
            engine.follow_drains(Touched(keys={key}), now)
            if touched := engine.left(key):
                await self._carry_out(engine.steps(touched), touched)

    def _fail(self, reason: str) -> None:
        if reason != self.failing:
            log.error("not everything could be programmed", extra={"fields": {"reason": reason}})
        self.failing = reason

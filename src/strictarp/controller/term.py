"""One term of the leading controller: its own fresh lists and what it decides from them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from strictarp.controller.configuring import Configuration, Rules, configure
from strictarp.controller.counting import Counting
from strictarp.controller.exposition import Figures
from strictarp.controller.guard import overlaps
from strictarp.controller.hello_key import keep_key
from strictarp.controller.pools import with_taken
from strictarp.controller.reconcile import Book, Decision, refusal, settle, stand_still
from strictarp.controller.reporting import Reporting
from strictarp.controller.requests import conflicts, held
from strictarp.controller.writer import Writer
from strictarp.kube.advertisements import faults as advertisement_faults
from strictarp.kube.cache import Cache, Delta
from strictarp.kube.client import Client
from strictarp.kube.custom import (
    ADDRESSCONFLICTS,
    IPADDRESSPOOLS,
    L2ADVERTISEMENTS,
    AddressConflict,
    IPAddressPool,
)
from strictarp.kube.errors import ApiError, KubeError
from strictarp.kube.objects import NAMESPACES, NODES, SERVICES, Namespace, Node, Service
from strictarp.kube.ranges import Ip
from strictarp.kube.wire import Refused

log = logging.getLogger(__name__)

KIND_PERIOD = 60.0
RETRY = 0.2


class Term:
    """Follows the objects and writes what `settle` decides, until cancelled.

    `may_write` is asked before every write. State is built anew from the Services' status: no address is
    given before all Services, pools and namespaces have been listed.
    """

    def __init__(
        self,
        client: Client,
        *,
        rules: Rules,
        figures: Figures,
        may_write: Callable[[], bool],
    ) -> None:
        self._client = client
        self._rules = rules
        self._figures = figures
        self._may_write = may_write
        self._book = Book()
        self._configuration = Configuration()
        self._changed: set[str] = set()
        self._everything = True
        self._report_due = False
        self._wake = asyncio.Event()
        self.services = Cache(
            client, SERVICES, on_delta=self._on_service, on_refused=self._on_refused, doubt_empty_start=True
        )
        self.pools = Cache(
            client,
            IPADDRESSPOOLS,
            namespace=rules.namespace,
            on_delta=self._on_pool,
            on_refused=self._on_refused,
        )
        self.namespaces = Cache(client, NAMESPACES, on_delta=self._on_namespace)
        self.nodes = Cache(client, NODES, on_delta=self._on_node)
        self.advertisements = Cache(
            client,
            L2ADVERTISEMENTS,
            namespace=rules.namespace,
            on_delta=self._on_advertisement,
            on_refused=self._on_advertisement,
        )
        self.conflicts = Cache(
            client, ADDRESSCONFLICTS, namespace=rules.namespace, on_delta=self._on_conflict
        )
        self._conflicts_known = asyncio.Event()
        self.reporting = Reporting(client, rules.namespace, self.pools.objects, may_write)
        self.counting = Counting(client, self.pools.objects, may_write)
        self._writer = Writer(
            client, self.services.objects, figures=figures, may_write=may_write, again=self._look_at
        )
        self._view = self._writer.view

    async def run(self) -> None:
        """Work until cancelled."""
        caches: tuple[Cache[Service] | Cache[IPAddressPool] | Cache[Namespace], ...]
        caches = (self.services, self.pools, self.namespaces)
        async with asyncio.TaskGroup() as group:
            for cache in caches:
                group.create_task(cache.run())
            group.create_task(keep_key(self._client, self._rules.namespace, self._may_write))
            for reported in (self.nodes, self.advertisements):  # not waited for
                group.create_task(reported.run())
            group.create_task(self.reporting.run())
            group.create_task(self.counting.run())
            group.create_task(self._follow_conflicts())
            for cache in caches:
                await cache.synced.wait()
            await self._conflicts_known.wait()
            log.info("objects known", extra={"fields": {"services": len(self.services.objects)}})
            self._wake.set()
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._turn(group)

    # --- what is seen -------------------------------------------------------------------------------------

    def _on_service(self, delta: Delta[Service]) -> None:
        self._writer.seen(delta.key)
        self._changed.add(delta.key)
        self._figures.updates += 1
        if self._configuration.faults and self._rules.refuse_edits:
            self._everything = True  # it may have been what stood against the pools
        self._wake.set()

    def _look_at(self, key: str) -> None:
        self._changed.add(key)
        self._wake.set()

    def _on_pool(self, delta: Delta[IPAddressPool]) -> None:
        self.counting.look()
        if delta.old is not None and delta.new is not None and delta.old.spec == delta.new.spec:
            return  # only its status or its labels, such as our own counters
        self._everything = True
        self._wake.set()

    def _on_refused(self, _key: str, _reason: str) -> None:
        """A pool or a Service cannot be decoded, or can again: see `_configure`, `_decide`."""
        self._everything = True
        self._wake.set()

    def _on_namespace(self, delta: Delta[Namespace]) -> None:
        old, new = (each.metadata.labels if each else None for each in (delta.old, delta.new))
        if old != new:
            self._everything = True
            self._wake.set()

    async def _follow_conflicts(self) -> None:
        """Follow the addresses found taken, where that kind is installed."""
        while True:
            try:
                await self._client.list(ADDRESSCONFLICTS, self._rules.namespace)
                break
            except ApiError as error:  # not installed, or not allowed: the rest works without
                if not self._conflicts_known.is_set():
                    log.info("AddressConflicts are not followed", extra={"fields": {"why": str(error)}})
                self._conflicts_known.set()
                await asyncio.sleep(KIND_PERIOD)
            except KubeError:
                await asyncio.sleep(RETRY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.conflicts.run())
            await self.conflicts.synced.wait()
            self._conflicts_known.set()

    def _on_conflict(self, delta: Delta[AddressConflict]) -> None:
        if delta.old is None or delta.new is None or delta.old.spec.address != delta.new.spec.address:
            self._everything = True
            self._wake.set()

    def _on_node(self, delta: Delta[Node]) -> None:
        old, new = (each.status.addresses if each else None for each in (delta.old, delta.new))
        if old != new:
            self._report_due = True
            self._wake.set()

    def _on_advertisement(self, *_: object) -> None:
        self._report_due = True
        self._wake.set()

    def _configure(self) -> None:
        """Take the pools as they are now, if they are sound; else what was good last stays in force."""
        before = self._configuration
        unreadable = _unreadable("IPAddressPool", self.pools.refused)
        if not self.pools.objects and not unreadable and before.pools is None:
            # Nothing was ever in force: nobody loses anything.
            self._configuration, self._figures.stale, self._report_due = Configuration(), False, True
            return
        now = self._configuration = configure(
            before,
            self.pools.objects.values(),
            self.namespaces.objects.values(),
            self._view.values(),
            self._rules,
            unreadable=unreadable,
        )
        if now.faults and now.faults != before.faults:
            kept = "the last good ones stay in force" if now.pools is not None else "nothing is given out"
            log.error("the pools are refused: %s", kept, extra={"fields": {"errors": now.faults}})
        elif not now.faults and now.pools != before.pools:
            log.info("pools in force", extra={"fields": {"pools": [pool.name for pool in now.pools or ()]}})
        self._figures.pools = now.pools or ()
        self._figures.loaded, self._figures.stale = now.pools is not None, bool(now.faults)
        self._report_due = True

    def _report(self) -> None:
        self._report_due = False
        now, around = self._configuration, self._rules.surroundings
        found = overlaps(now.pools or (), self.nodes.objects.values(), self.services.objects.values(), around)
        self._figures.overlaps = len(found)
        wrong = _unreadable("L2Advertisement", self.advertisements.refused)
        wrong += sorted(advertisement_faults(self.advertisements.objects.values()))
        self.reporting.tell(now.faults, tuple(wrong), found)

    # --- what is done -------------------------------------------------------------------------------------

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        if not all(cache.synced.is_set() for cache in (self.services, self.pools, self.namespaces)):
            return
        if self._everything:
            self._configure()
        if self._report_due:
            self._report()
        decisions = self._decide()
        await self._writer.carry_out(decisions, self._book.state.holdings, group)

    def _decide(self) -> dict[str, Decision]:
        pools, faults = self._configuration.pools, self._configuration.faults
        changed = None if self._everything else self._changed
        self._everything, self._changed = False, set()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lb_class = self._rules.lb_class
        if pools is None:
            self._book, decisions = stand_still(
                self._book, self._view, why=refusal(faults), lb_class=lb_class, now=now
            )
            return decisions
        pools = with_taken(pools, {*conflicts(self.conflicts.objects.values()), *self._held_unread()})
        self._book, decisions = settle(self._book, pools, self._view, changed, lb_class=lb_class, now=now)
        self._figures.book = self._book
        self.counting.want({pool.name: pool.counters(self._book.state.runs) for pool in pools})
        return decisions

    def _held_unread(self) -> set[Ip]:
        """Addresses of Services that could never be decoded: they are nobody else's."""
        unread = (each for key, each in self.services.refused.items() if key not in self.services.objects)
        return {ip for each in unread for ip in held(each.body)}


def _unreadable(kind: str, refused: Mapping[str, Refused]) -> list[str]:
    return sorted(f"{kind} {each.key.rpartition('/')[2]}: {each.told()}" for each in refused.values())

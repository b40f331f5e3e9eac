"""One term of the leading controller: its own fresh lists, its decisions, its writes."""

from __future__ import annotations

import asyncio
import logging
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from strictarp.controller.addresses import ip_text
from strictarp.controller.configuring import Configuration, Rules, configure
from strictarp.controller.counting import Counting
from strictarp.controller.exposition import Figures
from strictarp.controller.guard import overlaps
from strictarp.controller.hello_key import keep_key
from strictarp.controller.pools import with_taken
from strictarp.controller.reconcile import Book, Decision, Notice, refusal, settle, stand_still
from strictarp.controller.reporting import COMPONENT, Reporting
from strictarp.controller.requests import conflicts, current
from strictarp.kube.cache import Cache, Delta
from strictarp.kube.client import Client
from strictarp.kube.errors import ApiError, Conflict, KubeError, NotFound
from strictarp.kube.events import emit
from strictarp.kube.objects import (
    ADDRESSCONFLICTS,
    IPADDRESSPOOLS,
    NAMESPACES,
    NODES,
    SERVICES,
    AddressConflict,
    IPAddressPool,
    Namespace,
    Node,
    Service,
)

log = logging.getLogger(__name__)

KIND_PERIOD = 60.0
WRITERS = 16
RETRY_FIRST, RETRY_LAST = 0.2, 10.0


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
        self._unsaid: dict[str, tuple[Notice, ...]] = {}
        self._delays: dict[str, float] = {}
        self._clinging: set[str] = set()  # Services whose status could not be cleared yet
        self._written: dict[str, Service] = {}
        self.services = Cache(client, SERVICES, on_delta=self._on_service, doubt_empty_start=True)
        self.pools = Cache(client, IPADDRESSPOOLS, namespace=rules.namespace, on_delta=self._on_pool)
        self.namespaces = Cache(client, NAMESPACES, on_delta=self._on_namespace)
        self.nodes = Cache(client, NODES, on_delta=self._on_node)
        self.conflicts = Cache(
            client, ADDRESSCONFLICTS, namespace=rules.namespace, on_delta=self._on_conflict
        )
        self._conflicts_known = asyncio.Event()
        self.reporting = Reporting(client, rules.namespace, self.pools.objects, may_write)
        self.counting = Counting(client, self.pools.objects, may_write)
        # Services as the watch shows them, overlaid by answers to our own writes that it has not brought yet.
        self._view = ChainMap(self._written, self.services.objects)  # type: ignore[arg-type]

    async def run(self) -> None:
        """Work until cancelled."""
        caches: tuple[Cache[Service] | Cache[IPAddressPool] | Cache[Namespace], ...]
        caches = (self.services, self.pools, self.namespaces)
        async with asyncio.TaskGroup() as group:
            for cache in caches:
                group.create_task(cache.run())
            group.create_task(keep_key(self._client, self._rules.namespace, self._may_write))
            group.create_task(self.nodes.run())  # not waited for: they only matter for what is reported
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
        self._written.pop(delta.key, None)
        self._changed.add(delta.key)
        self._figures.updates += 1
        if self._configuration.faults and self._rules.refuse_edits:
            self._everything = True  # it may have been what stood against the pools
        self._wake.set()

    def _on_pool(self, delta: Delta[IPAddressPool]) -> None:
        self.counting.look()
        if delta.old is not None and delta.new is not None and delta.old.spec == delta.new.spec:
            return  # only its status or its labels, such as our own counters
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
                await asyncio.sleep(RETRY_FIRST)
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

    def _configure(self) -> None:
        """Take the pools as they are now, if they are sound; else what was good last stays in force."""
        before = self._configuration
        if not self.pools.objects and before.pools is None:
            return  # nothing was ever configured: nobody loses anything
        now = self._configuration = configure(
            before,
            self.pools.objects.values(),
            self.namespaces.objects.values(),
            self._view.values(),
            self._rules,
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
        self.reporting.tell(now.faults, found)

    # --- what is done -------------------------------------------------------------------------------------

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        if not all(cache.synced.is_set() for cache in (self.services, self.pools, self.namespaces)):
            return
        if self._everything:
            self._configure()
        if self._configuration == Configuration():
            return
        if self._report_due:
            self._report()
        await self._carry_out_all(self._decide(), group)

    async def _carry_out_all(self, decisions: Mapping[str, Decision], group: asyncio.TaskGroup) -> None:
        """First what Services lose, then what they get: no address stands in two statuses in between."""
        due = [
            each
            for each in decisions.values()
            if each.patch is not None or each.events or each.key in self._unsaid
        ]
        losers = {each.key for each in due if self._clings_to(each.key)}
        self._clinging |= losers
        limit = asyncio.Semaphore(WRITERS)
        await self._write_wave([each for each in due if each.key in losers], limit, group)
        clung = {key: ips for key in self._clinging if (ips := self._clings_to(key))}
        self._clinging = set(clung)
        in_two = set[str]().union(*clung.values())
        rest = [each for each in due if each.key not in losers]
        for each in rest:
            if in_two.intersection(each.ips):
                self._unsaid[each.key] = (*self._unsaid.get(each.key, ()), *each.events)
                self._later(each.key, group)
        await self._write_wave([each for each in rest if not in_two.intersection(each.ips)], limit, group)

    async def _write_wave(
        self, decisions: Iterable[Decision], limit: asyncio.Semaphore, group: asyncio.TaskGroup
    ) -> None:
        async with asyncio.TaskGroup() as writers:
            for each in decisions:
                writers.create_task(self._carry_out(each, limit, group))

    def _clings_to(self, key: str) -> set[str]:
        """The addresses that stand in its status and are no longer its own."""
        service = self._view.get(key)
        held = self._book.state.holdings.get(key)
        if service is None:
            return set()
        return {ip_text(ip) for ip in current(service)} - set(map(ip_text, held.ips if held else ()))

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
        pools = with_taken(pools, conflicts(self.conflicts.objects.values()))
        self._book, decisions = settle(self._book, pools, self._view, changed, lb_class=lb_class, now=now)
        self._figures.book = self._book
        self.counting.want({pool.name: pool.counters(self._book.state.runs) for pool in pools})
        return decisions

    async def _carry_out(
        self, decision: Decision, limit: asyncio.Semaphore, group: asyncio.TaskGroup
    ) -> None:
        key = decision.key
        service = self._view.get(key)
        notices = (*self._unsaid.pop(key, ()), *decision.events)
        if service is None:
            return
        async with limit:
            if not self._may_write():
                return  # the term ends; the next one decides anew
            if decision.patch is not None:
                try:
                    await self._write(service, decision)
                except NotFound:
                    return
                except KubeError as error:
                    self._unsaid[key] = notices
                    self._again(key, error, group)
                    return
            self._delays.pop(key, None)
            for notice in notices:
                await emit(
                    self._client,
                    about=service,
                    reason=notice.reason,
                    message=notice.message,
                    type=notice.type,
                    component=COMPONENT,
                )

    async def _write(self, service: Service, decision: Decision) -> None:
        meta = service.metadata
        patch = decision.patch or {}
        done = await self._client.merge_patch(
            SERVICES, meta.name, patch, meta.namespace, subresource="status"
        )
        # Unless the watch has been faster: then what it brought is as new or newer.
        if self._view.get(decision.key) is service:
            self._written[decision.key] = done
        fields = {"service": decision.key, "ips": decision.ips, "pool": decision.pool}
        if decision.reason:
            fields["reason"] = decision.reason
        log.info("status written", extra={"fields": fields})

    def _again(self, key: str, error: KubeError, group: asyncio.TaskGroup) -> None:
        """The write failed; by the next try the watch has brought what we did not know."""
        delay = self._later(key, group)
        if not isinstance(error, Conflict):
            self._figures.update_errors += 1
            fields = {"service": key, "error": str(error), "again": delay}
            log.warning("status not written", extra={"fields": fields})

    def _later(self, key: str, group: asyncio.TaskGroup) -> float:
        """Decide anew in a while, longer each time; returns the seconds."""
        delay = self._delays.get(key, RETRY_FIRST)
        self._delays[key] = min(2 * delay, RETRY_LAST)

        async def later() -> None:
            await asyncio.sleep(delay)
            self._changed.add(key)
            self._wake.set()

        group.create_task(later())
        return delay

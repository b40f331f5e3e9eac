"""Carrying out decisions: the statuses and Events of Services, in an order in which nothing stands twice."""

from __future__ import annotations

import asyncio
import logging
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping

from strictarp.controller.allocator import Holding
from strictarp.controller.exposition import Figures
from strictarp.controller.reconcile import Decision, Notice
from strictarp.controller.reporting import COMPONENT
from strictarp.controller.requests import current
from strictarp.kube.client import Client
from strictarp.kube.errors import Conflict, KubeError, NotFound
from strictarp.kube.events import emit
from strictarp.kube.objects import SERVICES, Service
from strictarp.kube.ranges import ip_text

log = logging.getLogger(__name__)

WRITERS = 16
RETRY_FIRST, RETRY_LAST = 0.2, 10.0


class Writer:
    """Writes what was decided. `again` is called with a key that has to be decided anew after a failure.

    `view` shows Services as the watch does, overlaid by answers to our writes that it has not brought yet.
    """

    def __init__(
        self,
        client: Client,
        services: Mapping[str, Service],
        *,
        figures: Figures,
        may_write: Callable[[], bool],
        again: Callable[[str], None],
    ) -> None:
        self._client = client
        self._figures = figures
        self._may_write = may_write
        self._decide_again = again
        self._limit = asyncio.Semaphore(WRITERS)
        self._unsaid: dict[str, tuple[Notice, ...]] = {}
        self._delays: dict[str, float] = {}
        self._clinging: set[str] = set()  # Services whose status could not be cleared yet
        self._written: dict[str, Service] = {}
        self.view: Mapping[str, Service] = ChainMap(self._written, services)  # type: ignore[arg-type]

    def seen(self, key: str) -> None:
        """The watch brought a newer version."""
        self._written.pop(key, None)

    async def carry_out(
        self, decisions: Mapping[str, Decision], holdings: Mapping[str, Holding], group: asyncio.TaskGroup
    ) -> None:
        """First what Services lose, then what they get: no address stands in two statuses in between."""
        due = [
            each
            for each in decisions.values()
            if each.patch is not None or each.events or each.key in self._unsaid
        ]
        losers = {each.key for each in due if self._clings_to(each.key, holdings)}
        self._clinging |= losers
        await self._write_wave([each for each in due if each.key in losers], group)
        clung = {key: ips for key in self._clinging if (ips := self._clings_to(key, holdings))}
        self._clinging = set(clung)
        in_two = set[str]().union(*clung.values())
        rest = [each for each in due if each.key not in losers]
        for each in rest:
            if in_two.intersection(each.ips):
                self._unsaid[each.key] = (*self._unsaid.get(each.key, ()), *each.events)
                self._later(each.key, group)
        await self._write_wave([each for each in rest if not in_two.intersection(each.ips)], group)

    async def _write_wave(self, decisions: Iterable[Decision], group: asyncio.TaskGroup) -> None:
        async with asyncio.TaskGroup() as writers:
            for each in decisions:
                writers.create_task(self._carry_out(each, group))

    def _clings_to(self, key: str, holdings: Mapping[str, Holding]) -> set[str]:
        """The addresses that stand in its status and are no longer its own."""
        service, held = self.view.get(key), holdings.get(key)
        if service is None:
            return set()
        return {ip_text(ip) for ip in current(service)} - set(map(ip_text, held.ips if held else ()))

    async def _carry_out(self, decision: Decision, group: asyncio.TaskGroup) -> None:
        key = decision.key
        service = self.view.get(key)
        notices = (*self._unsaid.pop(key, ()), *decision.events)
        if service is None:
            return
        async with self._limit:
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
        if self.view.get(decision.key) is service:
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
            self._decide_again(key)

        group.create_task(later())
        return delay

"""The guard as a process of its own.

Capabilities: CAP_NET_ADMIN alone (sysctls of the network namespace, nftables), a writable /proc/sys/net, and
a writable folder for the journal; scope `vips` needs the program nft.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from strictarp import logs, serving
from strictarp.errors import UserError
from strictarp.guard import checking
from strictarp.guard.guardian import Guardian
from strictarp.guard.looking import TROUBLES
from strictarp.guard.report import Report, report
from strictarp.guard.settings import Settings
from strictarp.guard.telling import Teller
from strictarp.stopping import stop_at_signals
from strictarp.sysctl.effective import Verdict

log = logging.getLogger(__name__)

STALLED = 10.0
"""Seconds without a turn that ended well, after which the guard calls itself unhealthy."""
MODEL_PERIOD = 30.0


def run(settings: Settings, metrics: tuple[str | None, int] | None) -> int:
    """Guard until SIGTERM or SIGINT; what was written stays. Raises UserError."""
    logs.setup("guard")
    return asyncio.run(_run(settings, metrics))


def once(settings: Settings) -> tuple[Report, list[str]]:
    """Assert now and end: the report, and lines about what was done. Raises UserError."""
    return asyncio.run(_once(settings))


async def _once(settings: Settings) -> tuple[Report, list[str]]:
    guardian = Guardian(settings, lambda drift: drift)
    try:
        await guardian.start()
        told = await modelled(guardian)
        return told, guardian.notes
    finally:
        guardian.close()


async def modelled(guardian: Guardian) -> Report:
    """The report with the model's word on every uplink. Raises UserError."""
    settings = guardian.settings
    try:
        verdicts = await checking.judged(guardian.uplinks, (settings.table,))
    except TROUBLES as error:
        raise UserError(f"cannot read this node: {error}") from None
    return told_by(guardian, verdicts)


def told_by(guardian: Guardian, model: dict[str, Verdict]) -> Report:
    """The report: an uplink is right when the guard and the model both find it so."""
    verdicts = {
        name: verdict if not verdict else model.get(name, verdict)
        for name, verdict in guardian.verdicts.items()
    }
    return report(
        guardian.settings.scope.value,
        verdicts,
        drifts=sum(guardian.drifts.values()),
        last_drift=guardian.last_drift,
        trouble=guardian.trouble,
    )


class _Numbers:
    """A guardian's numbers for prometheus_client."""

    def __init__(self, guardian: Guardian) -> None:
        self.registry = CollectorRegistry()
        self.model: dict[str, Verdict] = {}
        self._guardian = guardian
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        guardian = self._guardian
        drifts = CounterMetricFamily(
            "strictarp_guard_drifts", "Values that somebody changed and that were set again", labels=("what",)
        )
        for what, count in sorted(guardian.drifts.items()):
            drifts.add_metric((what,), count)
        yield drifts
        gauge = GaugeMetricFamily(
            "strictarp_guard_in_force", "1: strictARP is in force on the interface", labels=("interface",)
        )
        for name, each in told_by(guardian, self.model).uplinks.items():
            gauge.add_metric((name,), float(each.in_force))
        yield gauge
        yield GaugeMetricFamily(
            "strictarp_guard_vips", "Service IPs that kube-ipvs0 alone holds", len(guardian.picture.vips)
        )


async def _run(settings: Settings, metrics: tuple[str | None, int] | None) -> int:
    stop = stop_at_signals()
    guardian = Guardian(settings, Teller(settings.host_root, log.warning))
    try:
        await guardian.start()
        numbers = _Numbers(guardian)
        fields = {"scope": settings.scope.value, "uplinks": list(guardian.uplinks)}
        log.info("guarding", extra={"fields": fields})
        for note in guardian.notes:
            log.info(note)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(guardian.run()), group.create_task(_judge(guardian, numbers))]
            if metrics is not None:
                made = application(guardian, numbers)
                tasks.append(group.create_task(serving.serve(made, *metrics, "metrics")))
            await stop.wait()
            for task in tasks:
                task.cancel()
    except* OSError as failed:
        raise UserError(f"the guard failed: {failed.exceptions[0]}; what was written stays") from None
    finally:
        guardian.close()
    log.info("stopped; what was written stays in force, `strictarp guard --release` puts it back")
    return 0


async def _judge(guardian: Guardian, numbers: _Numbers) -> None:
    """Ask the model after changes, and say what it finds; until cancelled."""
    said: dict[str, Verdict] = {}
    judged: object = None
    told_none = False
    while True:
        if judged is not guardian.picture or not all(numbers.model.values()):
            judged = guardian.picture
            try:
                numbers.model = await checking.judged(guardian.uplinks, (guardian.settings.table,))
            except TROUBLES as error:
                log.error("cannot read this node", extra={"fields": {"reason": str(error)}})
        for name, verdict in {**guardian.verdicts, **numbers.model}.items():
            if said.get(name) != verdict and not verdict:
                fields = {"interface": name, "reason": verdict.reason}
                log.error("strictARP is NOT in force", extra={"fields": fields})
            said[name] = verdict
        if not guardian.verdicts and not told_none:
            log.warning(report(guardian.settings.scope.value, {}).reason)
            told_none = True
        await asyncio.sleep(MODEL_PERIOD)


def application(guardian: Guardian, numbers: _Numbers) -> web.Application:
    """/healthz: turns end well. /strictarp: the report. /metrics."""

    async def healthz(_: web.Request) -> web.Response:
        late = time.monotonic() - guardian.turned > STALLED
        if not late:
            return web.Response(text="ok")
        return web.Response(status=503, text=f"no turn ended well for {STALLED:g} s: {guardian.trouble}")

    async def strictarp(_: web.Request) -> web.Response:
        body = msgspec.json.encode(told_by(guardian, numbers.model))
        return web.Response(body=body, content_type="application/json")

    return serving.application(
        {"/healthz": healthz, "/strictarp": strictarp, "/metrics": serving.exposition(numbers.registry)}
    )

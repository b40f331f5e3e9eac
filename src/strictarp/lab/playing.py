"""Plays a scenario again and again on one running lab, which heals between the repetitions."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from strictarp.errors import UserError
from strictarp.kube.errors import KubeError
from strictarp.kube.objects import SERVICES
from strictarp.lab import judging, layout, manifests, measuring
from strictarp.lab.cluster import Cluster
from strictarp.lab.judging import Failure, Figures, Recorded, Result, RunReport
from strictarp.lab.scenario import Scenario, check_lab
from strictarp.lab.speaker_logs import SpeakerLogs
from strictarp.lab.stage import Stage

READY_LIMIT = 90.0
HELD_CONNECTIONS = 20
PROBE_SECONDS = 0.3
POLL = 0.25
FIRST_ANSWERS = 0.5
"""Seconds before the first step, in which all is well."""
LAST_ANSWERS = 0.3
"""Seconds at the end, for answers that are under way."""
_FAILURES_TOLD = 100


Progress = Callable[[str], None]
OnResult = Callable[[Result], None]


class Player:
    """The lab while scenarios are played on it: the VIP, and what is known of its speakers."""

    def __init__(self, cluster: Cluster, progress: Progress) -> None:
        self.cluster = cluster
        self.progress = progress
        self.proxied = cluster.settings.proxy != "none"
        self.vip = ""
        self.nodes = cluster.network.nodes
        self.logs = SpeakerLogs(cluster.state / "logs", self.nodes)

    # --- before -------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """A Service with backends, strictARP in force, all speakers seasoned. Raises UserError."""
        await self.cluster.apply(manifests.story(self.nodes.values()))
        await self._until("an address for Service default/web", self._assigned)
        if self.proxied:
            await self._enable()
        self.progress("waiting until the speakers are seasoned")
        await self._until("all speakers seasoned", self._seasoned(len(self.nodes)))
        await self._until("a single answer", self._one_answers)

    async def _assigned(self) -> bool:
        try:
            service = await self.cluster.client.get(SERVICES, manifests.WEB, "default")
        except KubeError:
            return False
        ingress = service.status.load_balancer.ingress
        self.vip = (ingress[0].ip or "") if ingress else ""
        return bool(self.vip)

    async def _enable(self) -> None:
        options = ("--kubeconfig", str(self.cluster.kubeconfig), "--yes")
        await self._until("an answer", self._somebody_answers)
        code, _, err = await self.cluster.run(layout.CLIENT, "strictarp", "enable", *options)
        if code != 0:
            raise UserError(f"strictarp enable: exit {code}: {err.strip()}")

    async def _until(self, what: str, check: Callable[[], Awaitable[bool]]) -> None:
        end = time.monotonic() + READY_LIMIT
        while not await check():
            if time.monotonic() > end:
                raise UserError(f"{what}: not within {READY_LIMIT:.0f} s")
            await asyncio.sleep(POLL)

    def _seasoned(self, count: int, *, besides: str = "") -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            self.logs.look()
            return sum(map(self._runs, self.logs.seasoned - {besides})) >= count

        return check

    def _runs(self, node: str) -> bool:
        """Whether the node's speaker runs; the log of one that has died goes on with the next one's start."""
        keeper = self.cluster.kubelet.keepers.get(f"speaker@{node}")
        return keeper is not None and keeper.process is not None and keeper.process.running

    async def _answerers(self) -> list[str]:
        """The nodes that answer now."""
        names = {node.mac: node.name for node in self.nodes.values()}
        macs = await measuring.probe(self.cluster, self.vip, wait=PROBE_SECONDS)
        return [names.get(mac, mac) for mac in macs]

    async def _somebody_answers(self) -> bool:
        return bool(await self._answerers())

    async def _one_answers(self) -> bool:
        return len(await self._answerers()) == 1

    # --- one repetition -----------------------------------------------------------------------------------

    async def play(self, scenario: Scenario) -> tuple[Figures, list[str]]:
        """Play it once; returns the figures and what was not told. Raises UserError when a step fails."""
        answering = await self._answerers()
        if len(answering) != 1 or answering[0] not in self.nodes:
            raise UserError(
                f"{', '.join(answering) or 'nobody'} answers for {self.vip} before the first step"
            )
        stage = Stage(self.cluster, self.vip, answering[0])
        self.logs.take_told()
        try:
            recorded = await self._record(scenario, stage)
        finally:
            await stage.put_back()
            await self._heal()
        missing = [f"no speaker told {kind}" for kind in scenario.told if kind not in recorded.told]
        found = failures(recorded, wall=time.time() - time.monotonic())
        return msgspec.structs.replace(judging.figures_of(recorded), failures=found), missing

    async def _record(self, scenario: Scenario, stage: Stage) -> Recorded:
        cluster, vip = self.cluster, self.vip
        pace = measuring.pace(cluster)
        held = None
        if self.proxied:
            held = await measuring.start_holding(
                cluster, vip, "run", connections=HELD_CONNECTIONS, interval_ms=pace.hold
            )
        witness = await measuring.start_witness(cluster, vip, "run", interval_ms=pace.ask)
        stream = await measuring.start_stream(
            cluster, vip, "run", count=0, interval_ms=pace.stream, limit_ms=pace.limit
        )
        began = time.monotonic()
        await asyncio.sleep(FIRST_ANSWERS)
        try:
            for number, (verb, step) in enumerate(scenario.steps, 1):
                try:
                    await stage.carry_out(step)
                except (UserError, OSError, RuntimeError) as error:
                    raise UserError(f"{scenario.name}: step {number}, {verb}: {error}") from error
            await asyncio.sleep(LAST_ANSWERS)
        finally:
            ended = time.monotonic()
            answers = await measuring.finish_stream(cluster, stream)
            witnessed = await measuring.finish_witness(cluster, witness)
            kept = await measuring.finish_holding(cluster, held) if held is not None else None
        return Recorded(
            vip=vip,
            began=began,
            ended=ended - LAST_ANSWERS,
            nodes=frozenset(self.nodes),
            witnessed=witnessed,
            answers=tuple(answers),
            held=kept,
            divided=tuple(stage.divided),
            woken=tuple(stage.woken),
            told=self.logs.take_told(),
        )

    async def _heal(self) -> None:
        """All runs and is programmed again, one node answers, and another one that is seasoned stands by."""
        await self._until("all processes running", self._all_run)
        if self.proxied:
            await self._until(f"{self.vip} in the IPVS table of every node", self._all_programmed)
        await self._until("a single answer", self._one_answers)
        owner = (await self._answerers())[0]
        await self._until("a node that stands by", self._seasoned(1, besides=owner))

    async def _all_run(self) -> bool:
        afresh = start_frozen_afresh(self.logs, lambda process: self.cluster.kill(process, away=0))
        keepers = self.cluster.kubelet.keepers.values()
        return not afresh and all(each.process and each.process.running for each in keepers)

    async def _all_programmed(self) -> bool:
        """Also a node that came back: the emulated machine takes longer to start its proxy than the speaker
        takes to be seasoned, when that is made short.
        """
        return all(measuring.programmed(self.cluster, self.vip, name) for name in self.nodes)


def start_frozen_afresh(logs: SpeakerLogs, kill: Callable[[str], None]) -> bool:
    """Kill the speakers that froze, whether there is one. One that was continued says so a moment later.

    One that froze several times within an hour is trusted later and later: no other node would be ready for
    the next repetition.
    """
    logs.look()
    for node in sorted(logs.frozen):
        kill(f"speaker@{node}")
    return bool(logs.frozen)


def failures(seen: Recorded, *, wall: float) -> tuple[Failure, ...]:
    """What failed and what broke. wall: CLOCK_REALTIME, which logs have, less CLOCK_MONOTONIC, in seconds."""

    def moment(at: float) -> str:
        return datetime.fromtimestamp(at + wall, UTC).isoformat(timespec="milliseconds")

    failed = [each for each in seen.answers if not each.ok][:_FAILURES_TOLD]
    broken = (seen.held.broken if seen.held is not None else ())[:_FAILURES_TOLD]
    return (
        *(Failure(moment(each.ended), each.error, moment(each.started)) for each in failed),
        *(Failure(moment(each.at), each.error) for each in broken),
    )


async def run(
    cluster: Cluster, scenarios: list[Scenario], *, times: int, progress: Progress, on_result: OnResult
) -> RunReport:
    """Play all scenarios so many times each. Raises UserError when the lab cannot be made ready."""
    for scenario in scenarios:
        check_lab(scenario, len(cluster.network.nodes), cluster.settings.proxy)
    player = Player(cluster, progress)
    await player.prepare()
    results = []
    for scenario in scenarios:
        results.append(await _play_all(player, scenario, times))
        on_result(results[-1])
    return RunReport(
        ok=all(each.holds for each in results),
        kernel=os.uname().release,
        isolation=cluster.settings.isolation,
        settings={
            "nodes": len(player.nodes),
            "proxy": cluster.settings.proxy,
            **msgspec.to_builtins(cluster.settings.timing),
        },
        scenarios=tuple(results),
    )


async def _play_all(player: Player, scenario: Scenario, times: int) -> Result:
    figures: list[Figures] = []
    problems: list[str] = []
    for number in range(1, times + 1):
        player.progress(f"{scenario.name}: {number} of {times}")
        try:
            seen, missing = await player.play(scenario)
            figures.append(seen)
            problems += [f"repetition {number}: {each}" for each in missing]
        except UserError as error:
            problems.append(f"repetition {number}: {error}")
            break
    in_vm = player.cluster.settings.isolation == "vm"
    return judging.judge(scenario, figures, problems, proxied=player.proxied, in_vm=in_vm)

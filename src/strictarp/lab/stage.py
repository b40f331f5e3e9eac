"""Carries out the steps of a scenario on a running lab, and puts everything back afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

from strictarp.errors import UserError
from strictarp.lab import layout, manifests, scenario, stranger
from strictarp.lab.cluster import Cluster
from strictarp.lab.kubelet import Keeper, answers
from strictarp.lab.scenario import OTHER, OWNER, AnyStep

HEALING_HELLOS = 1.05
"""Hello intervals, with their jitter, in which the sides of a healed partition hear each other."""
HEALING_REST = 0.05
"""Seconds for the way of that hello and for the next answer."""
COME_BACK_LIMIT = 30.0
READY_LIMIT = 90.0
POLL = 0.02
PROBE_PERIOD = 0.5
SPEAKER_PORT = 7472
_ANNOUNCE_AGAIN = 0.5
"""Seconds between the announcements of a host that took the VIP."""


class Stage:
    """One repetition: who owns the VIP, what was done so far, and what of it has to be undone."""

    def __init__(self, cluster: Cluster, vip: str, owner: str) -> None:
        self.cluster = cluster
        self.vip = vip
        self.owner = owner
        self.divided: list[tuple[float, float]] = []
        self.woken: list[tuple[str, float]] = []
        self._divided_since: float | None = None
        self._off: set[str] = set()
        self._cut: set[str] = set()
        self._drained: set[str] = set()
        self._stopped: dict[str, int] = {}
        self._api_away = False

    # --- names --------------------------------------------------------------------------------------------

    def node(self, name: str) -> str:
        """The node that a name in a scenario stands for."""
        if name == OWNER:
            return self.owner
        if name == OTHER:
            return next(each for each in self.cluster.network.nodes if each != self.owner)
        return name

    def keeper(self, process: str) -> Keeper:
        """The keeper of a process that a scenario names. Raises UserError when it is not there now."""
        kind, at, node = process.partition("@")
        name = f"{kind}@{self.node(node)}" if at else kind
        keeper = self.cluster.kubelet.keepers.get(name)
        if keeper is None or keeper.process is None:
            raise UserError(f"{name} does not run")
        return keeper

    # --- steps --------------------------------------------------------------------------------------------

    async def carry_out(self, step: AnyStep) -> None:
        """Do one step. Raises UserError when it cannot be done now, e.g. a node is switched on that is on."""
        match step:
            case scenario.Wait():
                await asyncio.sleep(step.seconds)
            case scenario.Kill() | scenario.Terminate() | scenario.Stop() | scenario.Continue():
                await self._disturb_process(step)
            case scenario.RestartSpeakers():
                await self._restart_speakers(step)
            case scenario.Move():
                service = f"default/{manifests.WEB}"
                await self._strictarp("move", service, "--to", self.node(step.to))
            case scenario.Drain():
                self._drained.add(self.node(step.node))
                await self._strictarp("drain", self.node(step.node))
            case scenario.Undrain():
                await self._undrain(self.node(step.node))
            case scenario.ApiAway():
                self._api_away = True
                self.cluster.kill("apiserver", away=step.seconds)
            case scenario.ApiBack():
                await self._api_back()
            case _:
                await self._disturb_network(step)

    async def _disturb_process(
        self, step: scenario.Kill | scenario.Terminate | scenario.Stop | scenario.Continue
    ) -> None:
        match step:
            case scenario.Kill():
                self.keeper(step.process).kill(away=step.away)
            case scenario.Terminate():
                self.keeper(step.process).terminate(away=step.away)
            case scenario.Stop():
                self._stop(step.process)
                if step.seconds:
                    await asyncio.sleep(step.seconds)
                    self._continue(step.process)
            case scenario.Continue():
                self._continue(step.process)

    async def _disturb_network(self, step: AnyStep) -> None:
        match step:
            case scenario.PowerOff():
                await self.cluster.power_off(self.node(step.node))
                self._off.add(self.node(step.node))
            case scenario.PowerOn():
                await self.cluster.power_on(self.node(step.node))
                self._off.discard(self.node(step.node))
            case scenario.LinkDown():
                self._cut.add(self.node(step.node))
                self.cluster.network.set_cable(self.node(step.node), plugged=False)
            case scenario.LinkUp():
                self._cut.discard(self.node(step.node))
                self.cluster.network.set_cable(self.node(step.node), plugged=True)
            case scenario.Partition():
                self._divided_since = self._divided_since or time.monotonic()
                self.cluster.network.divide([[self.node(each) for each in some] for some in step.islands])
            case scenario.Heal():
                self._heal()
            case scenario.ReplaceCard():
                await self._replace_card(self.node(step.node), step.away)
            case scenario.ChangeMac():
                self.cluster.network.change_mac(self.node(step.node))
            case scenario.ForeignHost():
                await self._take_by_stranger(step.seconds)
            case scenario.Flood():
                await self._flood(step.rate, step.seconds)

    async def _take_by_stranger(self, seconds: float) -> None:
        network, mac = self.cluster.network, stranger.another_mac()
        stranger.plug_in(network, mac)
        stranger.take(network, self.vip)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            stranger.announce(network, self.vip, mac)
            await asyncio.sleep(min(_ANNOUNCE_AGAIN, left))
        stranger.pull_out(network)

    def _stop(self, process: str) -> None:
        running = self.keeper(process).process
        assert running is not None  # noqa: S101 - `keeper` saw to it
        running.signal(signal.SIGSTOP)
        self._stopped[process] = running.pid

    def _continue(self, process: str) -> None:
        self._stopped.pop(process, None)
        running = self.keeper(process).process
        assert running is not None  # noqa: S101 - `keeper` saw to it
        self.woken.append((self.node(process.partition("@")[2]), time.monotonic()))
        running.signal(signal.SIGCONT)

    async def _undrain(self, node: str) -> None:
        self._drained.discard(node)
        await self._strictarp("undrain", node)

    async def _strictarp(self, *words: str) -> None:
        """Run a command of ours as a user would, on the client."""
        argv = ("strictarp", *words, "--kubeconfig", str(self.cluster.kubeconfig))
        code, _, err = await self.cluster.run(layout.CLIENT, *argv)
        if code != 0:
            raise UserError(f"strictarp {' '.join(words)}: exit {code}: {err.strip()}")

    def _heal(self) -> None:
        self.cluster.network.join()
        if self._divided_since is not None:
            rest = HEALING_HELLOS * self.cluster.settings.timing.hello_ms / 1000 + HEALING_REST
            self.divided.append((self._divided_since, time.monotonic() + rest))
            self._divided_since = None

    async def _api_back(self) -> None:
        await self.cluster.api_ready()
        self._api_away = False

    async def _restart_speakers(self, step: scenario.RestartSpeakers) -> None:
        for name, node in self.cluster.network.nodes.items():
            keeper = self.keeper(f"speaker@{name}")
            starts = keeper.starts
            keeper.terminate()
            await _started_again(keeper, starts)
            if step.ready:
                await _becomes_ready(name, f"http://{node.management}:{SPEAKER_PORT}/readyz")
            await asyncio.sleep(step.pause)

    async def _replace_card(self, node: str, away: float) -> None:
        self.cluster.network.remove_card(node)
        await asyncio.sleep(away)
        self.cluster.network.insert_card(node)

    async def _flood(self, rate: int, seconds: float) -> None:
        stranger.plug_in(self.cluster.network)
        argv = ("strictarp", "lab", "flood", "--rate", str(rate), "--seconds", str(seconds))
        code, out, err = await self.cluster.run(stranger.NAME, *argv)
        stranger.pull_out(self.cluster.network)
        if code != 0:
            raise UserError(f"flood: {err.strip()}")
        if int(out) < 0.9 * rate * seconds:
            raise UserError(f"flood: only {int(out) / seconds:.0f} frames a second were sent")

    # --- afterwards ---------------------------------------------------------------------------------------

    async def put_back(self) -> None:
        """Undo what the steps left: processes that are stopped, cables, islands, nodes that are off."""
        for process in list(self._stopped):
            with contextlib.suppress(UserError):
                self._continue(process)
        for node in list(self._cut):
            self.cluster.network.set_cable(node, plugged=True)
        self._cut.clear()
        self._heal()
        stranger.pull_out(self.cluster.network)
        if self._api_away:
            await self._api_back()
        for node in list(self._off):
            await self.cluster.power_on(node)
        self._off.clear()
        for node in list(self._drained):
            await self._undrain(node)


async def _started_again(keeper: Keeper, starts: int) -> None:
    end = time.monotonic() + COME_BACK_LIMIT
    while keeper.starts == starts:
        if time.monotonic() > end:
            raise UserError(f"{keeper.workload.name} did not come back within {COME_BACK_LIMIT:.0f} s")
        await asyncio.sleep(POLL)


async def _becomes_ready(node: str, probe: str) -> None:
    end = time.monotonic() + READY_LIMIT
    while not await answers(probe):
        if time.monotonic() > end:
            raise UserError(f"the speaker of {node} did not become ready within {READY_LIMIT:.0f} s")
        await asyncio.sleep(PROBE_PERIOD)

"""The lab as kubelet: keeps processes running, writes ConfigMaps into files, rolls the proxies out.

What a kubelet and the DaemonSet controller do in a cluster, as far as strictarp can see it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec

from strictarp.kube.cache import Cache, Delta
from strictarp.kube.client import Client
from strictarp.kube.errors import KubeError
from strictarp.kube.objects import CONFIGMAPS, DAEMONSETS, ConfigMap, DaemonSet
from strictarp.lab.namespaces import Namespace
from strictarp.lab.processes import Process, Processes

log = logging.getLogger(__name__)

RESTART_DELAYS = (0.2, 0.5, 1.0, 2.0)
LONG_LIFE = 10.0
STOP_GRACE = 10.0
HEALTH_PORT = 10256
PROXY = "proxy"
STARTED = "started"
"""What stands in a log before the lines of each process."""


class Workload(msgspec.Struct, frozen=True):
    """A process that has to run: its name (`proxy@node1`), its namespace and its command line."""

    name: str
    namespace: str
    argv: tuple[str, ...]
    node: str = ""


def write_config(folder: Path, config: ConfigMap) -> None:
    """A ConfigMap's keys as files, each replaced in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, text in (config.data or {}).items():
        fresh = folder / f".{key}.new"
        fresh.write_text(text, encoding="utf-8")
        fresh.rename(folder / key)


def template_revision(daemonset: DaemonSet) -> tuple[tuple[str, str], ...]:
    """What a change of means a new rollout: the template's annotations."""
    return tuple(sorted((daemonset.spec.template.metadata.annotations or {}).items()))


async def answers(url: str) -> bool:
    """Whether a probe succeeds: 200 within 2 s."""
    limit = aiohttp.ClientTimeout(total=2)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


class Keeper:
    """Keeps one workload running until told to end."""

    def __init__(
        self, workload: Workload, processes: Processes, log_file: Path, namespace: Callable[[], Namespace]
    ) -> None:
        self.workload = workload
        self.process: Process | None = None
        self.starts = 0
        self._held = 0.0
        self._processes = processes
        self._log_file = log_file
        self._namespace = namespace
        self._task = asyncio.create_task(self._keep(), name=workload.name)

    async def _keep(self) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            self._log_start()
            self.process = await self._processes.start_logged(
                self._namespace(), self.workload.argv, self._log_file
            )
            self.starts += 1
            code = await asyncio.shield(self.process.ended)
            deaths = 0 if time.monotonic() - began > LONG_LIFE else deaths + 1
            delay = max(self._held, RESTART_DELAYS[min(deaths, len(RESTART_DELAYS) - 1)])
            self._held = 0.0
            log.info("ended", extra={"fields": {"process": self.workload.name, "code": code, "again": delay}})
            await asyncio.sleep(delay)

    def _log_start(self) -> None:
        """Tell where the lines of another process begin."""
        line = {"ts": datetime.now(UTC), "component": "lab", "msg": STARTED}
        with self._log_file.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def kill(self, *, away: float = 0.0) -> None:
        """SIGKILL; it is started again, after `away` seconds at the earliest."""
        self._end(signal.SIGKILL, away)

    def terminate(self, *, away: float = 0.0) -> None:
        """SIGTERM; it ends in its own time, and is started again as after `kill`."""
        self._end(signal.SIGTERM, away)

    def _end(self, number: int, away: float) -> None:
        if self.process is not None and self.process.running:
            self._held = away
            self.process.signal(number)

    def forget(self) -> None:
        """Kill it and do not start it again. Does not wait: all processes of a node end at one moment."""
        self._task.cancel()
        self.kill()


class Kubelet:
    """All workloads of the lab, and the rollout of DaemonSet kube-system/kube-proxy."""

    def __init__(self, processes: Processes, client: Client, state: Path) -> None:
        self.keepers: dict[str, Keeper] = {}
        self._processes = processes
        self._client = client
        self._state = state
        self._config_maps = Cache(
            client,
            CONFIGMAPS,
            namespace="kube-system",
            field_selector="metadata.name=kube-proxy",
            on_delta=self._on_config,
        )
        self._daemonsets = Cache(
            client,
            DAEMONSETS,
            namespace="kube-system",
            field_selector="metadata.name=kube-proxy",
            on_delta=self._on_daemonset,
        )
        self.proxy_nodes: dict[str, str] = {}
        self._rolled: tuple[tuple[str, str], ...] | None = None
        self._wanted: asyncio.Event = asyncio.Event()
        self._daemonset: DaemonSet | None = None

    def config_folder(self, node: str) -> Path:
        """Where a node's proxy finds the keys of the ConfigMap."""
        return self._state / "nodes" / node / "kube-proxy"

    def keep(self, workload: Workload, namespace: Callable[[], Namespace]) -> None:
        """Start a workload and keep it running."""
        log_file = self._state / "logs" / f"{workload.name}.log"
        self.keepers[workload.name] = Keeper(workload, self._processes, log_file, namespace)

    def forget_node(self, node: str) -> None:
        """Kill everything on a node, at once and for good."""
        gone = [each for each in self.keepers.values() if each.workload.node == node]
        for keeper in gone:
            keeper.forget()
            del self.keepers[keeper.workload.name]

    async def run(self) -> None:
        """Follow the ConfigMap and the DaemonSet, forever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._config_maps.run())
            group.create_task(self._daemonsets.run())
            group.create_task(self._roll_out())

    async def config_known(self) -> None:
        """Wait until the ConfigMap has been written to the nodes once."""
        await self._config_maps.synced.wait()

    def _on_config(self, delta: Delta[ConfigMap]) -> None:
        if delta.new is not None:
            for node in self.proxy_nodes:
                write_config(self.config_folder(node), delta.new)

    def _on_daemonset(self, delta: Delta[DaemonSet]) -> None:
        self._daemonset = delta.new
        if delta.new is not None:
            self._wanted.set()

    async def _roll_out(self) -> None:
        """Restart the proxies, node by node, whenever the template changes, and report it."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            daemonset = self._daemonset
            if daemonset is None or daemonset.status.observed_generation == daemonset.metadata.generation:
                continue
            revision = template_revision(daemonset)
            if self._rolled is None or revision == self._rolled:
                self._rolled = revision
                await self._report(daemonset, updated=len(self.proxy_nodes))
                continue
            log.info("rollout", extra={"fields": {"generation": daemonset.metadata.generation}})
            for done, node in enumerate(tuple(self.proxy_nodes)):
                await self._report(daemonset, updated=done)
                await self._restart_proxy(node)
            self._rolled = revision
            await self._report(daemonset, updated=len(self.proxy_nodes))

    async def _restart_proxy(self, node: str) -> None:
        keeper = self.keepers.get(f"{PROXY}@{node}")
        if keeper is None or keeper.process is None:
            return  # the node is off
        started = keeper.starts
        await keeper.process.stop(STOP_GRACE)
        healthy = f"http://{self.proxy_nodes[node]}:{HEALTH_PORT}/healthz"
        while keeper.starts == started or not await answers(healthy):
            await asyncio.sleep(0.1)
            if f"{PROXY}@{node}" not in self.keepers:
                return

    async def _report(self, daemonset: DaemonSet, *, updated: int) -> None:
        total = len(self.proxy_nodes)
        status = {
            "observedGeneration": daemonset.metadata.generation,
            "desiredNumberScheduled": total,
            "currentNumberScheduled": total,
            "updatedNumberScheduled": updated,
            "numberAvailable": total if updated == total else total - 1,
            "numberReady": total if updated == total else total - 1,
        }
        meta = daemonset.metadata
        try:
            await self._client.merge_patch(
                DAEMONSETS, meta.name, {"status": status}, meta.namespace, subresource="status"
            )
        except KubeError as error:
            log.warning("cannot report the rollout", extra={"fields": {"error": str(error)}})
            await asyncio.sleep(1)
            self._wanted.set()

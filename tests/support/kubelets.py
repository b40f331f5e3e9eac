"""A stand-in for the DaemonSet controller and the kubelets: it makes pods of DaemonSets and runs them.

Pods are processes of this machine; the root of the node, mounted into the container, is another folder.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from strictarp.doctor.kinds import DAEMONSETS, PODS, Container
from strictarp.kube.errors import KubeError
from strictarp.lab.apiserver.refusals import Refusal
from support.api import Api


class Kubelets:
    """Follows the API until cancelled."""

    def __init__(self, api: Api, nodes: Sequence[str], folder: Path, root: Path) -> None:
        self.broken: dict[str, tuple[str, str]] = {}
        """Node → reason and message, as its kubelet tells why the container does not start."""
        self.ended: dict[str, str] = {}
        """Node → all that its container said before it ended with an error."""
        self.programs: dict[str, list[str]] = {}
        """Node → what runs there in place of the container's command."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started = 0
        self._api = api
        self._nodes = nodes
        self._folder = folder
        self._root = root
        api.server.logs = self.log

    async def log(self, namespace: str, name: str) -> str:
        path = self._folder / f"{name}.log"
        if not path.exists():
            raise Refusal(400, f'container "node-report" in pod "{name}" is waiting to start')
        return path.read_text()

    async def run(self) -> None:
        known: dict[str, list[str]] = {}
        while True:
            found = {each.metadata.name: each for each in (await self._api.client.list(DAEMONSETS)).items}
            for name in found.keys() - known.keys():
                known[name] = [f"{name}-{node}" for node in self._nodes]
                await self._start(name, (found[name].spec.template.spec.containers or ())[0])
            for name in known.keys() - found.keys():
                for pod in known.pop(name):
                    await self._stop(pod)
            await asyncio.sleep(0.02)

    async def _start(self, name: str, container: Container) -> None:
        for node in self._nodes:
            await self._pod(name, f"{name}-{node}", node, container)
        count = len(self._nodes)
        status = {"observedGeneration": 1, "desiredNumberScheduled": count, "currentNumberScheduled": count}
        with contextlib.suppress(KubeError):  # deleted meanwhile
            await self._api.client.merge_patch(
                DAEMONSETS, name, {"status": status}, "kube-system", subresource="status"
            )

    async def _pod(self, owner: str, pod: str, node: str, container: Container) -> None:
        labels = {"app.kubernetes.io/instance": owner}
        body = {"metadata": {"name": pod, "namespace": "kube-system", "labels": labels}}
        spec = {"nodeName": node, "containers": [{"name": container.name, "image": container.image}]}
        await self._api.client.create(PODS, {**body, "spec": spec})
        state: Mapping[str, object] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        if node in self.broken:
            reason, message = self.broken[node]
            state = {"waiting": {"reason": reason, "message": message}}
        elif node in self.ended:
            (self._folder / f"{pod}.log").write_text(self.ended[node] + "\n")
            state = {"terminated": {"reason": "Error"}}
        else:
            self._process(pod, node, container)
        statuses = [{"name": container.name, "state": state}]
        status = {"phase": "Running", "containerStatuses": statuses}
        await self._api.client.merge_patch(PODS, pod, {"status": status}, "kube-system", subresource="status")

    def _process(self, pod: str, node: str, container: Container) -> None:
        command = [str(self._root) if word == "/host" else word for word in container.command or ()]
        argv = self.programs.get(node, [sys.executable, "-m", *command])
        with (self._folder / f"{pod}.log").open("wb") as log:
            self.processes[pod] = subprocess.Popen(
                argv, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "NODE_NAME": f"told-{node}"}
            )
        self.started += 1

    async def _stop(self, pod: str) -> None:
        process = self.processes.pop(pod, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 10)
        await self._api.client.delete(PODS, pod, "kube-system")

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@contextlib.asynccontextmanager
async def running_kubelets(
    api: Api, nodes: Sequence[str], folder: Path, root: Path = Path("/")
) -> AsyncIterator[Kubelets]:
    kubelets = Kubelets(api, nodes, folder, root)
    task = asyncio.create_task(kubelets.run())
    try:
        yield kubelets
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        kubelets.end()

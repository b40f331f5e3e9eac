"""Nodes as `strictarp enable` sees them: a DaemonSet that rolls out, and proxies that tell their state."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from strictarp.cluster.edit import read_strictarp
from strictarp.kube.objects import CONFIGMAPS, DAEMONSETS, NODES
from support.api import Api

KUBEADM_CONFIG = {
    "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
    "data": {"ClusterConfiguration": "kind: ClusterConfiguration\n"},
}
NODE_NAMES = ("node1", "node2", "node3")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.11", 0))
        return int(probe.getsockname()[1])


class Proxies:
    """Three nodes. A restart takes up what the ConfigMap says then.

    `stuck`: how many rollouts do not end until another begins. `deaf`: nodes whose sysctls do not follow.
    `plain`: nodes with a kube-proxy. `silent`: how many requests a node leaves without an answer. `apply`:
    told each node's name, and whether its proxy sets the sysctls or puts them back, when it comes up.
    """

    def __init__(
        self,
        api: Api,
        port: int,
        *,
        network: str = "127.0.0.",
        apply: Callable[[str, bool], None] = lambda _name, _on: None,
    ) -> None:
        self.api = api
        self.port = port
        self._network = network
        self._apply = apply
        self.requested = dict.fromkeys(NODE_NAMES, False)
        self.deaf: set[str] = set()
        self.plain: set[str] = set()
        self.silent: dict[str, int] = {}
        self.stuck = 0
        self.count = len(NODE_NAMES)
        self.restarts = 0

    async def objects(self, config: str) -> None:
        client = self.api.client
        for index, name in enumerate(NODE_NAMES):
            address = {"type": "InternalIP", "address": self.address(index)}
            await client.create(NODES, {"metadata": {"name": name}, "status": {"addresses": [address]}})
        await self.config(config)
        labels = {"k8s-app": "kube-proxy"}
        container = {
            "name": "kube-proxy",
            "image": "registry.k8s.io/kube-proxy:v1.33.1",
            "command": ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"],
        }
        volume = {"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}
        pod = {"containers": [container], "volumes": [volume]}
        spec = {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
        await client.create(CONFIGMAPS, KUBEADM_CONFIG)
        metadata = {"name": "kube-proxy", "namespace": "kube-system"}
        await client.create(DAEMONSETS, {"metadata": metadata, "spec": spec})

    def address(self, index: int) -> str:
        """Of node `index`, counted from 0."""
        return f"{self._network}{11 + index}"

    async def config(self, text: str) -> None:
        metadata = {"name": "kube-proxy", "namespace": "kube-system"}
        await self.api.client.create(CONFIGMAPS, {"metadata": metadata, "data": {"config.conf": text}})

    async def text(self) -> str:
        found = await self.api.client.get(CONFIGMAPS, "kube-proxy", "kube-system")
        return (found.data or {})["config.conf"]

    async def roll(self) -> None:
        """The DaemonSet controller and the kubelets, until cancelled."""
        client, rolled = self.api.client, None
        while True:
            daemonset = await client.get(DAEMONSETS, "kube-proxy", "kube-system")
            stamp = daemonset.spec.template.metadata.annotations
            if daemonset.status.observed_generation != daemonset.metadata.generation:
                restart = rolled is not None and stamp != rolled
                rolled = stamp or {}
                if restart:
                    self.restarts += 1
                    await self._report(daemonset.metadata.generation, updated=1)
                    if self.stuck > 0:
                        self.stuck -= 1
                        continue
                    wanted = bool(read_strictarp(await self.text()))
                    self.requested = dict.fromkeys(NODE_NAMES, wanted)
                    for name in NODE_NAMES:
                        self._apply(name, wanted and name not in self.deaf)
                await self._report(daemonset.metadata.generation, updated=3)
            await asyncio.sleep(0.05)

    async def _report(self, generation: int, *, updated: int) -> None:
        counts = dict.fromkeys(("updatedNumberScheduled", "numberAvailable"), updated)
        status = {"observedGeneration": generation, "desiredNumberScheduled": self.count, **counts}
        await self.api.client.merge_patch(
            DAEMONSETS, "kube-proxy", {"status": status}, "kube-system", subresource="status"
        )

    async def answer(self, request: web.BaseRequest) -> web.Response:
        host = request.transport.get_extra_info("sockname")[0] if request.transport else ""
        name = NODE_NAMES[int(host.rpartition(".")[2]) - 11]
        if self.silent.get(name, 0) > 0 and request.transport:
            self.silent[name] -= 1
            request.transport.abort()
        if name in self.plain or request.path != "/strictarp":
            return web.Response(status=404)
        requested = self.requested[name]
        in_force = requested and name not in self.deaf
        reason = "in force" if in_force else "eth0: arp_ignore is 0"
        return web.json_response({"requested": requested, "inForce": in_force, "reason": reason})


@asynccontextmanager
async def running_proxies(
    api: Api, config: str, proxies: Proxies | None = None, sockets: Sequence[socket.socket] = ()
) -> AsyncIterator[Proxies]:
    """`config` with {port} where its healthzBindAddress is. sockets: to answer at, else on 127.0.0.11 ff."""
    proxies = proxies or Proxies(api, free_port())
    await proxies.objects(config.replace("{port}", str(proxies.port)))
    runner = web.ServerRunner(web.Server(proxies.answer), shutdown_timeout=0.2)
    await runner.setup()
    for index in range(0 if sockets else len(NODE_NAMES)):
        await web.TCPSite(runner, proxies.address(index), proxies.port).start()
    for each in sockets:
        await web.SockSite(runner, each).start()
    rolling = asyncio.create_task(proxies.roll())
    await asyncio.sleep(0.15)
    try:
        yield proxies
    finally:
        rolling.cancel()
        await asyncio.wait({rolling})
        await runner.cleanup()

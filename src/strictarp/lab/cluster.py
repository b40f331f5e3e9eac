"""A running lab cluster: everything the scenarios and the `lab` commands can do with it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path

import msgspec

from strictarp.errors import UserError
from strictarp.kube.client import Client
from strictarp.kube.config import load
from strictarp.kube.errors import Conflict, KubeError
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.objects import RESOURCES
from strictarp.lab import layout, manifests
from strictarp.lab.kubelet import PROXY, Kubelet, Workload
from strictarp.lab.namespaces import Namespace, enter
from strictarp.lab.processes import Process, Processes
from strictarp.lab.standin import StandIn
from strictarp.lab.topology import Network

log = logging.getLogger(__name__)

API_START_LIMIT = 60.0
Progress = Callable[[str], None]
_SLOW_PROXY = """\
apiVersion: strictarp.io/v1alpha1
kind: ProxySettings
holdBack: 3s
"""
"""In the virtual machine `nft` takes more than half a second to load rules."""


class Timing(msgspec.Struct, frozen=True):
    """The speakers' intervals, in milliseconds. A slower machine needs larger ones."""

    hello_ms: int = 100
    claim_ms: int = 100
    late_ms: int = 20
    season_ms: int = 30_000

    def flags(self) -> tuple[str, ...]:
        """As the speaker's command line takes them."""
        return (
            *("--hello-ms", str(self.hello_ms)),
            *("--claim-ms", str(self.claim_ms)),
            *("--late-ms", str(self.late_ms)),
            *("--season-ms", str(self.season_ms)),
        )


class Settings(msgspec.Struct, frozen=True):
    """What a lab is made of. `proxy` is "strictarp", or "none" for VIPs on a stand-in device."""

    nodes: int = 3
    proxy: str = "strictarp"
    isolation: str = "netns"
    timing: Timing = Timing()


class Cluster:
    """The lab: network, processes, API. Made inside the supervisor's event loop."""

    def __init__(self, settings: Settings, processes: Processes, state: Path) -> None:
        self.settings = settings
        self.state = state
        self.processes = processes
        self.network = Network(settings.nodes)
        self.kubeconfig = state / "kubeconfig"
        self.phase = "starting"
        self.client: Client
        self.kubelet: Kubelet
        self._tasks: set[asyncio.Task[None]] = set()
        self._stand_in: StandIn | None = None
        self._off: set[str] = set()

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self, progress: Progress) -> None:
        """Build everything and return when the API holds the cluster's objects and all was started."""

        def tell(text: str) -> None:
            self.phase = text
            progress(text)

        for folder in ("logs", "nodes"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        tell("building the network")
        self.network.build()
        self.kubeconfig.write_bytes(msgspec.json.encode(manifests.kubeconfig(layout.API_URL)))
        enter(self.network.spaces[layout.CONTROL_PLANE])  # for good: the supervisor is part of it
        self.client = await Client(load(str(self.kubeconfig))).__aenter__()
        self.kubelet = Kubelet(self.processes, self.client, self.state)
        if self.settings.proxy == "none":
            self._stand_in = StandIn(self.network, self.client)
            for name in self.network.nodes:
                self._stand_in.restore_node(name)
        tell("starting the API server")
        self._keep_api_server()
        await self.api_ready()
        await self.apply(manifests.cluster(self.network.nodes.values(), str(self.kubeconfig)))
        tell("starting the daemons")
        if self._stand_in is None:
            for node in self.network.nodes.values():
                self.kubelet.proxy_nodes[node.name] = node.management
        else:
            self._spawn(self._stand_in.run())
        self._spawn(self.kubelet.run())
        await self.kubelet.config_known()
        self._keep("controller", layout.CONTROL_PLANE, self._strictarp("controller"))
        for name in self.network.nodes:
            self._keep_node(name)
        await self._report_pods()
        tell("running")

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _strictarp(self, command: str, *rest: str) -> tuple[str, ...]:
        return ("strictarp", command, "--kubeconfig", str(self.kubeconfig), *rest)

    def _keep(self, name: str, namespace: str, argv: tuple[str, ...], node: str = "") -> None:
        self.kubelet.keep(Workload(name, namespace, argv, node), lambda: self.network.spaces[namespace])

    def _keep_api_server(self) -> None:
        listen = f"{layout.CONTROL_PLANE_ADDRESS}:6443"
        data = str(self.state / "api.data")
        argv = ("strictarp", "lab", "apiserver", "--listen", listen, "--data", data)
        self._keep("apiserver", layout.CONTROL_PLANE, (*argv, "--service-cidr", str(layout.SERVICES)))

    def _keep_node(self, name: str) -> None:
        node = self.network.nodes[name]
        if self._stand_in is not None:
            web = ("strictarp", "lab", "backend", "--name", name, "--port", str(manifests.WEB_PORT))
            self._keep(f"web@{name}", name, web, name)
        else:
            config = self.kubelet.config_folder(name) / manifests.CONFIG_KEY
            argv = ["strictarp", "proxy", "--config", str(config), "--hostname-override", name]
            argv += ["--strictarp-state", str(self._node_state(name))]
            if self.settings.isolation == "vm":
                argv += ["--settings", str(self._slow_proxy_settings())]
            self._keep(f"{PROXY}@{name}", name, tuple(argv), name)
            port = str(manifests.BACKEND_PORT)
            web = ("strictarp", "lab", "backend", "--name", name, "--port", port)
            self._keep(f"web@{name}", node.pod, web, name)
        speaker = self._strictarp("speaker", "--node-name", name, *self.settings.timing.flags())
        self._keep(f"speaker@{name}", name, speaker, name)

    def _slow_proxy_settings(self) -> Path:
        path = self.state / "proxy-settings.yaml"
        path.write_text(_SLOW_PROXY, encoding="utf-8")
        return path

    def _node_state(self, name: str) -> Path:
        """What a node has of its own below /var/lib."""
        return self.state / "nodes" / name / "lib"

    async def api_ready(self) -> None:
        """Wait until the API server answers. Raises UserError after a limit."""
        limit = time.monotonic() + API_START_LIMIT
        while True:
            try:
                await self.client.list(RESOURCES[0])
                return
            except KubeError as error:
                if time.monotonic() > limit:
                    raise UserError(f"the lab's API server does not answer: {error}") from error
                await asyncio.sleep(0.2)

    async def _report_pods(self) -> None:
        pods = []
        for node in self.network.nodes.values():
            pods.append(
                manifests.pod_object(
                    f"web-{node.name}", "default", node.name, ip=node.pod_address, labels={"app": "web"}
                )
            )
            if self._stand_in is None:
                labels = {"k8s-app": "kube-proxy"}
                name = f"kube-proxy-{node.name}"
                pods.append(
                    manifests.pod_object(name, "kube-system", node.name, ip=node.address, labels=labels)
                )
            labels = {"component": "speaker"}
            name = f"speaker-{node.name}"
            pods.append(
                manifests.pod_object(name, manifests.NAMESPACE, node.name, ip=node.address, labels=labels)
            )
        await self.apply(pods)

    async def end(self) -> None:
        """Stop everything; the namespaces end with the processes."""
        self.phase = "stopping"
        for task in list(self._tasks):
            task.cancel()
        if hasattr(self, "kubelet"):
            for keeper in self.kubelet.keepers.values():
                keeper.forget()
        await self.processes.end_all()
        if hasattr(self, "client"):
            await self.client.__aexit__(None, None, None)

    # --- what scenarios do ----------------------------------------------------------------------------------

    async def apply(self, documents: Iterable[manifests.Document]) -> list[str]:
        """Create or change objects as `kubectl apply` would; returns a line on each.

        Raises UserError for a document that the API refuses, naming it.
        """
        return [await self._apply_one(document) for document in documents]

    async def _apply_one(self, document: manifests.Document) -> str:
        resource, name, namespace = identify(document)
        what = f"{resource.kind.lower()}/{name}"
        try:
            try:
                await self.client.create(resource, document, namespace)
                done = f"{what} created"
            except Conflict:
                await self.client.merge_patch(resource, name, document, namespace)
                done = f"{what} configured"
            if "status" in document:
                status = {"status": document["status"]}
                await self.client.merge_patch(resource, name, status, namespace, subresource="status")
        except KubeError as error:
            raise UserError(f"{what}: {error}") from error
        return done

    async def power_off(self, name: str) -> None:
        """Kill all that runs on a node and pull its cables, at one moment."""
        if name not in self.network.nodes or name in self._off:
            raise UserError(f"{name} is no node that is on")
        self._off.add(name)
        self.network.cut(name)
        self.kubelet.forget_node(name)

    async def power_on(self, name: str) -> None:
        """Bring a node back as after a boot: fresh network, all its processes again."""
        if name not in self._off:
            raise UserError(f"{name} is not off")
        self._off.discard(name)
        self.network.forget_node(name)
        self.network.build_node(name)
        # The kernel's boot id is still the same, but this node has forgotten its sysctls, as in a reboot.
        shutil.rmtree(self._node_state(name), ignore_errors=True)
        if self._stand_in is not None:
            self._stand_in.restore_node(name)
        self._keep_node(name)

    def kill(self, process: str, *, away: float) -> None:
        """kill -9 of one process (`proxy@node1`, `controller` …), which stays away for some seconds."""
        keeper = self.kubelet.keepers.get(process)
        if keeper is None:
            known = ", ".join(sorted(self.kubelet.keepers))
            raise UserError(f"{process}: no such process; there are {known}")
        keeper.kill(away=away)

    def space(self, name: str) -> Namespace:
        """The namespace of that name; raises UserError."""
        try:
            return self.network.spaces[name]
        except KeyError:
            known = ", ".join(sorted(self.network.spaces))
            raise UserError(f"{name}: no such host; there are {known}") from None

    async def run(self, host: str, *argv: str) -> tuple[int, str, str]:
        """Run a program on a host to its end: exit code, standard output, standard error."""
        return await self.processes.run(self.space(host), argv)

    async def start_on(self, host: str, log_name: str, *argv: str) -> Process:
        """Start a program on a host; what it prints goes to a log file of that name."""
        return await self.processes.start_logged(
            self.space(host), argv, self.state / "logs" / f"{log_name}.log"
        )

    def status(self) -> dict[str, object]:
        """What runs, for people and programs."""
        keepers = self.kubelet.keepers if hasattr(self, "kubelet") else {}
        return {
            "phase": self.phase,
            "isolation": self.settings.isolation,
            "kernel": os.uname().release,
            "api": layout.API_URL,
            "state": str(self.state),
            "settings": msgspec.to_builtins(self.settings),
            "hosts": {
                name: {**self.network.shown_sysctls(name), "on": name not in self._off}
                for name in (layout.CLIENT, *self.network.nodes)
                if name in self.network.spaces
            },
            "processes": {
                name: {
                    "pid": keeper.process.pid if keeper.process else None,
                    "running": keeper.process is not None and keeper.process.running,
                    "starts": keeper.starts,
                }
                for name, keeper in sorted(keepers.items())
            },
        }


def identify(document: manifests.Document) -> tuple[Resource[KubeObject], str, str]:
    """Kind, name and namespace of a document; raises UserError naming the field that is wrong."""
    api_version, kind = document.get("apiVersion"), document.get("kind")
    resource = next(
        (each for each in RESOURCES if (each.api_version, each.kind) == (api_version, kind)), None
    )
    if resource is None:
        known = ", ".join(sorted(each.kind for each in RESOURCES))
        raise UserError(f"kind: the lab has no {api_version} {kind}; it knows {known}")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(name := metadata.get("name"), str) or not name:
        raise UserError(f"{kind}: metadata.name is missing")
    namespace = metadata.get("namespace") or "default" if resource.namespaced else ""
    return resource, name, str(namespace)

"""The whole daemon against the embedded API server, a real namespace, and a model of IPVS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from strictarp.guard.settings import PROXY
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.objects import ENDPOINTSLICES, EVENTS, NODES, SERVICES
from strictarp.lab import namespaces
from strictarp.lab.apiserver.engine import Engine as ApiEngine
from strictarp.lab.apiserver.server import Server, serve
from strictarp.netlink.ipvs import VirtualServer
from strictarp.proxy import config as configuration
from strictarp.proxy import nftables
from strictarp.proxy.addresses import show
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Options, Proxy
from strictarp.proxy.host import Ensure
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.process import follow_configuration
from strictarp.proxy.settings import Settings
from strictarp.sysctl import files
from support.fake_ipvs import FakeIpvs
from support.proxy_objects import service_body, slice_body

API = "127.0.0.1:6443"
PORTS = [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}]


def ensure(name: str, value: int) -> int | None:
    """As sysctl.files.ensure; this kernel may have no IPVS and so none of its sysctls."""
    return None if name.startswith("net.ipv4.vs.") else files.ensure(name, value)


class Node:
    """One node of its own: API server, daemon, and the model of IPVS."""

    def __init__(self, folder: Path, client: Client, ipvs: FakeIpvs) -> None:
        self.folder = folder
        self.client = client
        self.ipvs = ipvs
        self.proxy: Proxy | None = None
        self._task: asyncio.Task[None] | None = None
        self._kernel: LinuxKernel | None = None
        self.following: asyncio.Task[Options] | None = None

    async def start(
        self,
        config: Config | None = None,
        *,
        text: str = "",
        open_forward: bool = False,
        ensure: Ensure = ensure,
    ) -> None:
        """Start the daemon. `text`: configuration to follow in a file. `ensure`: writes sysctls."""
        self._kernel = LinuxKernel(nftables.change_elements, generic=self.ipvs, device_kind="bridge")
        settings = Settings(full_look=3600.0, open_forward=open_forward)
        guard = GuardSettings(state=self.folder / "lib", owner=PROXY)
        options = Options(config or Config(), settings, "node1", guard=guard)
        if text:
            self.file.write_text(text)
            loaded = configuration.load(text, "f")
            options = Options(loaded, settings, "node1", "node1", self.file, text, guard)
        self.proxy = Proxy(options, self._kernel, self.client, ensure=ensure)
        self._task = asyncio.create_task(self.proxy.run())
        if text:
            self.following = asyncio.create_task(follow_configuration(options, self.proxy))

    @property
    def file(self) -> Path:
        return self.folder / "config.conf"

    def server(self, address: str, port: int) -> VirtualServer | None:
        return next(
            (
                server
                for server, _ in self.ipvs.table.values()
                if show(server.address) == address and server.port == port
            ),
            None,
        )

    async def events(self) -> dict[str, str]:
        """Reason → message of all Events."""
        listed = await self.client.list(EVENTS, "")
        return {event.reason or "": event.message or "" for event in listed.items}

    async def told(self, reason: str) -> None:
        """Wait until an Event with this reason is there."""
        for _ in range(300):
            if reason in await self.events():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"no Event {reason}")

    async def ended(self) -> None:
        """Wait for the daemon to end by itself. Raises what it ended with."""
        assert self._task is not None
        async with asyncio.timeout(10):
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        if self.following is not None:
            self.following.cancel()
        if self._task is not None and self._kernel is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._kernel.close()

    def reals(self, address: str, port: int) -> dict[str, int] | None:
        """Address of each real server → weight; None without the virtual server."""
        for (_, packed, number), (_, reals) in self.ipvs.table.items():
            if (show(packed), number) == (address, port):
                return {show(real.address): real.weight for real in reals.values()}
        return None

    async def until(self, address: str, port: int, wanted: dict[str, int] | None) -> None:
        for _ in range(200):
            if self.reals(address, port) == wanted:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{address}:{port} is {self.reals(address, port)}, wanted {wanted}")


@contextlib.asynccontextmanager
async def build(folder: Path) -> AsyncIterator[Node]:
    """A node in a namespace of its own, entered, with a Service `web` of one endpoint; nothing started."""
    space = namespaces.create("node1")
    with namespaces.entered(space):
        namespaces.ip(space, "addr add 192.0.2.11/24 dev lo")
        server = Server(ApiEngine(service_cidr="203.0.113.128/25"))
        runner = await serve(server, API)
        async with Client(ClientConfig(server=f"http://{API}")) as client:
            made = Node(folder, client, FakeIpvs())
            await client.create(NODES, {"metadata": {"name": "node1"}})
            await client.create(SERVICES, service_body("web", "203.0.113.140", type="NodePort", ports=PORTS))
            await client.create(ENDPOINTSLICES, slice_body("web", ["198.51.100.18"]))
            yield made
            await made.stop()
        server.watchers.close()
        await runner.cleanup()
    space.close()

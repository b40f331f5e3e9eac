"""A node whose proxy daemon is killed and started again, with its own API server and the real kernel.

For tests inside the virtual machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from strictarp.cli.main import main
from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.objects import ENDPOINTSLICES, NODES, SERVICES
from strictarp.lab import namespaces
from strictarp.lab.apiserver.server import run as run_api_server
from strictarp.lab.namespaces import entered
from strictarp.proxy import process as _process  # noqa: F401 - imported before the fork
from support.dying import dies_after
from support.forked import Child, until
from support.machine import Machine, RealNft, real_machine
from support.proxy_objects import service_body, slice_body
from support.sequence_player import State, differences, kernel_state, plan_state
from support.stranger import Stranger

API = "127.0.0.1:6443"
ADDRESSES = ("192.0.2.11", "2001:db8:1::11")
CIDRS = "203.0.113.128/25,2001:db8:9::/112"
CONFIG = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
clientConnection: {kubeconfig: KUBECONFIG}
clusterCIDR: 198.51.100.0/24,2001:db8:5::/64
"""
SERVICES_HELD = 8
Body = dict[str, Any]


def bodies(number: int, rng: Random) -> tuple[Body, Body]:
    """A Service of the kind that its number says, and its EndpointSlice, with something that varies."""
    name, address = f"s{number}", f"203.0.113.{130 + number}"
    protocol = ("TCP", "TCP", "UDP", "SCTP")[number % 4]
    port: Body = {"name": "http", "port": rng.choice((80, 81)), "protocol": protocol}
    spec: Body = {"sessionAffinity": rng.choice(("None", "ClientIP"))}
    ingress: list[str] = []
    if number % 2:
        spec["type"] = "LoadBalancer"
        spec["externalTrafficPolicy"] = "Cluster"
        spec["loadBalancerSourceRanges"] = [rng.choice(("10.0.0.0/8", "10.1.0.0/16"))]
        port["nodePort"] = 30080 + number
        ingress = [f"192.0.2.{100 + 10 * number + rng.randrange(3)}"]
    if number == 4:
        spec["clusterIPs"], spec["ipFamilies"] = ["2001:db8:9::14"], ["IPv6"]
        address = "2001:db8:9::14"
    pods = (
        [f"2001:db8:5::{n}" for n in range(1, 6)] if number == 4 else [f"198.51.100.{n}" for n in range(1, 6)]
    )
    piece = slice_body(
        name,
        rng.sample(pods, rng.randint(1, 3)),
        ports=[{"name": "http", "port": 8080, "protocol": protocol}],
        kind="IPv6" if number == 4 else "IPv4",
    )
    return service_body(name, address, ports=[port], ingress=ingress, **spec), piece


class Site:
    """The namespace, the API server, the objects, and the daemon that runs now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.space = namespaces.create("killed")
        self.objects: dict[str, Body] = {}
        self.daemon: Child | None = None
        self._api: Child | None = None
        namespaces.ip(
            self.space, "link set lo up", f"addr add {ADDRESSES[0]}/24 dev lo",
            f"addr add {ADDRESSES[1]}/64 dev lo",
        )  # fmt: skip
        (folder / "kubeconfig").write_text(json.dumps(_kubeconfig()))
        (folder / "config").write_text(CONFIG.replace("KUBECONFIG", str(folder / "kubeconfig")))
        with entered(self.space):
            self.machine: Machine = real_machine(RealNft())
        self.stranger = Stranger(self.machine)

    def begin(self) -> None:
        """The API server, and the first objects."""
        data = self.folder / "api.data"
        self._api = Child(
            self.space, lambda: run_api_server(API, data, service_cidr=CIDRS), str(self.folder / "api.log")
        )
        with entered(self.space):
            until(lambda: urllib.request.urlopen(f"http://{API}/readyz", timeout=2), 30, "API server")
        asyncio.run(self._do(lambda client: client.create(NODES, {"metadata": {"name": "node1"}})))
        rng = Random(0)
        self.put(*(body for number in range(SERVICES_HELD) for body in bodies(number, rng)))

    async def _do(self, work: Callable[[Client], Awaitable[object]]) -> None:
        with entered(self.space):
            async with Client(ClientConfig(server=f"http://{API}")) as client:
                await work(client)

    def put(self, *some: Body) -> None:
        """Create or replace objects."""

        async def work(client: Client) -> None:
            for body in some:
                kind = SERVICES if body["kind"] == "Service" else ENDPOINTSLICES
                name = body["metadata"]["name"]
                make = client.replace if f"{kind.plural}/{name}" in self.objects else client.create
                await make(kind, body)
                if "status" in body:
                    await client.merge_patch(
                        kind, name, {"status": body["status"]}, "default", subresource="status"
                    )
                self.objects[f"{kind.plural}/{name}"] = body

        asyncio.run(self._do(work))

    def delete(self, number: int) -> None:
        """Delete a Service and its EndpointSlice."""

        async def work(client: Client) -> None:
            for kind, name in ((SERVICES, f"s{number}"), (ENDPOINTSLICES, f"s{number}-1")):
                if self.objects.pop(f"{kind.plural}/{name}", None):
                    await client.delete(kind, name, "default")

        asyncio.run(self._do(work))

    # --- the daemon ----------------------------------------------------------------------------------------

    def start(self, count: int, *, armed: bool) -> None:
        """Start a daemon that kills itself after so many messages, counted from now or from `arm`."""
        argv = ["proxy", "--config", str(self.folder / "config"), "--hostname-override", "node1"]
        argv += ["--strictarp-state", str(self.folder / "lib")]
        work = dies_after(count, lambda: main(argv), armed=armed)
        self.daemon = Child(self.space, work, str(self.folder / "proxy.log"))

    def arm(self) -> None:
        """From now on its messages count."""
        assert self.daemon is not None
        os.kill(self.daemon.pid, signal.SIGUSR1)

    def killed(self, seconds: float) -> bool:
        """Wait until the daemon has killed itself; else it is killed here, and False."""
        assert self.daemon is not None
        pid = self.daemon.pid
        try:
            until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), seconds, "death")
        except AssertionError:
            self.daemon.kill()
            return False
        code = self.daemon.kill()
        assert code == -signal.SIGKILL, f"the daemon ended by itself, with {code}"
        return True

    # --- what is, and what should be -----------------------------------------------------------------------

    def planned(self) -> Body:
        """What the command says: `strictarp proxy plan`."""
        file = self.folder / "objects.json"
        file.write_text(
            json.dumps({"kind": "List", "apiVersion": "v1", "items": list(self.objects.values())})
        )
        argv = ["proxy", "plan", "--config", str(self.folder / "config"), "--node", "node1"]
        argv += ["--node-address", ADDRESSES[0], "--node-address", ADDRESSES[1], "--objects", str(file)]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert main(argv) == 0
        made: Body = json.loads(said.getvalue())
        return made

    def found(self) -> State:
        """What the kernel holds."""

        async def look() -> State:
            return kernel_state(await self.stranger.look(), await self.stranger.elements())

        with entered(self.space):
            return asyncio.run(look())

    def ends_as_planned(self, seconds: float) -> None:
        """Wait until the kernel is as planned, and stays so while nothing changes."""
        plan = self.planned()
        wanted, found = plan_state(plan), self.found()

        def same() -> bool:
            nonlocal found
            found = self.found()
            return found == wanted

        try:
            until(same, seconds, "the plan's state")
        except AssertionError as late:
            late.add_note(differences(found, wanted))
            raise
        with entered(self.space):
            values = {
                name: Path("/proc/sys", name.replace(".", "/")).read_text().strip()
                for name in plan["sysctls"]
            }
        assert values == plan["sysctls"]

    def flush(self) -> None:
        """Everything, while no daemon runs."""
        with entered(self.space):
            asyncio.run(self.stranger.do("flush", 0))

    def end(self) -> None:
        for child in (self.daemon, self._api):
            if child is not None:
                child.kill()
        self.machine.close()
        self.space.close()


def _kubeconfig() -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://{API}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }

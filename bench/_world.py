"""All that a daemon sees of the world, so that it can be measured from outside as a process of its own.

A network namespace of the running kernel, the embedded API server in it with a cluster of any size, and a
recorder in the place of ip_vs. Needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from aiohttp import web

from bench import _cluster
from bench._recorder import Place, Recorder
from strictarp.lab import namespaces
from strictarp.lab.apiserver.engine import Engine
from strictarp.lab.apiserver.server import Server
from strictarp.lab.apiserver.targets import parse_path

_ROOT = Path(__file__).parent.parent
_HISTORY = 100_000
_PATIENCE = 120.0
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/"
_CONFIG = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
bindAddressHardFail: true
clientConnection: {{kubeconfig: {kubeconfig}}}
{more}
"""
_SETTINGS = "apiVersion: strictarp.io/v1alpha1\nkind: ProxySettings\nfullLookPeriod: {full_look}\n"
_KUBECONFIG = """apiVersion: v1
kind: Config
current-context: bench
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
clusters: [{name: bench, cluster: {server: "http://127.0.0.1:6443"}}]
users: [{name: bench, user: {}}]
"""


class Report(msgspec.Struct, frozen=True):
    """What a daemon has used and done so far. Seconds of CPU; messages of the sockets that program.

    settled: its first sync is over. waiting: Services that wait to be planned.
    """

    cpu: float
    children_cpu: float
    processes: int
    netlink: int
    settled: bool
    waiting: int

    def since(self, before: Report) -> Report:
        """The difference."""
        return msgspec.structs.replace(
            self,
            cpu=self.cpu - before.cpu,
            children_cpu=self.children_cpu - before.children_cpu,
            processes=self.processes - before.processes,
            netlink=self.netlink - before.netlink,
        )


class World:
    """One daemon and what is around it. `waits`: when a real server was asked for, until it is there.

    `delays`: seconds from the change in the API until the kernel was told, one each.
    """

    def __init__(
        self, services: int, recorder: Recorder, engine: Engine, process: subprocess.Popen[bytes]
    ) -> None:
        self.services = services
        self.recorder = recorder
        self.engine = engine
        self.process = process
        self.waits: dict[Place, float] = {}
        self.delays: list[float] = []
        self.first_told: float | None = None
        self._versions = [0] * services
        self._reports: asyncio.Queue[Report] = asyncio.Queue()
        recorder.on_added = self._added

    def _added(self, place: Place, now: float) -> None:
        if self.first_told is None:
            self.first_told = cpu_of(self.process.pid)
        asked = self.waits.pop(place, None)
        if asked is not None:
            self.delays.append(now - asked)

    def change(self, number: int, *, here: bool = False) -> None:
        """One endpoint of a Service goes and another comes, in the API. here: on the daemon's node."""
        self._versions[number] += 1
        version = self._versions[number]
        body = _cluster.piece(number, version, on=_cluster.NODE if here else "")
        place = (
            socket.inet_aton(_cluster.cluster_ip(number)),
            socket.inet_aton(_cluster.changed_ip(number, version)),
        )
        self.waits[place] = time.monotonic()
        self.engine.put_raw(parse_path(_SLICES + f"{_cluster.name(number)}-x7k2p"), body)

    async def programmed(self) -> None:
        """Everything that was changed has reached the kernel."""
        await self.until(lambda: not self.waits, "a change reaches the kernel")

    async def quiet(self) -> None:
        """Everything that was changed is in the kernel, and what was removed has drained."""
        await self.programmed()
        whole = self.services * _cluster.ENDPOINTS
        await self.until(lambda: self.recorder.real_servers() == whole, "drained endpoints go", every=0.05)

    async def until(self, condition: object, what: str, every: float = 0.001) -> None:
        """Wait for something of the daemon's. Raises RuntimeError when it ends, or takes too long."""
        assert callable(condition)
        end = time.monotonic() + _PATIENCE
        while not condition():
            if self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended with {self.process.returncode}")
            if time.monotonic() > end:
                raise RuntimeError(f"not within {_PATIENCE:.0f} s: {what}")
            await asyncio.sleep(every)

    async def report(self) -> Report:
        """Ask the daemon what it has used and done."""
        self.process.send_signal(signal.SIGUSR2)
        return await asyncio.wait_for(self._reports.get(), 10.0)

    def take_report(self, reports: int) -> None:
        """The daemon has written a report."""
        for line in os.read(reports, 1 << 16).splitlines():
            self._reports.put_nowait(msgspec.json.decode(line, type=Report))

    def memory(self, field: str = "VmRSS") -> float:
        """Resident memory of the daemon in MB (VmRSS), or its peak (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


@contextlib.asynccontextmanager
async def world(services: int, more: str = "", *, full_look: str = "1m") -> AsyncIterator[World]:
    """A daemon whose first sync is done. `more`: of its configuration file. full_look: of its settings."""
    engine = Engine(service_cidr=_cluster.SERVICE_CIDR, history=_HISTORY)
    for number in range(services):
        engine.put_raw(
            parse_path(f"/api/v1/namespaces/default/services/{_cluster.name(number)}"),
            _cluster.service(number),
        )
        engine.put_raw(parse_path(_SLICES + f"{_cluster.name(number)}-x7k2p"), _cluster.piece(number))
    engine.put_raw(parse_path(f"/api/v1/nodes/{_cluster.NODE}"), _cluster.node())
    space = namespaces.create(_cluster.NODE)
    loop = asyncio.get_running_loop()
    recorder = Recorder()
    reading, writing = os.pipe()
    try:
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strictarp-bench-")))
            await _serve(stack, Server(engine), space)
            loop.add_reader(recorder.socket, recorder.serve)
            stack.callback(loop.remove_reader, recorder.socket)
            (folder / "settings").write_text(_SETTINGS.format(full_look=full_look))
            process = _start(space, folder, recorder.peer.fileno(), writing, more)
            stack.callback(_stop, process, folder)
            made = World(services, recorder, engine, process)
            loop.add_reader(reading, made.take_report, reading)
            stack.callback(loop.remove_reader, reading)
            whole = services * _cluster.ENDPOINTS
            await made.until(lambda: recorder.real_servers() == whole, "the first sync", every=0.05)
            while not (await made.report()).settled:  # noqa: ASYNC110 - it is another process that settles
                await asyncio.sleep(0.1)
            yield made
    finally:
        recorder.socket.close()
        recorder.peer.close()
        os.close(reading)
        os.close(writing)
        space.close()


async def _serve(stack: contextlib.AsyncExitStack, server: Server, space: namespaces.Namespace) -> None:
    runner = web.ServerRunner(
        web.Server(server.handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.5
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.callback(server.watchers.close)
    namespaces.ip(
        space,
        "link add eth0 type veth peer name uplink",
        "link set eth0 up",
        "link set uplink up",
        "addr add 192.0.2.11/24 dev eth0",
    )
    with namespaces.entered(space):
        listening = socket.create_server(("127.0.0.1", 6443))
    await web.SockSite(runner, listening).start()


def _start(
    space: namespaces.Namespace, folder: Path, given: int, reports: int, more: str
) -> subprocess.Popen[bytes]:
    kubeconfig, config = folder / "kubeconfig", folder / "config.conf"
    kubeconfig.write_text(_KUBECONFIG)
    config.write_text(_CONFIG.format(kubeconfig=kubeconfig, more=more))
    files = [str(config), str(folder / "settings")]
    argv = [sys.executable, "-m", "bench._daemon", str(given), str(reports), *files]
    with namespaces.entered(space), (folder / "log").open("wb") as log:
        return subprocess.Popen(argv, pass_fds=(given, reports), stderr=log, cwd=_ROOT)


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.terminate()
    process.wait(10.0)
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    for line in lines:
        if line["level"] not in ("info", "debug"):
            print(f"the daemon said: {line}", file=sys.stderr)

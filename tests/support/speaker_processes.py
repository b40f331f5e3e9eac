"""Real speakers, each a process in a namespace of its own, on one switch with an API server and a client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from strictarp.arp import frames
from strictarp.arp.frames import mac_text, parse_mac
from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.errors import KubeError
from strictarp.lab import namespaces
from strictarp.lab.apiserver.server import Server, serve
from support.forked import Child
from support.segment import Segment, build

API = "192.0.2.1:6443"
MARGINS = ("--hello-ms", "200", "--claim-ms", "200", "--late-ms", "90")
"""Wide enough for two busy cores."""
T = TypeVar("T")
SETTINGS = {"settle": 1_000_000, "season": 1_500_000}


def run_api(folder: str) -> None:
    """The API server, until killed."""
    from strictarp.lab.apiserver.engine import Engine
    from strictarp.lab.apiserver.journal import Journal

    async def work() -> None:
        server = Server(Engine(Journal(Path(folder, "api.data")), service_cidr="203.0.113.128/25"))
        await serve(server, API)
        await asyncio.Event().wait()

    asyncio.run(work())


def run_speaker(node: str, kubeconfig: str) -> int:
    """The daemon, as the command line starts it; seasoned sooner, so that a test need not wait for it."""
    from strictarp.cli import speaker as command
    from strictarp.cli.main import main

    known = command._settings
    command._settings = lambda *args, **more: msgspec.structs.replace(known(*args, **more), **SETTINGS)
    return main(["speaker", "--node-name", node, "--kubeconfig", kubeconfig, "--port", "0", *MARGINS])


class Listener:
    """Asks for addresses by ARP all the time, as a client does that has forgotten them, and notes who
    answers.
    """

    def __init__(self, wire: Segment, addresses: tuple[str, ...], every: float = 0.02) -> None:
        self.heard: list[tuple[float, str, str]] = []
        """When, which address, which MAC."""
        self.asked: list[float] = []
        self._every = every
        self._addresses = [socket.inet_aton(each) for each in addresses]
        self._mac = parse_mac(wire.mac("client"))
        self._own = socket.inet_aton(wire.address("client"))
        with namespaces.entered(wire.hosts["client"]):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
            self._socket.bind(("eth0", 0x0806))
        self._socket.settimeout(every / 4)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        next_question = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= next_question:
                next_question = max(next_question + self._every, now)
                self.asked.append(now)
                for address in self._addresses:
                    self._socket.send(frames.request(self._mac, self._own, address))
            with contextlib.suppress(TimeoutError, frames.MalformedFrame):
                heard = frames.decode(self._socket.recv(2048))
                if heard.operation == frames.REPLY and heard.target_mac == self._mac:
                    text = socket.inet_ntoa(heard.sender_ip)
                    self.heard.append((time.monotonic(), text, mac_text(heard.sender_mac)))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def turns(self, address: str) -> list[str]:
        """The MACs that answered, each time that it was another one."""
        macs = [mac for _, ip, mac in self.heard if ip == address]
        return [mac for before, mac in zip(["", *macs], macs, strict=False) if mac != before]

    def longest_silence(self, address: str, since: float) -> float:
        """Seconds without an answer, at most, from then to the last question."""
        times = [since, *(at for at, ip, _ in self.heard if ip == address and at >= since), self.asked[-1]]
        return max(later - before for before, later in itertools.pairwise(times))


def kubeconfig(url: str) -> str:
    """The text of a kubeconfig for an API that asks nobody who he is."""
    users = "users: [{name: u, user: {token: t}}], contexts: [{name: c, context: {cluster: c, user: u}}]"
    clusters = f"clusters: [{{name: c, cluster: {{server: '{url}'}}}}]"
    return f"{{apiVersion: v1, kind: Config, current-context: c, {clusters}, {users}}}"


class Cluster:
    """speakers: by node. url: of the API, from inside any of the namespaces."""

    def __init__(self, wire: Segment, folder: Path) -> None:
        self.wire = wire
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.url = f"http://{API}"
        self.kubeconfig.write_text(kubeconfig(self.url))
        self.api = Child(wire.switch, lambda: run_api(str(folder)), str(folder / "api.log"))
        self.speakers: dict[str, Child] = {}
        self.more: list[Child] = []

    def start_controller(self) -> None:
        """In the namespace of the API server."""

        def work() -> int:
            from strictarp.cli.main import main

            options = ["--identity", "one", "--port", "0", "--health-probe-port", "0"]
            return main(["controller", "--kubeconfig", str(self.kubeconfig), *options])

        self.more.append(Child(self.wire.switch, work, str(self.folder / "controller.log")))

    def ask(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Ask the API something. Raises OSError for whatever it answers: not yet, in `until`."""

        async def run() -> T:
            async with Client(ClientConfig(server=self.url)) as client:
                return await work(client)

        try:
            return asyncio.run(run())
        except KubeError as error:
            raise OSError(str(error)) from error

    def start(self, node: str) -> None:
        def work() -> int:
            return run_speaker(node, str(self.kubeconfig))

        self.speakers[node] = Child(self.wire.hosts[node], work, str(self.folder / f"{node}.log"))

    def end(self, node: str, number: int = signal.SIGTERM) -> int:
        return self.speakers.pop(node).kill(number)

    def log(self, node: str) -> str:
        return Path(self.folder, f"{node}.log").read_text()


@contextlib.contextmanager
def cluster(folder: Path, *nodes: str, others: Sequence[str] = ()) -> Iterator[Cluster]:
    """The API server runs; speakers are started by the test. others: hosts that are no nodes."""
    with build([*nodes, "client", *others]) as wire:
        namespaces.ip(wire.switch, "addr add 192.0.2.1/24 dev br0")
        made = Cluster(wire, folder)
        try:
            yield made
        finally:
            for each in (*made.speakers.values(), *made.more, made.api):
                each.kill(signal.SIGKILL)

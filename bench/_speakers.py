"""A segment with speakers for benchmarks: whole processes, and an API server that holds many objects.

The nodes and the client of a lab, in namespaces, with a larger subnet beside the lab's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from strictarp.arp import bpf, frames
from strictarp.arp.frames import ETHERTYPE_ARP, ArpFrame
from strictarp.arp.rawsocket import RawSocket
from strictarp.lab import layout, manifests, namespaces
from strictarp.lab.apiserver.engine import Engine
from strictarp.lab.apiserver.server import Server, serve
from strictarp.lab.apiserver.targets import parse_path
from strictarp.lab.manifests import Document, document
from strictarp.lab.topology import Network
from strictarp.speaker.links import Place
from strictarp.speaker.membership import lease_body

SUBNET = ipaddress.IPv4Network("198.18.0.0/16")
FIRST_VIP = SUBNET[64 << 8]
ASKER = "02:00:00:00:00:c1"
READY_LIMIT = 120.0


def vips(count: int) -> list[bytes]:
    """The first addresses of the pool."""
    return [(FIRST_VIP + number).packed for number in range(count)]


def _metallb(kind: str, spec: Document) -> Document:
    return document("metallb.io/v1beta1", kind, "bench", manifests.NAMESPACE, spec=spec)


def objects(services: int, nodes: Iterable[Document]) -> Iterator[tuple[str, Document]]:
    """Paths and objects of a cluster whose Services all have their address."""
    custom = f"/apis/metallb.io/v1beta1/namespaces/{manifests.NAMESPACE}"
    pool: Document = {"addresses": [str(SUBNET)]}
    yield f"{custom}/ipaddresspools/bench", _metallb("IPAddressPool", pool)
    yield f"{custom}/l2advertisements/bench", _metallb("L2Advertisement", {})
    key = {"key": "a2V5IG9mIHRoZSBiZW5jaG1hcmssIDMyIGJ5dGVzIGxvbmc="}
    secret = document("v1", "Secret", "strictarp-hello", manifests.NAMESPACE, data=key)
    yield f"/api/v1/namespaces/{manifests.NAMESPACE}/secrets/strictarp-hello", secret
    yield f"/api/v1/namespaces/{manifests.NAMESPACE}", document("v1", "Namespace", manifests.NAMESPACE)
    system = document("v1", "Namespace", "kube-system")
    system["metadata"] = {"name": "kube-system", "uid": "11111111-2222-3333-4444-555555555555"}
    yield "/api/v1/namespaces/kube-system", system
    for node in nodes:
        yield f"/api/v1/nodes/{_name(node)}", node
    for number in range(services):
        yield from _service(f"service-{number}", str(FIRST_VIP + number))


def _name(made: Document) -> str:
    return str(made["metadata"]["name"])  # type: ignore[index]


def _service(name: str, ip: str) -> Iterator[tuple[str, Document]]:
    ports: list[Document] = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    spec: Document = {
        "type": "LoadBalancer",
        "clusterIP": "None",
        "externalTrafficPolicy": "Cluster",
        "ports": ports,
        "selector": {"app": name},
    }
    status: Document = {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}]}}
    made = document("v1", "Service", name, "default", spec=spec, status=status)
    yield f"/api/v1/namespaces/default/services/{name}", made
    labels = {"kubernetes.io/service-name": name}
    endpoints = [
        {
            "addresses": [f"10.244.{number}.7"],
            "nodeName": f"node{number + 1}",
            "conditions": {"ready": True, "serving": True, "terminating": False},
        }
        for number in range(3)
    ]
    yield (
        f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{name}-1",
        document(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            f"{name}-1",
            "default",
            labels=labels,
            addressType="IPv4",
            endpoints=endpoints,
            ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
        ),
    )


def far_nodes(first: int, count: int) -> Iterator[tuple[Document, Document]]:
    """Nodes that live by the API only, and the Leases of their speakers, which say that they are near."""
    for number in range(first, first + count):
        mac = f"02:00:00:00:01:{number:02x}"
        host = layout.Host(f"node{number}", str(SUBNET[number + 100]), mac, "")
        card = Place(number, "eth0", frames.parse_mac(mac), True, ((SUBNET[number + 100].packed, 16),))
        lease = lease_body(host.name, (card,), "2026-01-01T00:00:00.000000Z")
        yield manifests.node_object(host), lease


async def _serve(made: list[tuple[str, Document]], ready: int) -> None:
    engine = Engine(history=20_000)
    for path, each in made:
        engine.put_raw(parse_path(path), each)
    await serve(Server(engine), f"{layout.CONTROL_PLANE_ADDRESS}:6443")
    os.write(ready, b".")
    await asyncio.Event().wait()


class Scene:
    """Nodes `node1` … on one segment with `services` addresses; speakers are started by `speak`."""

    def __init__(self, nodes: int, services: int, *, far: int = 0) -> None:
        self.services = services
        self.network = Network(nodes)
        self.network.build()
        self._folder = tempfile.TemporaryDirectory(prefix="strictarp-bench-")
        self._children: list[int] = []
        self.speakers: dict[str, subprocess.Popen[bytes]] = {}
        self._kubeconfig = Path(self._folder.name, "kubeconfig")
        self._kubeconfig.write_text(json.dumps(manifests.kubeconfig(layout.API_URL)), encoding="utf-8")
        for number, name in enumerate((layout.CLIENT, *self.network.nodes), 1):
            line = f"addr add {SUBNET[number]}/{SUBNET.prefixlen} dev eth0"
            namespaces.ip(self.network.spaces[name], line)
        self._serve(far)

    def _serve(self, far: int) -> None:
        near = [manifests.node_object(each) for each in self.network.nodes.values()]
        others = list(far_nodes(len(near) + 1, far))
        made = list(objects(self.services, [*near, *(node for node, _ in others)]))
        folder = f"/apis/coordination.k8s.io/v1/namespaces/{manifests.NAMESPACE}/leases"
        made += [(f"{folder}/{_name(lease)}", lease) for _, lease in others]
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                namespaces.enter(self.network.spaces[layout.CONTROL_PLANE])
                asyncio.run(_serve(made, told))
            os._exit(1)
        self._children.append(pid)
        os.close(told)
        if os.read(ready, 1) != b".":
            raise RuntimeError("the API server did not start")
        os.close(ready)

    def speak(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        """Start a node's speaker, with more arguments if any; its log goes to a file of the scene."""
        argv = [sys.executable, "-m", "strictarp", "speaker", "--kubeconfig", str(self._kubeconfig)]
        with namespaces.entered(self.network.spaces[name]), self.log(name).open("wb") as log:
            process = subprocess.Popen([*argv, "--node-name", name, *more], stdout=log, stderr=log)
        self.speakers[name] = process
        return process

    def log(self, name: str) -> Path:
        """The log of a node's speaker."""
        return Path(self._folder.name, f"{name}.log")

    def told(self, name: str, kind: str) -> int:
        """How often a speaker logged a turn."""
        return self.log(name).read_bytes().count(f'"msg":"{kind}"'.encode())

    def version(self) -> int:
        """The API's resourceVersion: it grows by one with each write."""
        url = f"{layout.API_URL}/api/v1/nodes?limit=1"
        with (
            namespaces.entered(self.network.spaces[layout.CONTROL_PLANE]),
            urllib.request.urlopen(url, timeout=10) as answer,  # noqa: S310 - our own server
        ):
            return int(json.load(answer)["metadata"]["resourceVersion"])

    def close(self) -> None:
        """End everything."""
        for process in self.speakers.values():
            process.kill()
            process.wait()
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for space in self.network.spaces.values():
            space.close()
        self._folder.cleanup()


class Asker:
    """Asks for addresses from the client's card, by ARP, and hears the answers."""

    def __init__(self, network: Network) -> None:
        with namespaces.entered(network.spaces[layout.CLIENT]):
            self._socket = RawSocket(socket.if_nametoindex("eth0"), ETHERTYPE_ARP, bpf.arp())
        self._mac = frames.parse_mac(ASKER)

    def ask(self, address: bytes) -> None:
        """One request to all."""
        mac, own = self._mac, SUBNET[1].packed
        asked = ArpFrame(frames.BROADCAST_MAC, mac, frames.REQUEST, mac, own, frames.NO_MAC, address)
        self._socket.send(frames.encode(asked))

    def heard(self) -> bytes | None:
        """The next frame, None without."""
        return self._socket.receive()

    def round_trip(self, address: bytes, limit: float = 0.5) -> float | None:
        """Seconds until the answer for an address; None without one. Waits busily: waking up costs time."""
        began = time.perf_counter()
        self.ask(address)
        while (now := time.perf_counter()) < began + limit:
            data = self._socket.receive()
            if data is not None and data[20:22] == b"\0\x02" and data[28:32] == address:
                return now - began
        return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def until(what: str, check: Callable[[], bool], *, poll: float = 0.25) -> float:
    """Wait until `check` holds; returns seconds. Raises RuntimeError after a limit."""
    began = time.monotonic()
    while not check():
        if time.monotonic() - began > READY_LIMIT:
            raise RuntimeError(f"{what}: not within {READY_LIMIT:.0f} s")
        time.sleep(poll)
    return time.monotonic() - began


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processor, in all its threads (proc(5), schedstat)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory now and at its peak, in MB."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    )
    now, peak = (round(int(fields[key].split()[0]) / 1024, 1) for key in ("VmRSS", "VmHWM"))
    return now, peak

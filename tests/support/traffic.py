"""A client, a node with the real daemon and real IPVS, and backends that tell who called them.

The client is also where the embedded API server runs. For tests inside the virtual machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
import urllib.request
from pathlib import Path

from strictarp.cli.main import main
from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.model import Resource
from strictarp.kube.objects import ENDPOINTSLICES, NODES, SERVICES
from strictarp.lab import namespaces
from strictarp.lab.apiserver.server import run as run_api_server
from strictarp.lab.namespaces import entered
from strictarp.proxy import process as _process  # noqa: F401 - imported before the fork
from support.forked import Child, until
from support.proxy_objects import service_body, slice_body

CLIENT, NODE, OTHER, POD, POD_GATEWAY = (
    "192.0.2.1", "192.0.2.11", "192.0.2.12", "198.51.100.18", "198.51.100.17",
)  # fmt: skip
VIP, CLUSTER_IP, UDP_IP = "192.0.2.100", "203.0.113.140", "203.0.113.141"
LIMITED, LOCAL, STICKY, SCTP_IP = "192.0.2.101", "192.0.2.102", "192.0.2.103", "203.0.113.142"
CLIENT6, NODE6, POD6, POD_GATEWAY6 = (
    "2001:db8:1::1", "2001:db8:1::11", "2001:db8:2::12", "2001:db8:2::11",
)  # fmt: skip
BRIEF_IP, LATE_IP = "203.0.113.146", "203.0.113.147"
VIP6, CLUSTER_IP6 = "2001:db8:1::100", "2001:db8:9::10"
SERVICE_CIDRS = "203.0.113.128/25,2001:db8:9::/112"
HEALTH_PORT = 32000
API = f"{CLIENT}:6443"
CONFIG = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
clientConnection: {kubeconfig: KUBECONFIG}
clusterCIDR: 198.51.100.0/24,2001:db8:2::/64
ipvs: {strictARP: true}
"""


def _answer(connection: socket.socket, peer: str) -> None:
    """`PEER` first, then everything back."""
    with connection, contextlib.suppress(OSError):
        connection.sendall(f"{peer}\n".encode())
        while data := connection.recv(1000):
            connection.sendall(data)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp_backend(address: str) -> None:
    """Tells every connection who called, then echoes."""
    _accept(socket.create_server((address, 8080), family=_family(address), backlog=256))


def _sctp_backend(address: str) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    listener.bind((address, 8080))
    listener.listen()
    _accept(listener)


def _accept(listener: socket.socket) -> None:
    with listener:
        while True:
            connection, (peer, *_) = listener.accept()
            threading.Thread(target=_answer, args=(connection, peer), daemon=True).start()


def udp_backend(address: str) -> None:
    """Answers every datagram with its sender and its text."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as listener:
        listener.bind((address, 5353))
        while True:
            data, peer = listener.recvfrom(1000)
            listener.sendto(peer[0].encode() + b" " + data, peer)


class World:
    """The namespaces, the children in them, and how to speak to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spaces = {name: namespaces.create(name) for name in ("client", "node", "pod", "other")}
        self.children: list[Child] = []
        self.proxy: Child | None = None
        self._network()
        (folder / "kubeconfig").write_text(json.dumps(_kubeconfig()))
        (folder / "config").write_text(CONFIG.replace("KUBECONFIG", str(folder / "kubeconfig")))

    def _network(self) -> None:
        node, client, pod, other = (self.spaces[name] for name in ("node", "client", "pod", "other"))
        namespaces.veth((client, "eth0"), (node, "eth0"))
        namespaces.veth((other, "eth0"), (node, "eth1"))
        namespaces.veth((pod, "eth0"), (node, "pod0"))
        namespaces.ip(
            node,
            "link add br0 type bridge", "link set eth0 master br0", "link set eth1 master br0",
            "link set br0 up", f"addr add {NODE}/24 dev br0", f"addr add {POD_GATEWAY}/28 dev pod0",
            f"route add default via {CLIENT}",
        )  # fmt: skip
        namespaces.ip(client, f"addr add {CLIENT}/24 dev eth0", f"route add {VIP}/32 via {NODE}")
        namespaces.ip(client, f"route add 203.0.113.0/24 via {NODE}")
        namespaces.ip(other, f"addr add {OTHER}/24 dev eth0", f"route add 198.51.100.0/24 via {NODE}")
        namespaces.ip(pod, f"addr add {POD}/28 dev eth0", f"route add default via {POD_GATEWAY}")
        for vip in (LIMITED, LOCAL, STICKY):
            namespaces.ip(client, f"route add {vip}/32 via {NODE}")
        namespaces.ip(other, f"route add {LIMITED}/32 via {NODE}")
        self._network6(node, client, pod)

    def _network6(
        self, node: namespaces.Namespace, client: namespaces.Namespace, pod: namespaces.Namespace
    ) -> None:
        namespaces.ip(
            node, f"addr add {NODE6}/64 dev br0 nodad", f"addr add {POD_GATEWAY6}/64 dev pod0 nodad"
        )
        namespaces.ip(
            client, f"addr add {CLIENT6}/64 dev eth0 nodad",
            f"route add {VIP6}/128 via {NODE6}", f"route add 2001:db8:9::/112 via {NODE6}",
        )  # fmt: skip
        namespaces.ip(pod, f"addr add {POD6}/64 dev eth0 nodad", f"route add default via {POD_GATEWAY6}")
        # As kube-proxy the proxy leaves forwarding of IPv6 to the host.
        namespaces.run(node, ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])

    def child(self, space: str, work: object, name: str) -> Child:
        made = Child(self.spaces[space], work, str(self.folder / f"{name}.log"))  # type: ignore[arg-type]
        self.children.append(made)
        return made

    def start_proxy(self, *more: str) -> None:
        argv = ["proxy", "--config", str(self.folder / "config"), "--hostname-override", "node1", *more]
        argv += ["--strictarp-state", str(self.folder / "lib")]
        log = self.folder / "proxy.log"
        self._log_from = log.stat().st_size if log.exists() else 0
        self.proxy = self.child("node", lambda: main(argv), "proxy")

    def log_since_start(self) -> str:
        return (self.folder / "proxy.log").read_text()[self._log_from :]

    def put(self, res: Resource, *bodies: dict[str, object]) -> None:  # type: ignore[type-arg]
        """Create or replace objects."""

        async def work() -> None:
            async with Client(ClientConfig(server=f"http://{API}")) as client:
                known = {item.metadata.name for item in (await client.list(res)).items}
                for body in bodies:
                    named = body["metadata"]["name"] in known  # type: ignore[index]
                    await (client.replace(res, body) if named else client.create(res, body))
                    if "status" in body:
                        await client.merge_patch(
                            res, body["metadata"]["name"], {"status": body["status"]}, "default",  # type: ignore[index]
                            subresource="status",
                        )  # fmt: skip

        with entered(self.spaces["client"]):
            asyncio.run(work())

    def delete(self, res: Resource, *names: str) -> None:  # type: ignore[type-arg]
        """Delete objects."""

        async def work() -> None:
            async with Client(ClientConfig(server=f"http://{API}")) as client:
                for name in names:
                    await client.delete(res, name, "default")

        with entered(self.spaces["client"]):
            asyncio.run(work())

    def connect(
        self, address: str, port: int, space: str = "client", limit: float = 3.0
    ) -> tuple[socket.socket, str]:
        """A connection and who the backend says is calling."""
        with entered(self.spaces[space]):
            made = socket.create_connection((address, port), timeout=limit)
        return made, made.recv(100).decode().strip()

    def asker(self, address: str, space: str = "client", limit: float = 3.0) -> socket.socket:
        """A UDP socket for an address of its family."""
        with entered(self.spaces[space]):
            made = socket.socket(_family(address), socket.SOCK_DGRAM)
        made.settimeout(limit)
        return made

    def udp_caller(self, address: str, port: int, space: str = "client", limit: float = 3.0) -> str:
        """Who sends a datagram from a fresh socket, after the backend."""
        with self.asker(address, space, limit) as asking:
            asking.sendto(b"hello", (address, port))
            return asking.recv(100).decode().removesuffix(" hello")

    def callers(self, address: str, port: int, space: str = "client", count: int = 4) -> set[str]:
        """Who calls, after the backends, in `count` connections one after the other."""
        seen = set()
        for _ in range(count):
            connection, caller = self.connect(address, port, space)
            connection.close()
            seen.add(caller)
        return seen

    def run(self, *argv: str) -> str:
        return namespaces.run(self.spaces["node"], argv).stdout

    def weights(self) -> dict[str, int]:
        """Real server of the VIP → weight, from /proc/net/ip_vs."""
        lines = self.run("cat", "/proc/net/ip_vs").splitlines()
        found, inside = {}, False
        for line in lines[3:]:
            words = line.split()
            if words[0] != "->":
                inside = words[:2] == ["TCP", "C0000264:0050"]
            elif inside:
                found[".".join(str(int(words[1][i : i + 2], 16)) for i in range(0, 8, 2))] = int(words[3])
        return found

    def print_logs(self) -> None:
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()}")

    def end(self) -> None:
        for child in reversed(self.children):
            child.kill()
        for space in self.spaces.values():
            space.close()


def _kubeconfig() -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://{API}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


def web_slice(*endpoints: object) -> dict[str, object]:
    return slice_body("web", endpoints)


def dns_slice(address: str, service: str = "dns") -> dict[str, object]:
    """The one endpoint of the UDP Service."""
    return slice_body(service, [address], ports=[{"name": "dns", "port": 5353, "protocol": "UDP"}])


BOTH = web_slice((POD, "node1"), (OTHER, "node2"))


def services() -> list[dict[str, object]]:
    """One Service of each kind."""
    port: dict[str, object] = {"name": "http", "port": 80, "targetPort": 8080}
    return [
        service_body(
            "web", CLUSTER_IP, type="LoadBalancer", ingress=[VIP], ports=[{**port, "nodePort": 30080}]
        ),
        service_body(
            "dns", UDP_IP, ports=[{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353}]
        ),
        service_body("brief", BRIEF_IP, ports=[port]),
        service_body("stream", SCTP_IP, ports=[{**port, "protocol": "SCTP"}]),
        service_body(
            "limited", "203.0.113.143", type="LoadBalancer", ingress=[LIMITED], ports=[port],
            loadBalancerSourceRanges=[f"{CLIENT}/32"],
        ),
        service_body(
            "local", "203.0.113.144", type="LoadBalancer", ingress=[LOCAL], ports=[port],
            externalTrafficPolicy="Local", healthCheckNodePort=HEALTH_PORT,
        ),
        service_body(
            "sticky", "203.0.113.145", type="LoadBalancer", ingress=[STICKY], ports=[port],
            sessionAffinity="ClientIP", annotations={"strictarp.io/scheduler": "mh"},
        ),
        service_body(
            "six", CLUSTER_IP6, type="LoadBalancer", ingress=[VIP6], ports=[{**port, "nodePort": 30086}],
            ipFamilies=["IPv6"],
        ),
    ]  # fmt: skip


def slices() -> list[dict[str, object]]:
    """Their endpoints: the pod on this node, and mostly another node's."""
    both = [(POD, "node1"), (OTHER, "node2")]
    return [
        BOTH,
        dns_slice(POD),
        slice_body("stream", [POD], ports=[{"name": "http", "port": 8080, "protocol": "SCTP"}]),
        *(slice_body(name, both) for name in ("limited", "local", "sticky", "brief")),
        slice_body("six", [(POD6, "node1")], kind="IPv6"),
    ]


def start(folder: Path) -> World:
    """A world in which everything has been programmed."""
    for module in (
        "ip_vs", "ip_vs_rr", "ip_vs_mh", "dummy", "nf_tables", "nft_masq", "nft_chain_nat", "bridge", "veth",
        "sctp",
    ):  # fmt: skip
        subprocess.run(["modprobe", module], check=False)
    made = World(folder)
    try:
        data = made.folder / "api.data"
        made.child("client", lambda: run_api_server(API, data, service_cidr=SERVICE_CIDRS), "api")
        made.child("pod", lambda: tcp_backend(POD), "pod-tcp")
        made.child("pod", lambda: tcp_backend(POD6), "pod-tcp6")
        made.child("pod", lambda: udp_backend(POD), "pod-udp")
        made.child("pod", lambda: _sctp_backend(POD), "pod-sctp")
        made.child("other", lambda: tcp_backend(OTHER), "other-tcp")
        made.child("other", lambda: udp_backend(OTHER), "other-udp")
        with entered(made.spaces["client"]):
            until(lambda: urllib.request.urlopen(f"http://{API}/readyz", timeout=2), 30, "API server")
        made.put(NODES, {"metadata": {"name": "node1"}})
        made.put(SERVICES, *services())
        made.put(ENDPOINTSLICES, *slices())
        made.start_proxy()
        until(lambda: made.callers(VIP, 80), 60, "first answer through the VIP")
    except BaseException:
        made.print_logs()
        made.end()
        raise
    return made

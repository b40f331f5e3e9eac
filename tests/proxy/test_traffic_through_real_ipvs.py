"""A client, a node with the real daemon and real IPVS, and backends: does traffic go where it should?

One node, set up once. The client is also where the embedded API server runs. Backends tell who called them.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.objects import ENDPOINTSLICES, NODES, SERVICES, Resource
from strictarp.lab import namespaces
from strictarp.lab.apiserver.server import run as run_api_server
from strictarp.lab.namespaces import entered
from strictarp.proxy import daemon as _daemon  # noqa: F401 - imported before the fork
from support.forked import Child, until
from support.proxy_objects import service_body, slice_body

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

CLIENT, NODE, OTHER, POD, POD_GATEWAY = (
    "192.0.2.1", "192.0.2.11", "192.0.2.12", "198.51.100.18", "198.51.100.17",
)  # fmt: skip
VIP, CLUSTER_IP, UDP_IP = "192.0.2.100", "203.0.113.140", "203.0.113.141"
API = f"{CLIENT}:6443"
CONFIG = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
clientConnection: {kubeconfig: KUBECONFIG}
clusterCIDR: 198.51.100.0/24
ipvs: {strictARP: true}
"""


def _answer(connection: socket.socket, peer: str) -> None:
    """`PEER` first, then everything back."""
    with connection, contextlib.suppress(OSError):
        connection.sendall(f"{peer}\n".encode())
        while data := connection.recv(1000):
            connection.sendall(data)


def _tcp_backend(address: str) -> None:
    with socket.create_server((address, 8080)) as listener:
        while True:
            connection, (peer, *_) = listener.accept()
            threading.Thread(target=_answer, args=(connection, peer), daemon=True).start()


def _udp_backend(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
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

    def child(self, space: str, work: object, name: str) -> Child:
        made = Child(self.spaces[space], work, str(self.folder / f"{name}.log"))  # type: ignore[arg-type]
        self.children.append(made)
        return made

    def start_proxy(self) -> None:
        argv = ["proxy", "--config", str(self.folder / "config"), "--hostname-override", "node1"]
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

    def connect(self, address: str, port: int, space: str = "client") -> tuple[socket.socket, str]:
        """A connection and who the backend says is calling."""
        with entered(self.spaces[space]):
            made = socket.create_connection((address, port), timeout=3)
        return made, made.recv(100).decode().strip()

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


def _web_slice(*endpoints: object) -> dict[str, object]:
    return slice_body("web", endpoints)


BOTH = _web_slice((POD, "node1"), (OTHER, "node2"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    for module in ("ip_vs", "ip_vs_rr", "dummy", "nf_tables", "nft_masq", "nft_chain_nat", "bridge", "veth"):
        subprocess.run(["modprobe", module], check=False)
    made = World(tmp_path_factory.mktemp("world"))
    try:
        data = made.folder / "api.data"
        made.child("client", lambda: run_api_server(API, data, service_cidr="203.0.113.128/25"), "api")
        made.child("pod", lambda: _tcp_backend(POD), "pod-tcp")
        made.child("pod", lambda: _udp_backend(POD), "pod-udp")
        made.child("other", lambda: _tcp_backend(OTHER), "other-tcp")
        with entered(made.spaces["client"]):
            until(lambda: urllib.request.urlopen(f"http://{API}/readyz", timeout=2), 30, "API server")
        made.put(NODES, {"metadata": {"name": "node1"}})
        web = service_body(
            "web", CLUSTER_IP, type="LoadBalancer", ingress=[VIP],
            ports=[{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}],
        )  # fmt: skip
        dns = service_body(
            "dns", UDP_IP, ports=[{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353}]
        )
        made.put(SERVICES, web, dns)
        made.put(
            ENDPOINTSLICES,
            BOTH,
            slice_body("dns", [POD], ports=[{"name": "dns", "port": 5353, "protocol": "UDP"}]),
        )
        made.start_proxy()
        until(lambda: made.callers(VIP, 80), 60, "first answer through the VIP")
        yield made
    except BaseException:
        for log in sorted(made.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()}")
        raise
    finally:
        made.end()


def test_both_backends_serve_the_vip_and_see_this_node_as_the_client(world: World) -> None:
    assert world.callers(VIP, 80) == {NODE, POD_GATEWAY}
    assert world.callers(NODE, 30080) == {NODE, POD_GATEWAY}
    assert world.callers(CLUSTER_IP, 80) == {NODE, POD_GATEWAY}


def test_the_node_itself_reaches_a_cluster_ip_that_is_bound_here(world: World) -> None:
    assert world.callers(CLUSTER_IP, 80, "node") == {NODE, POD_GATEWAY}


def test_a_pod_reaches_a_cluster_ip_with_its_own_address_and_itself_by_hairpin(world: World) -> None:
    assert world.callers(CLUSTER_IP, 80, "pod") == {POD, POD_GATEWAY}


def test_udp_goes_through_a_cluster_ip(world: World) -> None:
    with entered(world.spaces["client"]):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(3)
        asking.sendto(b"hello", (UDP_IP, 53))
        assert asking.recv(100) == f"{POD_GATEWAY} hello".encode()


def test_ports_of_a_vip_that_are_no_service_are_closed(world: World) -> None:
    with pytest.raises(ConnectionRefusedError):
        world.connect(VIP, 10256)
    with entered(world.spaces["client"]):
        assert urllib.request.urlopen(f"http://{NODE}:10256/healthz", timeout=3).status == 200


def test_strictarp_is_in_force_and_told(world: World) -> None:
    with entered(world.spaces["client"]):
        told = json.load(urllib.request.urlopen(f"http://{NODE}:10256/strictarp", timeout=3))
    assert (told["requested"], told["inForce"]) == (True, True)


def test_a_removed_endpoint_keeps_its_connections_and_a_returning_one_gets_its_weight(
    world: World,
) -> None:
    connection, caller = world.connect(VIP, 80)
    if caller != POD_GATEWAY:
        connection.close()
        connection, caller = world.connect(VIP, 80)
    assert caller == POD_GATEWAY
    world.put(ENDPOINTSLICES, _web_slice((OTHER, "node2")))
    until(lambda: world.weights() == {POD: 0, OTHER: 1}, 5, "the removed endpoint drains")
    assert world.callers(VIP, 80) == {NODE}
    connection.sendall(b"still here\n")
    assert connection.recv(100) == b"still here\n"
    world.put(ENDPOINTSLICES, BOTH)
    until(lambda: world.weights() == {POD: 1, OTHER: 1}, 5, "the returning endpoint has its weight")
    connection.sendall(b"and now\n")
    assert connection.recv(100) == b"and now\n"
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_and_a_restart_disturb_no_connection(world: World, number: int) -> None:
    before = world.run("cat", "/proc/net/ip_vs").splitlines()[3:]
    connection, _ = world.connect(VIP, 80)
    assert world.proxy is not None
    assert world.proxy.kill(number) == (0 if number == signal.SIGTERM else -number)
    assert world.callers(VIP, 80) == {NODE, POD_GATEWAY}
    world.start_proxy()
    until(lambda: "objects known" in world.log_since_start(), 30, "the restarted proxy knows the objects")
    until(lambda: world.callers(VIP, 80) == {NODE, POD_GATEWAY}, 5, "traffic as before")
    connection.sendall(b"still here\n")
    assert connection.recv(100) == b"still here\n"
    connection.close()
    assert _servers(world.run("cat", "/proc/net/ip_vs").splitlines()[3:]) == _servers(before)


def _servers(lines: list[str]) -> list[list[str]]:
    """Virtual and real servers without the counts of connections."""
    return [line.split()[:4] for line in lines]


def test_a_deleted_service_leaves_nothing(world: World) -> None:
    async def work() -> None:
        async with Client(ClientConfig(server=f"http://{API}")) as client:
            await client.delete(SERVICES, "dns", "default")

    with entered(world.spaces["client"]):
        asyncio.run(work())
    until(lambda: UDP_IP not in world.run("ip", "addr", "show", "kube-ipvs0"), 5, "the address goes")
    assert UDP_IP not in world.run("nft", "list", "table", "ip", "strictarp")
    assert "UDP" not in world.run("cat", "/proc/net/ip_vs")

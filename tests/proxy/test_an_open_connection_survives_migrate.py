"""`strictarp proxy migrate` from kube-proxy's ipvs mode and back on the real kernel, with an open connection.

The rules are what kube-proxy's ipvs mode loads, through the same programs: ipset and iptables-restore.
"""

import signal
import socket
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from strictarp.cli.main import main
from strictarp.lab import namespaces
from support.forked import until
from support.traffic import CLUSTER_IP, NODE, POD_GATEWAY, VIP, World

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

SETS = f"""\
create KUBE-CLUSTER-IP hash:ip,port family inet
create KUBE-LOAD-BALANCER hash:ip,port family inet
create KUBE-6-CLUSTER-IP hash:ip,port family inet6
add KUBE-CLUSTER-IP {CLUSTER_IP},tcp:80
add KUBE-LOAD-BALANCER {VIP},tcp:80
"""
RULES = """\
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
COMMIT
"""
LEGACY = """\
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
COMMIT
"""


class _ProxyMode(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ipvs" if self.path == "/proxyMode" else b"kubeproxy_x 1\n")


def _feed(world: World, text: str, *argv: str) -> None:
    with namespaces.entered(world.spaces["node"]):
        subprocess.run(argv, input=text, text=True, check=True, capture_output=True)


def _kube_proxys_rules(world: World) -> None:
    _feed(world, SETS, "ipset", "restore")
    _feed(world, RULES, "iptables-nft-restore", "--noflush")
    _feed(world, LEGACY, "iptables-legacy-restore", "--noflush")


def _migrate(world: World, *more: str) -> str:
    """Run it; what it told."""
    argv = ["proxy", "migrate", "--config", str(world.folder / "config"), "--hostname-override", "node1"]
    argv += ["--strictarp-state", str(world.folder / "lib"), "--wait", "60", *more]
    code = world.child("node", lambda: main(argv), "migrate").wait()
    told = (world.folder / "migrate.log").read_text()
    assert code == 0, told
    return told


@pytest.fixture
def given(world: World) -> Iterator[World]:
    """The world, and afterwards a proxy in it as before."""
    yield world
    world.start_proxy()
    until(lambda: world.callers(VIP, 80), 60, "served as before")
    until(lambda: "objects known" in world.log_since_start(), 60, "started")


def _goes_on(connection: socket.socket) -> None:
    connection.sendall(b"still here\n")
    assert connection.recv(100) == b"still here\n"


def test_from_ipvs_mode_and_back(given: World) -> None:
    world, both = given, {NODE, POD_GATEWAY}
    assert world.proxy is not None
    world.proxy.kill(signal.SIGTERM)
    _kube_proxys_rules(world)
    for family in ("ip", "ip6"):
        world.run("nft", "delete", "table", family, "strictarp")
    before, _ = world.connect(VIP, 80)
    with before:
        told = _migrate(world)
        assert "ipsets" in told
        _goes_on(before)
        during, _ = world.connect(VIP, 80)
        with during:
            assert world.callers(VIP, 80) == both
            assert world.callers(CLUSTER_IP, 80) == both
            rules = world.run("nft", "list", "ruleset")
            assert "KUBE-KUBELET-CANARY" in rules
            assert not any(word in rules for word in ("KUBE-SERVICES", "KUBE-MARK-MASQ", "KUBE-POSTROUTING"))
            assert world.run("ipset", "list", "-n") == ""
            assert "KUBE-FORWARD" not in world.run("iptables-legacy-save")

            server = world.child(
                "node", lambda: HTTPServer(("127.0.0.1", 10249), _ProxyMode).serve_forever(), "mode"
            )
            _kube_proxys_rules(world)
            _migrate(world, "--back")
            server.kill()
            assert "strictarp" not in world.run("nft", "list", "tables")
            _goes_on(before)
            _goes_on(during)
            assert world.callers(VIP, 80) == both
    world.run("nft", "delete", "table", "ip", "nat")
    world.run("iptables-legacy", "-F")
    world.run("iptables-legacy", "-X")
    world.run("ipset", "destroy")

"""A client, a node with the real daemon and real IPVS, and backends: does traffic go where it should?

Backends tell who called them.
"""

import asyncio
import json
import signal
import socket
import time
import urllib.request
from ipaddress import IPv4Address

import pytest

from strictarp.kube.objects import ENDPOINTSLICES, SERVICES
from strictarp.lab.namespaces import entered
from strictarp.netlink import genl
from strictarp.netlink.ipvs import FAMILY_NAME
from strictarp.netlink.ipvs_encode import encode_flush
from strictarp.netlink.socket import NETLINK_GENERIC, Netlink
from support.forked import until
from support.proxy_objects import service_body
from support.traffic import (
    BOTH,
    BRIEF_IP,
    CLIENT,
    CLUSTER_IP,
    CLUSTER_IP6,
    HEALTH_PORT,
    LATE_IP,
    LIMITED,
    LOCAL,
    NODE,
    NODE6,
    OTHER,
    POD,
    POD_GATEWAY,
    POD_GATEWAY6,
    SCTP_IP,
    STICKY,
    UDP_IP,
    VIP,
    VIP6,
    World,
    dns_slice,
    web_slice,
)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]


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
    world.put(ENDPOINTSLICES, web_slice((OTHER, "node2")))
    until(lambda: world.weights() == {POD: 0, OTHER: 1}, 30, "the removed endpoint drains")
    assert world.callers(VIP, 80) == {NODE}
    connection.sendall(b"still here\n")
    assert connection.recv(100) == b"still here\n"
    world.put(ENDPOINTSLICES, BOTH)
    until(lambda: world.weights() == {POD: 1, OTHER: 1}, 30, "the returning endpoint has its weight")
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
    until(lambda: world.callers(VIP, 80) == {NODE, POD_GATEWAY}, 30, "traffic as before")
    connection.sendall(b"still here\n")
    assert connection.recv(100) == b"still here\n"
    connection.close()
    assert _servers(world.run("cat", "/proc/net/ip_vs").splitlines()[3:]) == _servers(before)


def _servers(lines: list[str]) -> list[list[str]]:
    """Virtual and real servers without the counts of connections."""
    return [line.split()[:4] for line in lines]


def test_source_ranges_let_in_whom_they_name_and_nobody_else(world: World) -> None:
    assert world.callers(LIMITED, 80) == {NODE, POD_GATEWAY}
    for outsider in ("other", "node"):
        with pytest.raises(TimeoutError):
            world.connect(LIMITED, 80, outsider)


def test_policy_local_keeps_the_clients_address_and_its_endpoints(world: World) -> None:
    assert world.callers(LOCAL, 80) == {CLIENT}


def test_the_health_port_of_policy_local_tells_the_endpoints_here(world: World) -> None:
    def told() -> bool:
        with entered(world.spaces["client"]):
            answer = urllib.request.urlopen(f"http://{NODE}:{HEALTH_PORT}/", timeout=3)
        assert answer.headers["X-Load-Balancing-Endpoint-Weight"] == "1"
        assert json.load(answer)["localEndpoints"] == 1
        return True

    until(told, 60, "the port is open once a restarted proxy has looked at everything")


def test_affinity_sends_a_client_to_the_same_endpoint(world: World) -> None:
    assert len(world.callers(STICKY, 80, count=8)) == 1
    (line,) = [line for line in world.run("cat", "/proc/net/ip_vs").splitlines() if "C0000267" in line]
    assert line.split()[2:4] == ["mh", "persistent"]


def test_sctp_goes_through_a_cluster_ip(world: World) -> None:
    with entered(world.spaces["client"]):
        asking = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    with asking:
        asking.settimeout(5)
        asking.connect((SCTP_IP, 80))
        assert asking.recv(100).decode().strip() == POD_GATEWAY


def test_ipv6_goes_through_every_way_in_and_host_ports_stay_closed(world: World) -> None:
    assert world.callers(CLUSTER_IP6, 80, count=1) == {POD_GATEWAY6}
    assert world.callers(VIP6, 80, count=1) == {POD_GATEWAY6}
    assert world.callers(NODE6, 30086, count=1) == {POD_GATEWAY6}
    assert world.callers(CLUSTER_IP6, 80, "pod", count=1) == {POD_GATEWAY6}
    with pytest.raises(ConnectionRefusedError):
        world.connect(VIP6, 10256)


def test_a_changed_configuration_is_taken_over_and_disturbs_no_connection(world: World) -> None:
    file = world.folder / "config"
    text = file.read_text()
    connection, _ = world.connect(VIP, 80)
    file.write_text(text.replace("strictARP: true", "strictARP: true, scheduler: lc"))
    until(lambda: "C0000264:0050 lc" in world.run("cat", "/proc/net/ip_vs"), 20, "another scheduler")
    file.write_text(text + "metricsBindAddress: 0.0.0.0:10250\n")

    def mode() -> bool:
        with entered(world.spaces["client"]):
            answer: bytes = urllib.request.urlopen(f"http://{NODE}:10250/proxyMode", timeout=3).read()
        return answer == b"ipvs"

    until(mode, 40, "its own server at another port")
    until(lambda: "C0000264:0050 rr" in world.run("cat", "/proc/net/ip_vs"), 20, "the scheduler as before")
    connection.sendall(b"still here\n")
    assert connection.recv(100) == b"still here\n"
    connection.close()
    file.write_text(text)


def test_a_udp_client_follows_to_the_new_endpoint(world: World) -> None:
    with entered(world.spaces["client"]):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(1)

        def answered_by(caller: str) -> bool:
            asking.sendto(b"hello", (UDP_IP, 53))
            return asking.recv(100) == f"{caller} hello".encode()

        assert answered_by(POD_GATEWAY)
        world.put(ENDPOINTSLICES, dns_slice(OTHER))
        until(lambda: answered_by(NODE), 10, "the same socket reaches the new endpoint")


def test_a_udp_client_that_began_before_its_service_is_masqueraded_like_others(world: World) -> None:
    """Connection tracking knows it without SNAT, for as long as it sends."""
    with entered(world.spaces["client"]):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(0.5)
        asking.sendto(b"early", (LATE_IP, 53))
        port = {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353}
        world.put(SERVICES, service_body("late", LATE_IP, ports=[port]))
        world.put(ENDPOINTSLICES, dns_slice(POD, "late"))

        def answered() -> bool:
            asking.sendto(b"hello", (LATE_IP, 53))
            return asking.recv(100) == f"{POD_GATEWAY} hello".encode()

        until(answered, 20, "answers by way of the node")
    world.delete(SERVICES, "late")


def test_what_somebody_flushes_is_there_again_within_seconds(world: World) -> None:
    async def flush() -> None:
        async with Netlink(NETLINK_GENERIC) as kernel:
            family = (await genl.resolve(kernel, FAMILY_NAME)).number
            assert await kernel.request([encode_flush(family)]) == [None]

    with entered(world.spaces["node"]):
        asyncio.run(flush())
    until(lambda: world.callers(VIP, 80) == {NODE, POD_GATEWAY}, 20, "all as before")
    until(lambda: "it is repaired" in world.log_since_start(), 20, "the repair is told")
    world.run("ip", "link", "del", "kube-ipvs0")
    world.run("nft", "delete", "table", "ip", "strictarp")
    until(lambda: world.callers(VIP, 80) == {NODE, POD_GATEWAY}, 20, "all as before")


def test_a_deleted_service_lets_its_connections_end(world: World) -> None:
    connection, _ = world.connect(BRIEF_IP, 80)
    world.delete(SERVICES, "brief")
    world.delete(ENDPOINTSLICES, "brief-1")
    time.sleep(3)
    connection.sendall(b"still here\n")
    assert connection.recv(100) == b"still here\n"
    with pytest.raises(OSError):  # noqa: PT011 - refused or unreachable
        world.connect(BRIEF_IP, 80)
    assert BRIEF_IP in world.run("ip", "addr", "show", "kube-ipvs0")
    connection.close()


def test_a_deleted_service_leaves_nothing(world: World) -> None:
    world.delete(SERVICES, "dns")
    until(lambda: UDP_IP not in world.run("ip", "addr", "show", "kube-ipvs0"), 30, "the address goes")
    assert UDP_IP not in world.run("nft", "list", "table", "ip", "strictarp")
    assert IPv4Address(UDP_IP).packed.hex().upper() not in world.run("cat", "/proc/net/ip_vs")


def test_a_foreign_chain_that_drops_is_told_and_opened_by_the_switch(world: World) -> None:
    """The last of all: no other has to wait for the proxy that starts here."""
    world.run(
        "nft", "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
    )
    assert world.proxy is not None
    with pytest.raises(TimeoutError):
        world.connect(VIP, 80)
    until(lambda: "drops forwarded packets" in world.log_since_start(), 20, "it is told")
    world.proxy.kill(signal.SIGTERM)
    world.start_proxy("--open-forward")
    until(lambda: world.callers(VIP, 80) == {NODE, POD_GATEWAY}, 60, "answers come through")
    assert world.callers(NODE, 30080) == {NODE, POD_GATEWAY}
    world.run("nft", "delete", "table", "ip", "filter")

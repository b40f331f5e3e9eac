"""More kinds of Services in the world of real traffic, and a stream of connections that notes losses."""

from __future__ import annotations

import socket
import threading
from collections import Counter

from strictarp.kube.objects import ENDPOINTSLICES, SERVICES
from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from support.forked import until
from support.proxy_objects import service_body, slice_body
from support.traffic import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    OTHER,
    POD,
    POD6,
    World,
    tcp_backend,
    udp_backend,
)

OTHER6 = "2001:db8:1::12"
STICKY, STICKY_PORT, OPEN, KEPT, EXTERNAL, UDP_VIP, NEAR = (
    "192.0.2.112", 30112, "192.0.2.113", "192.0.2.114", "192.0.2.115", "192.0.2.116", "192.0.2.117",
)  # fmt: skip
KEPT_PORT, UDP_PORT, SCTP_PORT, INNER, FAR = 30114, 30116, 30118, "203.0.113.153", "203.0.113.154"
SPREAD6, LIMITED6, KEPT6, STICKY6, UDP6 = (f"2001:db8:1::11{number}" for number in range(5))
SPREAD_CLUSTER_IP6 = "2001:db8:9::20"
_PORT: dict[str, object] = {"name": "http", "port": 80, "targetPort": 8080}
_DNS: dict[str, object] = {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"}
_DNS_END = {"name": "dns", "port": 5353, "protocol": "UDP"}


def add(world: World) -> None:
    """The network, backends and objects that these kinds need; returns when they are programmed."""
    namespaces.ip(world.spaces["client"], f"route add 192.0.2.112/28 via {NODE}")
    namespaces.ip(world.spaces["client"], f"route add 2001:db8:1::110/124 via {NODE6}")
    namespaces.ip(
        world.spaces["other"], f"route add 192.0.2.112/28 via {NODE}", f"addr add {OTHER6}/64 dev eth0 nodad",
        f"route add 2001:db8:2::/64 via {NODE6}", f"route add 2001:db8:1::110/124 via {NODE6}",
    )  # fmt: skip
    world.child("other", lambda: tcp_backend(OTHER6), "other-tcp6")
    world.child("pod", lambda: udp_backend(POD6), "pod-udp6")
    world.put(SERVICES, *_services())
    world.put(ENDPOINTSLICES, *_slices())
    until(lambda: world.udp_caller(UDP6, 53), 30, "the last of them answers")


def _balancer(name: str, last: int, vip: str, port: dict[str, object], **spec: object) -> dict[str, object]:
    return service_body(
        name,
        f"203.0.113.{last}",
        type="LoadBalancer",
        ingress=[vip],
        ports=[port],
        **spec,  # type: ignore[arg-type]
    )


def _balancer6(name: str, vip: str, port: dict[str, object], **spec: object) -> dict[str, object]:
    cluster_ip = f"2001:db8:9::2{vip[-1]}"
    return service_body(
        name,
        cluster_ip,
        type="LoadBalancer",
        ingress=[vip],
        ports=[port],
        ipFamilies=["IPv6"],
        **spec,  # type: ignore[arg-type]
    )


def _services() -> list[dict[str, object]]:
    local = {"externalTrafficPolicy": "Local"}
    return [
        _balancer("rr-sticky", 150, STICKY, {**_PORT, "nodePort": STICKY_PORT}, sessionAffinity="ClientIP"),
        _balancer("open", 151, OPEN, _PORT, loadBalancerSourceRanges=["0.0.0.0/0"]),
        service_body(
            "kept", "203.0.113.152", type="NodePort", ports=[{**_PORT, "nodePort": KEPT_PORT}],
            externalIPs=[KEPT], **local,
        ),
        service_body("inner", INNER, ports=[_PORT], externalIPs=[EXTERNAL], internalTrafficPolicy="Local"),
        service_body("far", FAR, ports=[_PORT], externalIPs=[NEAR]),
        _balancer(
            "dns-limited", 155, UDP_VIP, {**_DNS, "nodePort": UDP_PORT},
            loadBalancerSourceRanges=[f"{CLIENT}/32"],
        ),
        service_body(
            "stream-port", "203.0.113.156", type="NodePort",
            ports=[{**_PORT, "protocol": "SCTP", "nodePort": SCTP_PORT}],
        ),
        _balancer6("spread6", SPREAD6, _PORT),
        _balancer6("limited6", LIMITED6, _PORT, loadBalancerSourceRanges=[f"{CLIENT6}/128"]),
        _balancer6("kept6", KEPT6, _PORT, **local),
        _balancer6("sticky6", STICKY6, _PORT, sessionAffinity="ClientIP"),
        _balancer6("dns6", UDP6, _DNS),
    ]  # fmt: skip


def _slices() -> list[dict[str, object]]:
    both, both6 = [(POD, "node1"), (OTHER, "node2")], [(POD6, "node1"), (OTHER6, "node2")]
    return [
        *(slice_body(name, both) for name in ("rr-sticky", "open", "kept", "inner")),
        *(slice_body(name, both6, kind="IPv6") for name in ("spread6", "limited6", "kept6", "sticky6")),
        slice_body("far", [(OTHER, "node2")]),
        slice_body("dns-limited", [POD], ports=[_DNS_END]),
        slice_body("stream-port", [POD], ports=[{"name": "http", "port": 8080, "protocol": "SCTP"}]),
        slice_body("dns6", [(POD6, "node1")], kind="IPv6", ports=[_DNS_END]),
    ]


class Load:
    """Long-lived connections that are used all the time, and a new one after each round; in a thread.

    `callers` counts whom the backends of new connections saw; `losses` are connections that were refused,
    reset, or answered nothing.
    """

    def __init__(self, world: World, address: str, port: int, count: int) -> None:
        self.callers: Counter[str] = Counter()
        self.losses: list[str] = []
        self.rounds = 0
        self._world, self._place, self._stopped = world, (address, port), threading.Event()
        self._open = [world.connect(address, port) for _ in range(count)]
        self.held = Counter(caller for _, caller in self._open)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with entered(self._world.spaces["client"]):
            while not self._stopped.is_set():
                for connection, caller in self._open:
                    self._try(f"held by {caller}", connection)
                self._new()
                self.rounds += 1

    def _new(self) -> None:
        try:
            with socket.create_connection(self._place, timeout=5) as connection:
                caller = connection.recv(100).decode().strip()
                self._try("new", connection)
        except OSError as error:
            self.losses.append(f"new: {error!r}")
        else:
            self.callers[caller] += 1

    def _try(self, what: str, connection: socket.socket) -> None:
        try:
            connection.sendall(b"ping\n")
            answer = connection.recv(100)
        except OSError as error:
            self.losses.append(f"{what}: {error!r}")
        else:
            if answer != b"ping\n":
                self.losses.append(f"{what}: {answer!r}")

    def go_on(self, rounds: int) -> Counter[str]:
        """Wait for so many whole rounds; whom their new connections met."""
        # A round that began earlier may yet make its connection as things were then.
        begun = self.rounds + 1
        until(lambda: self.rounds >= begun, 60, "a round")
        before, now = Counter(self.callers), self.rounds
        until(lambda: self.rounds >= now + rounds, 60, "rounds of connections")
        return self.callers - before

    def stop(self) -> None:
        """Close everything."""
        self._stopped.set()
        self._thread.join()
        for connection, _ in self._open:
            connection.close()

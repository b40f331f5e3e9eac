"""MetalLB's speaker, written down naively from its documented behaviour: who announces, what it answers.

Works on plain documents and bytes and shares no code with ours: an oracle, and a stand-in on the wire.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from strictarp.arp.frames import BROADCAST_MAC, NO_IP, NO_MAC, REQUEST, ArpFrame, encode
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.lab.witness import asked_number, asker
from support.metallb_model import expand

Json = dict[str, Any]
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6


def matches(selector: Json, labels: Mapping[str, str]) -> bool:
    """A label selector: what it lists must all hold."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", ()):
        value, values = labels.get(each["key"]), each.get("values", [])
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[each["operator"]]:
            return False
    return True


def _any(selectors: Iterable[Json], labels: Mapping[str, str]) -> bool:
    return any(matches(each, labels) for each in selectors)


def _labels(document: Json) -> dict[str, str]:
    return document["metadata"].get("labels") or {}


class Cluster:
    """The documents that the election depends on. alive: the members by memberlist."""

    def __init__(
        self, pools: list[Json], advertisements: list[Json], nodes: list[Json], slices: list[Json]
    ) -> None:
        self.pools = pools
        self.advertisements = advertisements
        self.nodes = {each["metadata"]["name"]: each for each in nodes}
        self.slices = slices

    def owner(self, service: Json, alive: Iterable[str]) -> str | None:
        """The node that announces all addresses of the Service, None: nobody does."""
        ranked = self.ranked(service, alive)
        return ranked[0] if ranked else None

    def ranked(self, service: Json, alive: Iterable[str]) -> list[str]:
        """All candidates, the one that announces first."""
        ips = [each["ip"] for each in service["status"]["loadBalancer"].get("ingress", ())]
        pool = next((each for each in self.pools if ips and _holds(each, ips)), None)
        endpoints = list(self._serving(service))
        if pool is None or not endpoints:
            return []
        advertisements = [each for each in self.advertisements if self._serves(each, pool, service)]
        notes = service["metadata"].get("annotations") or {}
        shared = any(f"metallb.{domain}/allow-shared-ip" in notes for domain in ("io", "universe.tf"))
        if shared and any(each["spec"].get("serviceSelectors") for each in advertisements):
            return []
        able = {name for name in alive if self._able(name)}
        able = {name for name in able if any(name in self._nodes_of(each) for each in advertisements)}
        if service["spec"].get("externalTrafficPolicy") == "Local":
            able &= {each.get("nodeName") for each in endpoints}
        first = str(ipaddress.ip_address(ips[0]))

        def key(name: str) -> tuple[int, bytes]:
            score = sum(self._weight(each, name) for each in advertisements)
            return -score, hashlib.sha256(f"{name}#{first}".encode()).digest()

        return sorted(able, key=key)

    def _serving(self, service: Json) -> Iterable[Json]:
        meta = service["metadata"]
        for each in self.slices:
            if each["metadata"]["namespace"] != meta["namespace"]:
                continue
            if _labels(each).get("kubernetes.io/service-name") != meta["name"]:
                continue
            for endpoint in each["endpoints"]:
                conditions = endpoint.get("conditions", {})
                if conditions.get("ready", True) or conditions.get("serving", False):
                    yield endpoint

    def _serves(self, advertisement: Json, pool: Json, service: Json) -> bool:
        spec = advertisement["spec"]
        names, selectors = spec.get("ipAddressPools", []), spec.get("ipAddressPoolSelectors", [])
        chosen = (
            (not names and not selectors)
            or pool["metadata"]["name"] in names
            or _any(selectors, _labels(pool))
        )
        wanted = spec.get("serviceSelectors", [])
        return chosen and (not wanted or _any(wanted, _labels(service)))

    def _able(self, name: str) -> bool:
        node = self.nodes.get(name, {"metadata": {}})
        conditions = node.get("status", {}).get("conditions", ())
        gone = any(each["type"] == "NetworkUnavailable" and each["status"] == "True" for each in conditions)
        return not gone and EXCLUDE not in _labels(node)

    def _nodes_of(self, advertisement: Json) -> set[str]:
        selectors = advertisement["spec"].get("nodeSelectors", [])
        return {name for name, node in self.nodes.items() if not selectors or _any(selectors, _labels(node))}

    def _weight(self, advertisement: Json, name: str) -> int:
        if name not in self._nodes_of(advertisement):
            return 0
        preferred = advertisement["spec"].get("preferredNodeSelectors", ())
        labels = _labels(self.nodes[name])
        return sum(each["weight"] for each in preferred if matches(each["preference"], labels))


def _holds(pool: Json, ips: list[str]) -> bool:
    addresses = {ip for item in pool["spec"]["addresses"] for ip in expand(item)}
    return all(ipaddress.ip_address(ip) in addresses for ip in ips)


def kept_statuses(
    statuses: list[Json], service: str, owner: str | None, speakers: Iterable[str]
) -> list[Json]:
    """What MetalLB's speakers leave of the ServiceL2Status objects of a Service, once all have reconciled.

    One that does not announce deletes those with its own node's label; the one that does keeps one of its own
    and deletes every other one of the Service. owner: who announces; speakers: those that run.
    """
    namespace, _, name = service.partition("/")

    def of_service(each: Json) -> bool:
        labels = _labels(each)
        there = (labels.get("metallb.io/service-namespace"), labels.get("metallb.io/service-name"))
        return there == (namespace, name)

    left = list(statuses)
    for node in speakers:
        mine = [each for each in left if of_service(each) and _labels(each)["metallb.io/node"] == node]
        if node != owner:
            left = [each for each in left if each not in mine]
        else:
            left = [each for each in left if not of_service(each) or each in mine[:1]]
            left += [] if mine else [l2_status(service, node)]
    return left


def l2_status(service: str, node: str) -> Json:
    """As MetalLB's speaker makes it."""
    namespace, _, name = service.partition("/")
    return {
        "metadata": {
            "generateName": "l2-",
            "namespace": "metallb-system",
            "labels": {
                "metallb.io/node": node,
                "metallb.io/service-name": name,
                "metallb.io/service-namespace": namespace,
            },
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": f"speaker-{node}", "uid": f"uid-{node}"}
            ],
        },
        "spec": {},
        "status": {"node": node, "serviceName": name, "serviceNamespace": namespace, "interfaces": []},
    }


class Speakers:
    """MetalLB's speakers on `eth0` of some nodes: they answer ARP as its responder does, in one thread.

    announces: whether a node announces a packed address, asked for each question.
    """

    def __init__(self, nodes: Mapping[str, Namespace], announces: Callable[[str, bytes], bool]) -> None:
        self._announces = announces
        self._stopping = threading.Event()
        self._sockets: dict[socket.socket, tuple[str, bytes]] = {}
        for name, space in nodes.items():
            with namespaces.entered(space):
                opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
                opened.bind(("eth0", _ETH_P_ARP))
            self._sockets[opened] = (name, opened.getsockname()[4])
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, addresses: Iterable[bytes]) -> None:
        """Announce gratuitously, once, and answer from then on."""
        for opened, (name, mac) in self._sockets.items():
            for address in addresses:
                if self._announces(name, address):
                    for operation in (1, 2):
                        opened.send(_arp(_BROADCAST, mac, operation, address, _BROADCAST, address))
        self._thread.start()

    def stop(self) -> None:
        """The processes end; nothing is said."""
        self._stopping.set()
        self._thread.join()
        for opened in self._sockets:
            opened.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for opened in select.select(list(self._sockets), [], [], 0.02)[0]:
                data, (_, _, kind, _, _) = opened.recvfrom(128)
                if kind != socket.PACKET_OUTGOING:
                    self._hear(opened, data)

    def _hear(self, opened: socket.socket, data: bytes) -> None:
        name, mac = self._sockets[opened]
        if len(data) < 42 or data[20:22] != b"\0\1" or data[:6] not in (_BROADCAST, mac):
            return
        if self._announces(name, data[38:42]):
            opened.send(_arp(data[22:28], mac, 2, data[38:42], data[22:28], data[28:32]))


def _arp(to: bytes, mac: bytes, operation: int, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    head = to + mac + b"\x08\x06\0\1\x08\0\6\4" + operation.to_bytes(2, "big")
    return (head + mac + sender + target_mac + target).ljust(60, b"\0")


class Witness:
    """A host that asks for addresses again and again, and writes down who answers which question.

    Each question names a hardware address of its own as asker, as the lab's witness does: an answer may come
    late, when another host has taken over and answers the next question.
    """

    def __init__(self, space: Namespace, vips: Iterable[str], *, every: float = 0.05) -> None:
        self.vips = [ipaddress.ip_address(each).packed for each in vips]
        self.answers: dict[int, set[bytes]] = {}
        """Number of a question → the MACs that answered it."""
        self.rounds: list[tuple[float, dict[bytes, set[bytes]]]] = []
        """When it asked, and for each address who had answered that question before it asked again."""
        self._every = every
        self._begun = 0
        self._stopping = threading.Event()
        with namespaces.entered(space):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
            self._socket.bind(("eth0", _ETH_P_ARP))
        self._mac = self._socket.getsockname()[4]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            began, asked = time.monotonic(), dict[bytes, int]()
            for vip in self.vips:
                number += 1
                asked[vip] = number
                probe = ArpFrame(BROADCAST_MAC, self._mac, REQUEST, asker(number), NO_IP, NO_MAC, vip)
                self._socket.send(encode(probe))
            while (left := began + self._every - time.monotonic()) > 0:
                if select.select([self._socket], [], [], left)[0]:
                    data = self._socket.recv(128)
                    if data[20:22] == b"\0\2" and (question := asked_number(data[32:38])):
                        self.answers.setdefault(question, set()).add(data[22:28])
            heard = {vip: self.answers[at] for vip, at in asked.items() if at in self.answers}
            self.rounds.append((began, heard))

    def most_answerers(self) -> int:
        """The largest number of hosts that answered one question."""
        return max(map(len, self.answers.values()))

    def gap(self, vip: bytes) -> float:
        """The longest time, in seconds, from one answered question to the next answered one."""
        times = [began for began, heard in self.rounds if heard.get(vip)]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)

    def begin_anew(self) -> None:
        """What has been heard until now is not `last` any more."""
        self._begun = len(self.rounds) + 1

    def last(self) -> dict[bytes, set[bytes]]:
        """Who answered in the last ten rounds."""
        found: dict[bytes, set[bytes]] = {}
        for _, heard in self.rounds[self._begun :][-10:]:
            for vip, macs in heard.items():
                found.setdefault(vip, set()).update(macs)
        return found

"""Random sequences of what happens to a proxy, each from a seed: the same seed gives the same sequence.

Few names, addresses and ports, so that Services meet each other, come back, and want the same place.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import TypeAlias

import msgspec

from strictarp.kube.objects import EndpointSlice, Service
from strictarp.proxy.addresses import pack
from strictarp.proxy.config import Config, NodePortAddresses
from strictarp.proxy.fields import parse_network
from strictarp.proxy.situation import NodeFacts, first_of_each_family
from support.proxy_objects import endpoint_slice, service

EXCLUDED = "192.0.2.240/28"
NAMES = ("default/kubernetes", "default/a", "default/b", "default/c", "prod/a", "prod/dns")
_ALL = (*NAMES, "prod/again")
_IPV4 = {name: f"203.0.113.{10 + number}" for number, name in enumerate(NAMES)}
_IPV6 = {name: f"2001:db8:9::{10 + number}" for number, name in enumerate(NAMES)}
_NODES = ("node1", "node2", "node3", "")
_ZONES = ("zone-a", "zone-b")
_BALANCER = ("192.0.2.100", "192.0.2.101", "192.0.2.102", "2001:db8:1::100", "2001:db8:1::101")
_EXTERNAL = ("192.0.2.100", "192.0.2.103", "2001:db8:1::103", "192.0.2.11")
_RANGES = (
    "10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "2001:db8:1::/48", "::/0",
    "10.1.2.3/33",
)  # fmt: skip
_SCHEDULERS = ("rr", "wrr", "wlc", "sh", "mh", "nq", "none-such")
_PORTS = (("http", 80), ("https", 443), ("dns", 53), ("", 8443))
_TARGETS = {"http": 8080, "https": 8443, "dns": 5353, "": 8080}
_NODE_PORTS = (0, 0, 30080, 30081, 30053)
_PODS4 = tuple(f"198.51.100.{number}" for number in range(1, 7))
_PODS6 = tuple(f"2001:db8:5::{number}" for number in range(1, 5))
_TIMES = ("2024-01-01T00:00:00Z", "2024-02-02T00:00:00Z", "2024-03-03T00:00:00Z")
_HOST = ("192.0.2.11", "2001:db8:1::11")
_MORE_HOST = ("192.0.2.12", "192.0.2.100", "2001:db8:1::12")
_ERRORS = (errno.ENOBUFS, errno.ENOMEM, errno.EPERM)
FOREIGN = (
    "flush", "flush ipvs", "flush nft", "lose device", "remove server", "remove real", "add real", "weight",
    "scheduler", "unbind", "remove element", "add element", "change rule", "excluded", "unknown", "taken",
)  # fmt: skip


class Put(msgspec.Struct, frozen=True):
    """An object appears or changes."""

    item: Service | EndpointSlice


class Delete(msgspec.Struct, frozen=True):
    """An object goes, if it is there."""

    key: str


class See(msgspec.Struct, frozen=True):
    """The node itself changes, or other nodes die or come back."""

    node: NodeFacts
    dead: frozenset[str]


class Reconfigure(msgspec.Struct, frozen=True):
    """The configuration file changes."""

    config: Config


class Turn(msgspec.Struct, frozen=True):
    """The proxy works, after some seconds."""

    after: float


class Refuse(msgspec.Struct, frozen=True):
    """What the kernel says to the next changes; as `Faults.refusals`."""

    numbers: tuple[int, ...]


class Blind(msgspec.Struct, frozen=True):
    """The kernel does not answer so many of the next questions."""

    questions: int


class Foreign(msgspec.Struct, frozen=True):
    """Somebody else changes the kernel; `pick` says which of the things that are there."""

    what: str
    pick: int


class Busy(msgspec.Struct, frozen=True):
    """Connections through what is programmed; `pick` says through which."""

    pick: int


class Restart(msgspec.Struct, frozen=True):
    """The process ends between two turns, and another one starts."""


class Kill(msgspec.Struct, frozen=True):
    """The process is killed after some more messages and scripts, and another one starts."""

    after: int


Step: TypeAlias = Put | Delete | See | Reconfigure | Turn | Refuse | Blind | Foreign | Busy | Restart | Kill


class Sequence(msgspec.Struct, frozen=True):
    """Where it begins, and what happens. ends: connections end by themselves, or their time must."""

    config: Config
    node: NodeFacts
    steps: tuple[Step, ...]
    ends: bool


def sequence(seed: int) -> Sequence:
    """The sequence of a seed."""
    rng = Random(seed)
    families = (4,) if rng.random() < 0.15 else (4, 16)
    steps: list[Step] = [Put(_service(rng)) for _ in range(rng.randint(1, 4))]
    steps += [Put(_slice(rng)) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.8:
        steps.append(Turn(0.0))
    for _ in range(rng.randint(8, 30)):
        steps += _steps(rng, families)
        if rng.random() < 0.4:
            steps.append(Turn(rng.choice((0.0, 0.5, 2.0))))
    return Sequence(_config(rng), _node(rng, families), tuple(steps), rng.random() < 0.5)


def _steps(rng: Random, families: tuple[int, ...]) -> list[Step]:
    kinds: tuple[tuple[int, Callable[[], list[Step]]], ...] = (
        (20, lambda: [Put(_service(rng))]),
        (24, lambda: [Put(_slice(rng))]),
        (8, lambda: [Delete(_name(rng))]),
        (6, lambda: [Delete(_slice_key(rng))]),
        (4, lambda: _again(rng)),
        (10, lambda: [Turn(rng.choice((1.0, 5.0, 31.0, 61.0)))]),
        (6, lambda: [See(_node(rng, families), frozenset(rng.sample(_NODES[1:3], rng.randint(0, 2))))]),
        (2, lambda: [Reconfigure(_config(rng))]),
        (6, lambda: [Refuse(tuple(_refusals(rng)))]),
        (2, lambda: [Blind(rng.randint(1, 6))]),
        (1, lambda: [Delete(key) for name in _ALL for key in (name, *(f"{name}-{n}" for n in (1, 2, 3)))]),
        (1, lambda: [Put(make(rng)) for _ in range(12) for make in (_service, _slice)]),
        (8, lambda: [Foreign(rng.choice(FOREIGN), rng.randrange(1000))]),
        (4, lambda: [Busy(rng.randrange(1000)) for _ in range(rng.randint(1, 4))]),
        (3, lambda: [Restart()]),
        (5, lambda: [Kill(rng.randrange(40))]),
    )  # fmt: skip
    (chosen,) = rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])
    return chosen()


def _refusals(rng: Random) -> list[int]:
    """Mostly single refusals, sometimes many, and lost answers."""
    number = rng.choice(_ERRORS) * rng.choice((1, 1, -1))
    gap, times = rng.choice((0, 0, 1, 3)), rng.choice((1, 1, 2, 10))
    return [0] * rng.randrange(6) + ([number] + [0] * gap) * times


def _again(rng: Random) -> list[Step]:
    """Deleted and made again, or by another name with the same addresses."""
    made = _service(rng)
    turn: list[Step] = [Turn(1.0)] if rng.random() < 0.5 else []
    back = made
    if rng.random() < 0.5:
        back = msgspec.structs.replace(
            made, metadata=msgspec.structs.replace(made.metadata, name="again", namespace="prod")
        )
    return [Put(made), Turn(0.0), Delete(made.key), *turn, Put(back)]


def _name(rng: Random) -> str:
    return rng.choice(_ALL)


def _slice_key(rng: Random) -> str:
    name = _name(rng)
    return f"{name}-{rng.randint(1, 3)}"


def _config(rng: Random) -> Config:
    return Config(
        scheduler=rng.choice(("rr", "rr", "wlc", "lc")),
        masquerade_all=rng.random() < 0.2,
        exclude=(parse_network(EXCLUDED),),
        node_port_addresses=rng.choice((NodePortAddresses(), NodePortAddresses(primary=True))),
    )


def _node(rng: Random, families: tuple[int, ...]) -> NodeFacts:
    more = rng.sample(_MORE_HOST, rng.choice((0, 0, 1, 2)))
    packed = [address for address in map(pack, (*_HOST, *more)) if address is not None]
    own = tuple(sorted(address for address in packed if len(address) in families))
    primary = first_of_each_family([a for a in packed if len(a) in families])
    return NodeFacts("node1", own, primary, rng.choice(("", *_ZONES)), families)


def _service(rng: Random) -> Service:
    """Of any type, with any of what a Service may say."""
    name = rng.choice(NAMES)
    kind = rng.choice(("ClusterIP", "ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ExternalName"))
    own = name if rng.random() < 0.9 else rng.choice(NAMES)
    families = rng.choice((["IPv4"], ["IPv4"], ["IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"]))
    addresses = [(_IPV4 if family == "IPv4" else _IPV6)[own] for family in families]
    if rng.random() < 0.04:
        addresses = ["None"]
    spec: dict[str, object] = {
        "type": kind, "clusterIPs": addresses, "ipFamilies": families,
        "externalTrafficPolicy": rng.choice(("Cluster", "Local")),
        "internalTrafficPolicy": rng.choice(("Cluster", "Cluster", "Local")),
        "sessionAffinity": rng.choice(("None", "None", "ClientIP")),
    }  # fmt: skip
    if rng.random() < 0.3:
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": rng.choice((1, 600, 86400, 90000))}}
    if rng.random() < 0.3:
        spec["externalIPs"] = rng.sample(_EXTERNAL, rng.randint(1, 2))
    if rng.random() < 0.4:
        spec["loadBalancerSourceRanges"] = rng.sample(_RANGES, rng.randint(1, 3))
    if rng.random() < 0.3:
        spec["healthCheckNodePort"] = rng.choice((32000, 32001))
    if rng.random() < 0.2:
        spec["allocateLoadBalancerNodePorts"] = False
    labels, annotations = {}, {}
    if rng.random() < 0.04:
        labels["service.kubernetes.io/service-proxy-name"] = "other"
    if rng.random() < 0.3:
        annotations["strictarp.io/scheduler"] = rng.choice(_SCHEDULERS)
    namespace, _, bare = name.partition("/")
    return service(
        bare, addresses[0], namespace=namespace, labels=labels, annotations=annotations,
        created=rng.choice(_TIMES), ports=_ports(rng), ingress=_ingress(rng), **spec,
    )  # fmt: skip


def _ports(rng: Random) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "port": port,
            "protocol": rng.choice(("TCP", "TCP", "TCP", "UDP", "SCTP")),
            "nodePort": rng.choice(_NODE_PORTS),
        }
        for name, port in rng.sample(_PORTS, rng.choice((1, 1, 2, 3)))
    ]


def _ingress(rng: Random) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for address in rng.sample(_BALANCER, rng.choice((0, 1, 1, 2))):
        mode = rng.choice(({}, {}, {"ipMode": "VIP"}, {"ipMode": "Proxy"}))
        found.append({"ip": address, **mode})
    return found or [{"hostname": "lb.example.com"}] * rng.randint(0, 1)


def _slice(rng: Random) -> EndpointSlice:
    """The number says the family; what belongs to which Service never changes, as with the API server."""
    key = _slice_key(rng)
    owner, _, number = key.rpartition("-")
    namespace, _, bare = owner.partition("/")
    six = number == "3"
    pods = rng.sample(_PODS6 if six else _PODS4, rng.choice((0, 1, 1, 2, 3)))
    labels = {"service.kubernetes.io/headless": ""} if rng.random() < 0.03 else {}
    return endpoint_slice(
        bare, [_endpoint(rng, pod) for pod in pods], name=f"{bare}-{number}", namespace=namespace,
        kind="IPv6" if six else "IPv4", labels=labels,
        ports=[
            {"name": name, "port": _TARGETS[name], "protocol": protocol}
            for name in rng.sample(tuple(_TARGETS), rng.randint(1, 4))
            for protocol in rng.sample(("TCP", "UDP", "SCTP"), rng.choice((1, 1, 2, 3)))
        ],
    )  # fmt: skip


def _endpoint(rng: Random, pod: str) -> dict[str, object]:
    terminating = rng.random() < 0.2
    made: dict[str, object] = {
        "addresses": [pod],
        "nodeName": rng.choice(_NODES),
        "conditions": {
            "ready": rng.choice((None, True, True, False)) if not terminating else False,
            "serving": rng.choice((None, True, False)),
            "terminating": rng.choice((None, False)) if not terminating else True,
        },
    }
    hints: dict[str, object] = {}
    if rng.random() < 0.4:
        hints["forZones"] = [{"name": rng.choice(_ZONES)}]
    if rng.random() < 0.2:
        hints["forNodes"] = [{"name": rng.choice(("node1", "node2"))}]
    if hints:
        made["hints"] = hints
    return made

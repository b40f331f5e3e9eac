"""A schedule carried out: clusters of nodes, a gateway and a client on one segment."""

from __future__ import annotations

import random

from simulation.api import Api, Objects
from simulation.clock import MILLION, Clock, LocalClock
from simulation.hosts import Client, Host
from simulation.node import Identity, Node, Process
from simulation.schedule import Schedule
from simulation.segment import Segment
from simulation.trace import Member, Trace, What
from strictarp.hello import ids
from strictarp.hello.auth import Keys
from strictarp.hello.messages import MAX_HELLO_ENTRIES
from strictarp.speaker.settings import MS, SECOND

GATEWAY = bytes((192, 0, 2, 1))
GATEWAY6 = bytes.fromhex("20010db8000000000000000000000001")
CLIENT = bytes((192, 0, 2, 250))
_MOST_DRIFT = MILLION // 100


class Cluster:
    """One API and its nodes."""

    def __init__(self, number: int, api: Api, keys: Keys, vips: list[bytes]) -> None:
        self.number = number
        self.api = api
        self.keys = keys
        self.vips = vips
        self.nodes: list[Node] = []


class World:
    """chance: the one generator of the run."""

    def __init__(self, schedule: Schedule, *, verbose: bool = False) -> None:
        self.schedule = schedule
        self.settings = schedule.settings
        self.chance = random.Random(f"world {schedule.seed}")
        self.clock = Clock()
        self.trace = Trace(verbose=verbose)
        # A claim hears an answer to its probe only if P > 2 D + scheduling.
        half_claim = (schedule.settings.claim - schedule.settings.late) // 2
        self.segment = Segment(self.clock, self.chance, self.trace, schedule.delay, half_claim=half_claim)
        self.gateway = Host(self.segment, "gw", b"\x02\0\0\0\0\x01", GATEWAY)
        self.gateway.addresses.add(GATEWAY6)
        self.client = Client(self.segment, "client", b"\x02\0\0\0\0\xfa", CLIENT, self.clock, self.chance)
        self.foreign = Host(self.segment, "foreign", b"\x02\0\0\0\0\xfb", bytes((192, 0, 2, 251)))
        self.attacker = self.segment.plug("attacker", b"\x02\0\0\0\0\xfc", lambda data: None, deaf=True)
        self.clusters = [self._cluster(0, schedule.nodes, schedule.vips)]
        if schedule.strangers:
            self.clusters.append(self._cluster(1, schedule.strangers, 1))
        for cluster in self.clusters:
            for node in cluster.nodes:
                self.clock.at(self.chance.randint(0, 300 * MS), node.start)
        for cluster in self.clusters:
            self.clock.at(SECOND, self._begin_asking, cluster)

    def _begin_asking(self, cluster: Cluster) -> None:
        self.client.ask_for(cluster.vips, every=self.schedule.asks)

    def _cluster(self, number: int, nodes: int, vips: int) -> Cluster:
        names = [f"n{i}" for i in range(nodes)]
        addresses = [_vip(number, i) for i in range(vips)]
        pairs = {addresses[2]: addresses[0]} if self.schedule.paired and vips > 2 else {}
        scores = dict.fromkeys(names, 0) | {names[0]: int(vips > MAX_HELLO_ENTRIES)}
        objects = Objects({address: dict(scores) for address in addresses}, beside=pairs)
        renewal, expiry = self.schedule.lease
        api = Api(self.clock, objects, expiry=expiry, renewal=renewal)
        keys = Keys(bytes([number + 1]) * 32)
        cluster = Cluster(number, api, keys, addresses)
        for i, name in enumerate(names):
            identity = Identity(
                name if number == 0 else f"{name}b",
                name,
                number,
                ids.cluster_id(f"cluster {number}"),
                bytes((2, 0, 0, 1, number, i)),
                bytes((192, 0, 2, 10 + 20 * number + i)),
                GATEWAY6[:-2] + bytes((1 + number, i)),
            )
            drift = self.chance.randint(-_MOST_DRIFT, _MOST_DRIFT)
            node = Node(
                identity,
                clock=self.clock,
                local=LocalClock(self.chance.randint(0, 1_000 * SECOND), drift),
                segment=self.segment,
                api=api,
                settings=self.settings,
                keys=keys,
                gateways=(
                    GATEWAY if 4 in self.schedule.gateways else None,
                    GATEWAY6 if 6 in self.schedule.gateways else None,
                ),
                chance=self.chance,
                trace=self.trace,
                lag=self.schedule.lags[i % len(self.schedule.lags)],
            )
            node.api_delay = self.chance.randint(1 * MS, 150 * MS)
            node.kernel_vips = frozenset(addresses)
            cluster.nodes.append(node)
        return cluster

    @property
    def nodes(self) -> list[Node]:
        """Of the first cluster, which the faults are about."""
        return self.clusters[0].nodes

    @property
    def api(self) -> Api:
        """Of the first cluster."""
        return self.clusters[0].api

    @property
    def members(self) -> list[Member]:
        """All nodes, for the invariants."""
        return [
            Member(node.label, node.identity.name, cluster.number, node.port, node.time.drift)
            for cluster in self.clusters
            for node in cluster.nodes
        ]

    def owner(self, vip: bytes) -> Node | None:
        """A running node that owns it, if any."""
        for node in self.nodes:
            if node.process is Process.RUNNING and node.machine is not None and vip in node.machine.owned:
                return node
        return None

    def note(self, words: str) -> None:
        """For the trace."""
        self.trace.add(self.clock.now, What.FAULT, info=words)

    def run(self) -> None:
        """From start to end."""
        self.clock.run(self.schedule.length)


def _vip(cluster: int, number: int) -> bytes:
    """Every third VIP is an IPv6 address; the machine treats them alike, the wire does not."""
    if number % 3 == 2:
        return bytes((0x20, 1, 0x0D, 0xB8, *bytes(9), cluster, *number.to_bytes(2, "big")))
    if number < 100:
        return bytes((203, 0, 113, 1 + 100 * cluster + number))
    return (0xCB00_0000 + 0x2000 + number).to_bytes(4, "big")

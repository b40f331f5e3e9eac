"""A cluster as MetalLB leaves it, over to strictarp and back, as docs/replacing-metallb.md says.

MetalLB's speakers are a stand-in that answers as theirs do; API server, controller and speakers are real.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from strictarp.arp.frames import parse_mac
from strictarp.controller.configuring import Rules
from strictarp.controller.daemon import Controller
from strictarp.controller.daemon import Options as ControllerOptions
from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.custom import ANNOUNCEDADDRESSES, IPADDRESSPOOLS, L2ADVERTISEMENTS, SERVICEL2STATUSES
from strictarp.kube.objects import ENDPOINTSLICES, LEASES, NAMESPACES, NODES, SECRETS, SERVICES
from strictarp.lab import namespaces
from strictarp.lab.apiserver.engine import Engine
from strictarp.lab.apiserver.server import Server, serve
from strictarp.lab.namespaces import Namespace
from strictarp.speaker.daemon import Options, Speaker
from strictarp.speaker.l2status import object_name
from strictarp.speaker.settings import MS, SECOND, Settings
from support.metallb_model import Model
from support.metallb_speaker import Cluster, Speakers, Witness, kept_statuses, l2_status
from support.segment import Segment, build, needs_root, write_sysctls

pytestmark = [pytest.mark.netns, needs_root]

Json = dict[str, Any]
NS = "metallb-system"
NAMES = ("node1", "node2", "node3")
API = "http://192.0.2.1:6443"
SETTINGS = Settings(
    hello=200 * MS,
    claim=200 * MS,
    late=90 * MS,
    accept=120 * MS,
    settle=SECOND,
    season=1_200 * MS,
    drain_grace=300 * MS,
)
STRICT = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}
POOL = {"metadata": {"name": "lab", "namespace": NS}, "spec": {"addresses": ["192.0.2.100-192.0.2.119"]}}
ADVERTISEMENT = {"metadata": {"name": "lab", "namespace": NS}, "spec": {}}
NODE_OBJECTS = [
    {
        "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"192.0.2.{11 + number}"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    for number, name in enumerate(NAMES)
]
SLICES = [
    {
        "metadata": {
            "name": f"web-{number}-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": f"web-{number}"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["198.51.100.9"], "nodeName": "node2", "conditions": {"ready": True}}],
    }
    for number in range(6)
]


def services() -> list[Json]:
    """As MetalLB's controller has left them: addresses given, marked with the pool."""
    made: list[Json] = [
        {
            "metadata": {
                "name": f"web-{number}",
                "namespace": "default",
                "creationTimestamp": f"2025-01-0{number + 1}T00:00:00Z",
                "annotations": {"metallb.io/ip-allocated-from-pool": "lab"},
            },
            "spec": {
                "type": "LoadBalancer",
                "clusterIPs": [f"203.0.113.{140 + number}"],
                "clusterIP": f"203.0.113.{140 + number}",
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            },
            "status": {"loadBalancer": {"ingress": []}},
        }
        for number in range(6)
    ]
    given = Model([POOL], {}).plan(made)
    for each in made:
        ips = given[f"default/{each['metadata']['name']}"]
        # The API server adds the mode; MetalLB leaves it out.
        each["status"]["loadBalancer"]["ingress"] = [{"ip": ip, "ipMode": "VIP"} for ip in ips]
    del made[1]  # a gap: an address below those in use that is free
    return made


def vip_of(service: Json) -> str:
    return str(service["status"]["loadBalancer"]["ingress"][0]["ip"])


def elected(service: Json) -> str:
    owner = Cluster([POOL], [ADVERTISEMENT], NODE_OBJECTS, SLICES).owner(service, NAMES)
    assert owner is not None
    return owner


class Node(threading.Thread):
    """strictarp's speaker on a node: the whole daemon, in the node's namespace."""

    def __init__(self, name: str, space: Namespace) -> None:
        super().__init__(daemon=True)
        self.node = name
        self._space = space
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = asyncio.Event()
        self.failure: BaseException | None = None
        self.start()

    def leave(self) -> None:
        """SIGTERM."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leaving.set)

    def run(self) -> None:
        with namespaces.entered(self._space):
            try:
                asyncio.run(self._main())
            except BaseException as error:
                self.failure = error
                raise

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with Client(ClientConfig(server=API)) as client:
            speaker = Speaker(Options(None, self.node, SETTINGS, metrics_port=0), client)
            work = asyncio.create_task(speaker.run())
            leaving = asyncio.create_task(self._leaving.wait())
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await speaker.leave()
            work.cancel()
            leaving.cancel()
            await asyncio.wait({work, leaving})


def _told(status: Json) -> tuple[str, str]:
    """Service and node of a status object of ours; of another one, its name."""
    service, node = (status.get("status", {}).get(field, "") for field in ("serviceName", "node"))
    name: str = status["metadata"]["name"]
    return (service, node) if name == object_name(f"default/{service}", node) else (name, "not ours")


class Trial:
    def __init__(self, wire: Segment, client: Client, server: Server) -> None:
        self.wire = wire
        self.client = client
        self.server = server
        self.services = services()
        self.nodes: list[Node] = []

    async def furnish(self) -> None:
        for name in ("kube-system", NS, "default"):
            if name not in [each.metadata.name for each in (await self.client.list(NAMESPACES)).items]:
                await self.client.create(NAMESPACES, {"metadata": {"name": name}})
        statuses = [l2_status(f"default/{each['metadata']['name']}", elected(each)) for each in self.services]
        kinds: list[tuple[Any, Iterable[Json]]] = [
            (NODES, NODE_OBJECTS),
            (IPADDRESSPOOLS, [POOL]),
            (L2ADVERTISEMENTS, [ADVERTISEMENT]),
            (SERVICES, self.services),
            (ENDPOINTSLICES, SLICES),
            (SERVICEL2STATUSES, statuses),
        ]
        for kind, bodies in kinds:
            for body in bodies:
                made = await self.client.create(kind, body, body["metadata"].get("namespace", ""))
                if "status" in body:
                    meta = made.metadata
                    patch = {"status": body["status"]}
                    await self.client.merge_patch(
                        kind, meta.name, patch, meta.namespace, subresource="status"
                    )

    def metallb(self) -> Speakers:
        def announces(node: str, address: bytes) -> bool:
            return any(
                ipaddress.ip_address(vip_of(each)).packed == address and elected(each) == node
                for each in self.services
            )

        made = Speakers({name: self.wire.hosts[name] for name in NAMES}, announces)
        made.start(ipaddress.ip_address(vip_of(each)).packed for each in self.services)
        return made

    def expected(self) -> dict[bytes, set[bytes]]:
        """Address → the MAC of the node that MetalLB elects."""
        return {
            ipaddress.ip_address(vip_of(each)).packed: {parse_mac(self.wire.mac(elected(each)))}
            for each in self.services
        }

    async def objects(self) -> list[Json]:
        listed = (await self.client.list(SERVICES, "default")).items
        return [msgspec.to_builtins(each) for each in sorted(listed, key=lambda each: each.key)]

    async def statuses(self) -> list[Json]:
        listed = (await self.client.list(SERVICEL2STATUSES, NS)).items
        return [msgspec.to_builtins(each) for each in listed]

    async def names(self, kind: Any) -> set[str]:  # noqa: ANN401 - a Resource of any type
        return {each.metadata.name for each in (await self.client.list(kind, NS)).items}

    async def until_leased(self) -> None:
        """Every speaker of ours has told that it lives."""
        for _ in range(100):
            names = await self.names(LEASES)
            if names >= {f"strictarp-speaker-{name}" for name in NAMES}:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(names)

    async def until_told(self) -> None:
        """One status for each Service, of the node that MetalLB elects; MetalLB's own are gone."""
        wanted = sorted((each["metadata"]["name"], elected(each)) for each in self.services)
        for _ in range(100):
            told = sorted(map(_told, await self.statuses()))
            if told == wanted:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"told {told}, wanted {wanted}")

    async def until_answered(self, witness: Witness) -> None:
        """By those that MetalLB elects, and in questions that were asked from now on."""
        witness.begin_anew()
        for _ in range(150):
            await asyncio.sleep(0.1)
            assert not [node.failure for node in self.nodes if node.failure]
            if witness.last() == self.expected():
                return
        raise AssertionError(f"answered: {witness.last()}, expected: {self.expected()}")


@asynccontextmanager
async def trial() -> AsyncIterator[Trial]:
    with build([*NAMES, "client"]) as wire:
        namespaces.ip(wire.switch, "addr add 192.0.2.1/24 dev br0")
        for name in NAMES:
            write_sysctls(wire.hosts[name], STRICT)
            namespaces.ip(wire.hosts[name], "link add vips0 type bridge", "link set vips0 arp off")
            for each in services():
                namespaces.ip(wire.hosts[name], f"addr add {vip_of(each)}/32 dev vips0")
        with namespaces.entered(wire.switch):
            server = Server(Engine(service_cidr="203.0.113.128/25"))
            runner = await serve(server, "192.0.2.1:6443")
            async with Client(ClientConfig(server=API)) as client:
                made = Trial(wire, client, server)
                try:
                    await made.furnish()
                    yield made
                finally:
                    for node in made.nodes:
                        node.leave()
                    await asyncio.to_thread(lambda: [node.join(10) for node in made.nodes])
            server.watchers.close()
            await runner.cleanup()


async def test_a_cluster_switches_over_and_back_with_every_address_where_it_was() -> None:
    async with trial() as made:
        before = await made.objects()
        metallb = made.metallb()
        work: asyncio.Task[None] | None = None
        witness = Witness(made.wire.hosts["client"], map(vip_of, made.services))
        try:
            await made.until_answered(witness)
            # Our speakers run, and without the key of the hellos they say and own nothing.
            made.nodes = [Node(name, made.wire.hosts[name]) for name in NAMES]
            await made.until_leased()
            await asyncio.sleep(1.5)
            assert witness.last() == made.expected()
            assert "strictarp-hello" not in await made.names(SECRETS)

            # MetalLB's speakers end; then our controller, which makes the key, starts.
            await asyncio.to_thread(metallb.stop)
            controller = Controller(
                ControllerOptions(None, "one", Rules(NS), metrics_port=0, health_port=0), made.client
            )
            work = asyncio.create_task(controller.run())
            await made.until_answered(witness)
            assert witness.most_answerers() == 1
            over = max(map(witness.gap, witness.vips))
            assert over < 6, "settling, a claim, and what the machine adds"
            await asyncio.sleep(1.0)
            assert await made.objects() == before, "not one write: the resourceVersions are the same"
            await made.until_told()

            # And back: our controller first, then all speakers at once, then MetalLB's.
            work.cancel()
            await asyncio.wait({work})
            for node in made.nodes:
                node.leave()
            await asyncio.to_thread(lambda: [node.join(10) for node in made.nodes])
            assert not [node.failure for node in made.nodes if node.failure]
            metallb = made.metallb()
            await made.until_answered(witness)
            assert witness.most_answerers() == 1
            print(f"nobody answered for {over:.2f} s, and {max(map(witness.gap, witness.vips)):.2f} s in all")
            await assert_nothing_hinders_metallb(made, before)

            # The mistake that the order of steps is to avoid: ours start with the key while MetalLB's answer.
            made.nodes = [Node(name, made.wire.hosts[name]) for name in NAMES]
            await made.until_told()
            await made.until_answered(witness)
            assert witness.most_answerers() == 1, "both elect the same node"
        finally:
            witness.stop()
            metallb.stop()
            if work is not None:
                work.cancel()
                await asyncio.wait({work})


async def assert_nothing_hinders_metallb(made: Trial, before: list[Json]) -> None:
    after = await made.objects()
    assert after == before
    assert not any(each["metadata"].get("finalizers") for each in after)
    # Its controller adopts what stands in the statuses.
    given = Model([POOL], {}).plan(made.services)
    assert given == {f"default/{each['metadata']['name']}": [vip_of(each)] for each in made.services}
    # Its speakers find no status objects of ours, and make their own.
    assert await made.statuses() == []
    kept = kept_statuses([], "default/web-0", elected(made.services[0]), NAMES)
    assert [each["status"]["node"] for each in kept] == [elected(made.services[0])]
    # What stays: a key and the controller's Lease, which MetalLB never looks at.
    assert await made.names(LEASES) == {"strictarp-controller"}
    assert await made.names(SECRETS) == {"strictarp-hello"}
    left = (await made.client.list(ANNOUNCEDADDRESSES, NS)).items
    assert {each.spec.address for each in left} == {vip_of(each) for each in made.services}
    assert not any(each.status.node for each in left), "nobody announces them any more"

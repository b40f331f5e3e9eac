"""The speaker of a node: watches the API, and runs one machine on each link that VIPs belong to.

Capabilities: CAP_NET_RAW (packet sockets); CAP_BPF and CAP_NET_ADMIN (answers from the kernel) and
CAP_SYS_NICE are used where they are given. RBAC: list and watch services, endpointslices, nodes,
namespaces, ipaddresspools, l2advertisements; in its namespace list, watch the Secret strictarp-hello and
leases; create, patch and delete its own Lease; create, list and delete servicel2statuses, patch
servicel2statuses/status; create, get, list, patch and delete announcedaddresses; create addressconflicts;
create, get and patch events.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Iterable

import msgspec
from prometheus_client import CollectorRegistry

from strictarp import logs, serving
from strictarp.hello.auth import Keys
from strictarp.hello.secret import CLUSTER_NAMESPACE, SECRET, UnusableSecret, read_cluster, read_keys
from strictarp.kube import config as kubeconfig
from strictarp.kube.cache import Cache, Delta
from strictarp.kube.client import Client
from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS
from strictarp.kube.objects import (
    ENDPOINTSLICES,
    LEASES,
    NAMESPACES,
    NODES,
    SECRETS,
    SERVICES,
    EndpointSlice,
    Lease,
    Service,
)
from strictarp.speaker import advertising, kernel_answers, picture
from strictarp.speaker.actions import Disowned, Owning, Taken
from strictarp.speaker.candidates import Facts, standings
from strictarp.speaker.candidates import Options as Judging
from strictarp.speaker.conflicting import Conflicts, Found
from strictarp.speaker.events import DrainRequested, KeysChanged
from strictarp.speaker.exposition import Figures
from strictarp.speaker.host import Host, HostUnreadable
from strictarp.speaker.lasting import Lasting
from strictarp.speaker.links import Place
from strictarp.speaker.machine import Machine
from strictarp.speaker.membership import SELECTOR, Membership, Presence, segments
from strictarp.speaker.noting import Notes
from strictarp.speaker.pools import read_pool
from strictarp.speaker.priority import go_first
from strictarp.speaker.readiness import unready
from strictarp.speaker.renewal import Renewal
from strictarp.speaker.segment import Segment, Told
from strictarp.speaker.settings import SECOND, Settings
from strictarp.speaker.silence import Silence
from strictarp.speaker.telling import Saying, Teller
from strictarp.speaker.view import View, Vip
from strictarp.speaker.wishes import Wishes
from strictarp.stopping import cancelled, stop_at_signals, until_stopped

log = logging.getLogger(__name__)

JOIN_BURST = 0.005
"""Seconds that a change of objects waits for the ones that come with it."""
DEAF_LASTS = 10.0
"""Seconds that a peer is unheard before that is told."""
LOOK_AGAIN = 1.0
"""Seconds between looks at what changes by itself: Leases that expire, an API that falls silent."""
_DEAF = "though a speaker lives there by its Lease: its hellos (EtherType 0x88B5) do not get here"
_PORTION = 50
"""Services judged in one turn of the loop: a few milliseconds."""


class Options(msgspec.Struct, frozen=True):
    """What the command line says. A port of 0 means: not served."""

    kubeconfig: str | None
    node: str
    settings: Settings
    namespace: str = "metallb-system"
    judging: Judging = Judging()
    metrics_port: int = 7472
    answer: kernel_answers.Who = kernel_answers.Who.AUTO


def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT, hand all addresses over, end. Raises UserError."""
    logs.setup("speaker")
    return asyncio.run(_until_signal(options, kubeconfig.load(options.kubeconfig)))


async def _until_signal(options: Options, client_config: kubeconfig.ClientConfig) -> int:
    stop = stop_at_signals()
    async with Client(client_config) as client:
        # Not before: reading all objects is no reason to keep others waiting.
        speaker = Speaker(options, client, on_known=go_first)
        work = asyncio.create_task(speaker.run())
        await until_stopped(work, stop)
        await speaker.leave()
        await cancelled(work)
    log.info("stopped")
    return 0


class Speaker:
    """All parts of the daemon, wired. Make it in the network namespace of the node, in a running loop.

    on_known: called once all objects are known, before it speaks on any link.
    """

    def __init__(
        self, options: Options, client: Client, *, on_known: Callable[[], object] = lambda: None
    ) -> None:
        self._options = options
        self._on_known = on_known
        self._client = client
        self._host = Host()
        self._places: tuple[Place, ...] = ()
        self._picture = picture.Picture()
        self._membership = Membership(options.node)
        self._segments: dict[int, Segment] = {}
        self._links_followed = False
        self._vips: dict[int, dict[bytes, Vip]] = {}
        self._shown_places: tuple[Place, ...] = ()
        self._cluster: int | None = None
        self._keys: Keys | None = None
        self._wake = asyncio.Event()
        self._leaving = False
        self._kernel_lease = 0
        """For how many µs after each hello the kernel answers."""
        self._silence = Silence()
        self._wishes = Wishes()
        self._deaf = Lasting[str](DEAF_LASTS)
        self._shown_wishes: dict[str, str] = {}
        self._complaints: frozenset[str] = frozenset()
        self.figures = Figures(options.node, lambda: self._notes.announced())  # noqa: PLW0108 - below
        self._teller = Teller(client, options.node, self.figures, self._picture.services_of)
        self.renewal = Renewal(
            client,
            options.namespace,
            options.node,
            places=lambda: self._places,
            on_failure=self._count_failure,
        )
        namespace = options.namespace
        self._notes = Notes(
            client,
            namespace,
            options.node,
            self._picture,
            segments=self._segments.values,
            on_assigned=self._teller.assigned,
            on_failure=self._count_status_failure,
        )
        self._conflicts = Conflicts(
            client,
            namespace,
            options.node,
            services_of=self._picture.services_of,
            on_written=self._teller.conflict,
            on_failure=self._count_status_failure,
        )
        self.services = Cache(client, SERVICES, on_delta=self._on_service)
        self.slices = Cache(client, ENDPOINTSLICES, on_delta=self._on_slice)
        self.nodes = Cache(client, NODES, on_delta=self._on_other)
        self.pools = Cache(client, IPADDRESSPOOLS, namespace=namespace, on_delta=self._on_other)
        self.advertisements = Cache(client, L2ADVERTISEMENTS, namespace=namespace, on_delta=self._on_other)
        self.leases = Cache(
            client, LEASES, namespace=namespace, label_selector=SELECTOR, on_delta=self._on_lease
        )
        self.secrets = Cache(
            client,
            SECRETS,
            namespace=namespace,
            field_selector=f"metadata.name={SECRET}",
            on_delta=self._on_secret,
        )
        self.namespaces = Cache(
            client,
            NAMESPACES,
            field_selector=f"metadata.name={CLUSTER_NAMESPACE}",
            on_delta=self._on_other,
        )

    # --- life ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. Raises HostUnreadable when the kernel does not even tell its links at start,
        UserError when the kernel is to answer and cannot.
        """
        caches: tuple[Cache, ...] = (  # type: ignore[type-arg] # of many kinds
            self.namespaces,
            self.secrets,
            self.nodes,
            self.leases,
            self.pools,
            self.advertisements,
            self.services,
            self.slices,
        )
        if kernel_answers.usable(self._options.answer):
            self._kernel_lease = self._options.settings.silence
        self._places = await self._host.look()
        try:
            async with asyncio.TaskGroup() as group:
                for cache in caches:
                    group.create_task(cache.run())
                group.create_task(self.renewal.run())
                group.create_task(self._follow_host())
                group.create_task(self._teller.run())
                group.create_task(self._notes.run())
                group.create_task(self._conflicts.run())
                group.create_task(self._explain_deafness())
                if self._options.metrics_port:
                    group.create_task(self._serve())
                for cache in caches:
                    await cache.synced.wait()
                log.info("objects known", extra={"fields": {"services": len(self.services.objects)}})
                self._see_key()
                gc.freeze()
                self._on_known()
                await self._follow()
        finally:
            for segment in self._segments.values():
                segment.close()
            self._host.close()

    async def leave(self) -> None:
        """Hand over what this node owns, within the settings' bound, and say goodbye."""
        self._leaving = True
        for segment in self._segments.values():
            segment.feed(DrainRequested(leave=True))
        limit = self._options.settings.drain_grace / SECOND + 1.0
        try:
            async with asyncio.timeout(limit):
                for segment in list(self._segments.values()):
                    await segment.finished.wait()
        except TimeoutError:
            log.warning("not everything was handed over", extra={"fields": {"after": limit}})
        await self._notes.finish()
        await self.renewal.withdraw()

    # --- objects ------------------------------------------------------------------------------------------

    def _on_service(self, delta: Delta[Service]) -> None:
        self._picture.put_service(delta.key, delta.new)
        self.figures.updates += 1
        self._wake.set()

    def _on_slice(self, delta: Delta[EndpointSlice]) -> None:
        self._picture.put_slice(delta.old, delta.new)
        self._wake.set()

    def _on_lease(self, delta: Delta[Lease]) -> None:
        now = asyncio.get_running_loop().time()
        if delta.new is None:
            if delta.old is not None:
                self._membership.forget(delta.old)
            self._wake.set()
        elif self._membership.see(delta.new, now):
            self._wake.set()

    def _on_secret(self, _: object) -> None:
        if self.secrets.synced.is_set():
            self._see_key()

    def _on_other(self, _: object) -> None:
        self._wake.set()

    def _see_key(self) -> None:
        """Take the key over; a Secret that became unusable, or is gone, leaves the last good key in force.

        Else one deletion would silence all nodes at once, until the controller makes another key.
        """
        secret = next(iter(self.secrets.objects.values()), None)
        try:
            keys = read_keys(secret)
        except UnusableSecret as error:
            log.error("hello key not usable", extra={"fields": {"reason": str(error)}})
            return
        if keys is None and self._keys is not None:
            log.error("the hello key is gone from the API: the last one stays in force")
            return
        self.figures.has_key = keys is not None
        if keys is None:
            log.error(
                "no hello key: this node announces nothing; the controller makes Secret %s",
                f"{self._options.namespace}/{SECRET}",
            )
        if keys != self._keys:
            self._keys = keys
            for segment in self._segments.values():
                segment.feed(KeysChanged(keys))

    # --- what follows from them ---------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            self._wake.clear()
            await self._rebuild()
            try:
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._wake.wait()
                await asyncio.sleep(JOIN_BURST)
            except TimeoutError:
                continue

    async def _rebuild(self) -> None:
        """Tell each machine what the objects and links amount to now.

        In portions: the hellos go on while thousands of Services are judged.
        """
        cluster = read_cluster(self.namespaces.objects.get(CLUSTER_NAMESPACE))
        if cluster is None:
            return
        self._cluster = cluster
        living = self._membership.living(asyncio.get_running_loop().time())
        living[self._options.node] = self._own_presence()
        self.figures.members = len(living)
        facts = self._facts(living)
        self._picture.put_facts(facts)
        changed = self._picture.judge(_PORTION)
        while self._picture.pending:
            await asyncio.sleep(0)
            changed |= self._picture.judge(_PORTION)
        if self._leaving:
            return
        self._explain(living)
        self._follow_places()
        places = tuple(segment.place for segment in self._segments.values())
        if changed:
            self._notes.soon()
        self._notes.now_and_then()
        wishes = self._wishes.in_force(self._picture.verdicts, asyncio.get_running_loop().time())
        if changed or places != self._shown_places or wishes != self._shown_wishes:
            self._shown_places, self._shown_wishes = places, wishes
            self._vips = picture.vips(self._picture.verdicts, places, self._options.node, wishes)
        api_alive = self.services.trouble is None
        for index, segment in self._segments.items():
            there = picture.members(living, self.nodes.objects, segment.place)
            addresses = picture.node_addresses(self.nodes.objects, segment.place)
            segment.show(View(self._vips[index], there, api_alive, addresses))

    def _explain(self, living: Iterable[str]) -> None:
        """Say on a Service why nobody announces it, or why not who is wished for. All speakers know it; the
        first by name says it.
        """
        now, verdicts = asyncio.get_running_loop().time(), self._picture.verdicts
        found = [("announceFailed", *each) for each in self._silence.news(verdicts, now)]
        found += [("moveRefused", *each) for each in self._wishes.news(verdicts, now)]
        if self._options.node != min(living):
            return
        for reason, key, sentence in found:
            service = self.services.objects.get(key)
            if service is not None:
                self._teller.say(Saying(service, reason, sentence, "Warning"))

    async def _explain_deafness(self) -> None:
        """Say on this Node whom it does not hear, though that speaker lives by the API."""
        while True:
            await asyncio.sleep(DEAF_LASTS / 2)
            unheard = {
                f"{segment.place.name} {peer}": f"hears nothing of {peer} on {segment.place.name}, {_DEAF}"
                for segment in self._segments.values()
                for peer in segment.machine.unheard
            }
            node = self.nodes.objects.get(self._options.node)
            for _, sentence in self._deaf.news(unheard, asyncio.get_running_loop().time()):
                if node is not None:
                    self._teller.say(Saying(node, "peerUnheard", sentence, "Warning"))

    def _own_presence(self) -> Presence:
        return Presence(
            self._options.node,
            tuple(place.mac for place in self._places),
            tuple(subnet for place in self._places for subnet in place.subnets),
        )

    def _facts(self, living: dict[str, Presence]) -> Facts:
        read = [read_pool(each) for _, each in sorted(self.pools.objects.items())]
        pools = tuple(pool for pool, _ in read)
        complaints = frozenset(error for _, errors in read for error in errors).union(
            advertising.faults(self.advertisements.objects.values())
        )
        for error in sorted(complaints - self._complaints):
            log.error(error)
        self._complaints = complaints
        self.figures.loaded, self.figures.stale = bool(pools), bool(complaints)
        nodes = self.nodes.objects
        return Facts(
            pools,
            advertising.resolve(self.advertisements.objects.values(), pools, nodes),
            standings(living, nodes, segments(living), self._options.judging),
            self._options.judging,
        )

    # --- links --------------------------------------------------------------------------------------------

    async def _follow_host(self) -> None:
        async for _ in self._host.changes():
            try:
                places = await self._host.look()
            except HostUnreadable as error:
                log.error("links not seen", extra={"fields": {"reason": str(error)}})
                continue
            if places != self._places:
                self._places = places
                self.renewal.hurry()
                self._move_segments()
                self._wake.set()

    def _move_segments(self) -> None:
        """What machines need to know of their links at once, without the API."""
        known = {place.index: place for place in self._places}
        for index, segment in self._segments.items():
            if index in known:
                segment.move(known[index])

    def _follow_places(self) -> None:
        """A machine on each link that pools, or what is announced still, reach, and on no other."""
        ranges = self._picture.ranges
        wanted = {place.index: place for place in self._places if place.meets(ranges)}
        for index in self._segments.keys() - wanted.keys():
            segment = self._segments.pop(index)
            segment.show(View({}, {}))  # what it owns is given up, and said so where that is possible
            segment.close()
            log.info("link left", extra={"fields": {"link": segment.place.name}})
        for index in wanted.keys() - self._segments.keys():
            log.info("link joined", extra={"fields": {"link": wanted[index].name}})
            self._segments[index] = Segment(
                wanted[index], self._machine(), self._on_told, kernel_lease=self._kernel_lease
            )
        self.figures.segments = tuple(self._segments.values())
        self._links_followed = True

    def _machine(self) -> Machine:
        assert self._cluster is not None  # noqa: S101 - `_rebuild` saw to it
        return Machine(
            self._options.node,
            self._cluster,
            self._options.settings,
            keys=self._keys,
            chance=random.SystemRandom(),
        )

    # --- what machines tell -------------------------------------------------------------------------------

    def _on_told(self, segment: Segment, told: Told) -> None:
        self._teller.on_told(segment, told)
        if isinstance(told, Taken):
            self._conflicts.found(Found(told.address, told.mac, segment.place.name))
        if isinstance(told, Owning):
            self._conflicts.forget(told.address)
            self._notes.took(told.address)
        if isinstance(told, Owning | Disowned):
            self._notes.soon()

    # --- figures -----------------------------------------------------------------------------------------

    def _count_failure(self) -> None:
        self.figures.renewal_failures += 1

    def _count_status_failure(self) -> None:
        self.figures.status_failures += 1

    def _unready(self) -> str:
        if not self._links_followed:
            return unready(None)
        return unready((each.place.name, each.machine.state) for each in self._segments.values())

    async def _serve(self) -> None:
        registry = CollectorRegistry()
        registry.register(self.figures)
        handlers: dict[str, serving.Handler] = {
            "/metrics": serving.exposition(registry),
            "/healthz": serving.fine,
            "/readyz": serving.ready(self._unready),
        }
        await serving.serve(serving.application(handlers), None, self._options.metrics_port, "metrics")

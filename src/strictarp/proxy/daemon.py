"""The proxy of a node: watches the API, and keeps the kernel as the plan wants it.

Capabilities: CAP_NET_ADMIN (IPVS, addresses, nftables, sysctls), CAP_NET_RAW (hellos and ARP), and a
writable /proc/sys/net. RBAC: list and watch services, endpointslices, nodes; get the namespace kube-system;
list and watch the Secret strictarp-hello in the namespace of the settings.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from strictarp import __version__, serving
from strictarp.errors import UserError
from strictarp.guard.settings import PROXY
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.kube.cache import Cache, Delta
from strictarp.kube.client import Client
from strictarp.kube.objects import (
    NODES,
    EndpointSlice,
    Node,
    Service,
)
from strictarp.netlink.ipvs import Timeouts
from strictarp.proxy import gauges, health, host, lenient, nftables
from strictarp.proxy import situation as situations
from strictarp.proxy.config import Config, overridden
from strictarp.proxy.effective import effective_document
from strictarp.proxy.endpoints import WRONG_VERSION
from strictarp.proxy.engine import Engine
from strictarp.proxy.fields import Network, parse_network
from strictarp.proxy.foreign_rules import ForeignRules
from strictarp.proxy.health_ports import HealthPorts, Wanted
from strictarp.proxy.lean import ENDPOINTSLICES, SERVICES
from strictarp.proxy.metrics import Metrics, trigger_time
from strictarp.proxy.operations import Element
from strictarp.proxy.others import Others
from strictarp.proxy.seam import HostLinks, Kernel, KernelRefused
from strictarp.proxy.settings import Settings
from strictarp.proxy.situation import NodeFacts, node_facts, situation
from strictarp.proxy.strictarp import RESTORED, StrictArp
from strictarp.proxy.sync import Syncer
from strictarp.proxy.telling import Telling
from strictarp.sysctl.files import ensure

log = logging.getLogger(__name__)

READ_ONLY = "readOnlySysFS"
"""kube-proxy's reason of an Event for a /sys that is read-only; here for /proc/sys too."""
WITHOUT_OTHER_PROXY = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"


class Options(msgspec.Struct, frozen=True):
    """What the command line says.

    override: --hostname-override. config_file, config_text: where the configuration is, and its text. guard:
    how strictARP is kept, if the configuration wants it.
    """

    config: Config
    settings: Settings
    node: str
    override: str | None = None
    config_file: Path | None = None
    config_text: str = ""
    guard: GuardSettings = GuardSettings(owner=PROXY)


def node_name(override: str | None, config: Config) -> str:
    """The option, else the file's hostnameOverride, else the host's name; trimmed and in lower case.

    Raises UserError for an option that is blank.
    """
    return overridden(override) or config.hostname_override or socket.gethostname().strip().lower()


class Proxy:
    """All parts of the daemon, wired.

    `ensure` writes a sysctl unless it is so, and returns its old value.
    """

    def __init__(
        self,
        options: Options,
        kernel: Kernel,
        client: Client,
        *,
        ensure: host.Ensure = ensure,
    ) -> None:
        self._ensure = ensure
        config = options.config
        self._config = config
        self._config_text = options.config_text
        self._override = overridden(options.override)
        self._kernel = kernel
        self._node = options.node
        self._families = host.families()
        self._host = HostLinks((), ())
        self._pod_networks: tuple[Network, ...] = ()
        self._others_have: dict[bytes, str] = {}
        self.metrics = Metrics()
        facts = NodeFacts(options.node, families=self._families)
        self.engine = Engine(config, situation(config, facts), options.settings.drain_limit)
        self.syncer = Syncer(
            self.engine,
            kernel,
            self._table,
            min_period=config.min_sync_period,
            full_look=options.settings.full_look,
            metrics=self.metrics,
            on_turn=self._want_health_ports,
        )
        self.syncer.on_drift = self._drifted
        self.syncer.on_warning = self._warned
        self._open_forward = options.settings.open_forward
        self._hold_back = options.settings.hold_back if options.settings.hand_over else 0
        self._foreign = ForeignRules(
            kernel,
            [nftables.FAMILIES[width] for width in self._families],
            self._forward_mark(),
            tell=lambda advice: self.say("ForwardDropped", advice, warning=True),
            on_loss=self.syncer.look_soon,
        )
        # What an earlier process has programmed must not go because a server that is just restored, or
        # starts, has nothing to tell: there always is default/kubernetes.
        self.services = Cache(
            client,
            SERVICES.mended(lenient.mend),
            label_selector=WITHOUT_OTHER_PROXY,
            on_delta=self._on_service,
            doubt_empty_start=True,
        )
        self.slices = Cache(
            client,
            ENDPOINTSLICES.mended(lenient.mend),
            label_selector=WITHOUT_OTHER_PROXY,
            on_delta=self._on_slice,
            doubt_empty_start=True,
        )
        self.nodes = Cache(client, NODES.mended(lenient.mend), on_delta=self._on_node)
        self._others = Others(
            client,
            kernel,
            options.settings,
            node=self._node,
            nodes=self.nodes.objects.values,
            bound=lambda: self.engine.desired.bound,
            families=self._families,
            on_dead=self._on_dead,
        )
        self._health = health.Health(
            lambda: self.syncer.waiting_since,
            2 * config.sync_period,
            lambda: self.nodes.objects.get(self._node),
        )
        self._telling = Telling(
            client, self._node, lambda: self.nodes.objects.get(self._node), self.services.objects.get
        )
        self._health_ports = HealthPorts(
            lambda: self._health.verdict(time.monotonic())[0],
            lambda key, reason: self._telling.about_service(key, "FailedToStartServiceHealthcheck", reason),
        )
        self.strictarp = StrictArp(
            options.guard, lambda reason, message: self.say(reason, message, warning=reason != RESTORED)
        )
        self.syncer.before_binds = self.strictarp.expect
        gauges.add(
            self.metrics,
            self.engine,
            client,
            foreign=self._foreign,
            others=self._others,
            strictarp=self.strictarp,
        )

    async def run(self) -> None:
        """Prepare the kernel, then run all parts until cancelled.

        Raises KernelRefused when the kernel cannot serve, UserError for a sysctl that cannot be written.
        """
        try:
            await self._run()
        finally:
            await self.strictarp.close()

    async def _run(self) -> None:
        await self._kernel.prepare()
        try:
            await self._prepare(self._config)
        except host.ReadOnlyHost as error:
            self.say(READ_ONLY, str(error), warning=True)
            await self._telling.sent(2.0)
            raise
        await self.syncer.skeleton()
        await self._look_at_host()
        async with asyncio.TaskGroup() as group:
            for cache in (self.services, self.slices, self.nodes):
                group.create_task(cache.run())
            group.create_task(self._serve())
            group.create_task(self._health_ports.run())
            group.create_task(self._follow_host())
            group.create_task(self.strictarp.run())
            await self._synced()
            self._warn_of_families()
            self.say("Starting", f"strictarp {__version__}")
            self._telling.release()
            group.create_task(self.syncer.run())
            group.create_task(self._settle())
            group.create_task(self._foreign.run())
            group.create_task(self._others.run())

    async def read_everything(self, patience: float = 30.0) -> None:
        """Read the node and all objects once, so that they can be planned. Changes nothing.

        Raises KernelRefused, and UserError when the API does not answer in time.
        """
        await self._look_at_host()
        caches = (self.services, self.slices, self.nodes)
        following = [asyncio.create_task(cache.run()) for cache in caches]
        try:
            async with asyncio.timeout(patience):
                await self._synced()
        except TimeoutError:
            trouble = next((cache.trouble for cache in caches if cache.trouble is not None), "no answer")
            raise UserError(f"the API server: {trouble}") from None
        finally:
            for task in following:
                task.cancel()
            await asyncio.wait(following)

    async def _synced(self) -> None:
        for cache in (self.services, self.slices, self.nodes):
            await cache.synced.wait()
        log.info(
            "objects known",
            extra={"fields": {"services": len(self.services.objects), "slices": len(self.slices.objects)}},
        )
        gc.freeze()

    async def _settle(self) -> None:
        """What is planned and programmed now mostly stays: the collector need not look at it ever again."""
        await self.syncer.settled.wait()
        gc.freeze()

    def _warn_of_families(self) -> None:
        facts = self._facts()
        for warning in situations.odd_families(self._config, facts):
            log.warning(warning)

    def _facts(self) -> NodeFacts:
        node = self.nodes.objects.get(self._node)
        return node_facts(
            self._node,
            self._host,
            node,
            self._families,
            device=self._kernel.device,
            others=self._others_have,
        )

    # --- the kernel ---------------------------------------------------------------------------------------

    async def _prepare(self, config: Config) -> None:
        left = host.prepare(config, self._ensure)
        if left:
            message = f"limits of connection tracking stay as they are, mounted read-only: {', '.join(left)}"
            self.say(READ_ONLY, message, warning=True)
        await self.strictarp.want(strict=config.strict_arp)
        host.set_oom_score(config.oom_score_adj)
        timeouts = Timeouts(int(config.tcp_timeout), int(config.tcp_fin_timeout), int(config.udp_timeout))
        if timeouts != Timeouts():
            try:
                await self._kernel.set_timeouts(timeouts)
            except KernelRefused as refused:
                log.warning("IPVS timeouts left as they are", extra={"fields": {"reason": str(refused)}})

    async def reconfigure(self, config: Config, text: str) -> None:
        """Take over another configuration, but for what `process` starts anew for. `text`: of its file.

        Raises UserError when a sysctl cannot be written; the old one stays in force then.
        """
        await self._prepare(config)
        self._config = config
        self._config_text = text
        self.engine.reconfigure(config)
        self.syncer.min_period = config.min_sync_period
        self._foreign.mark = self._forward_mark()
        self._health.limit = 2 * config.sync_period
        self._see()
        self._want_health_ports()
        self.syncer.reload_table()

    def _forward_mark(self) -> int:
        return nftables.forward_mark(self._config) if self._open_forward else 0

    def _table(self, elements: Iterable[Element]) -> str:
        opened = self.engine.facts.node_ports if self._open_forward else None
        return nftables.whole_table(
            self._config,
            self._pod_networks,
            elements,
            self._families,
            opened,
            hold_back=self._hold_back,
        )

    async def _look_at_host(self) -> None:
        self._host = await self._kernel.host_links()
        self._see()
        self._others.learn(self._host)

    async def _follow_host(self) -> None:
        async for _ in self._kernel.changes():
            before = self._host
            try:
                await self._look_at_host()
            except KernelRefused as refused:
                log.error("links and addresses not seen", extra={"fields": {"reason": str(refused)}})
                self.syncer.look_soon()
                continue
            if {link.name for link in before.links} - {link.name for link in self._host.links}:
                self.syncer.look_soon()  # kube-ipvs0 may be among those that went

    async def _status(self) -> dict[str, object]:
        seen = await self._kernel.host_links()
        return self.strictarp.document(seen.links, requested=self._config.strict_arp)

    # --- objects ------------------------------------------------------------------------------------------

    def _on_service(self, delta: Delta[Service]) -> None:
        self.metrics.changed("service")
        self.engine.store.service(delta.key, delta.new)
        self.syncer.wake()

    def _on_slice(self, delta: Delta[EndpointSlice]) -> None:
        self.metrics.changed("endpoint", triggered=trigger_time(delta.new))
        self.engine.store.slice(delta.key, delta.old, delta.new)
        self.syncer.wake()

    def _on_node(self, delta: Delta[Node]) -> None:
        self._others.learn(self._host)
        if delta.key != self._node:
            self._learn_addresses(delta)
            return
        cidrs = (delta.new.spec.pod_cidrs or ()) if delta.new else ()
        networks = tuple(network for network in map(_network, cidrs) if network is not None)
        if networks != self._pod_networks:
            self._pod_networks = networks
            if self._config.detect_local.mode == "NodeCIDR":
                self.syncer.reload_table()
        self._see()

    def _learn_addresses(self, delta: Delta[Node]) -> None:
        """Another node's: VIPs that are among them are not bound here."""
        before = situations.addresses_in_api(delta.old)
        after = situations.addresses_in_api(delta.new)
        if before == after:
            return
        kept = {
            address: name
            for address, name in self._others_have.items()
            if name != delta.key or address in after
        }
        self._others_have = kept | dict.fromkeys(after, delta.key)
        self._see()

    def _see(self) -> None:
        """Work out the node's facts anew."""
        facts = self._facts()
        before = self.engine.facts.node_ports
        self.engine.see(situation(self._config, facts, self.engine.facts.dead))
        if self._open_forward and before != self.engine.facts.node_ports:
            self.syncer.reload_table()
        self.strictarp.learn(facts.primary)
        if len(self.engine.store):
            self.syncer.wake()

    def _on_dead(self, dead: frozenset[str]) -> None:
        before = self.engine.facts
        gone, back = sorted(dead - before.dead), sorted(before.dead - dead)
        log.warning("nodes given up or back", extra={"fields": {"dead": gone, "back": back}})
        self.engine.see(msgspec.structs.replace(before, dead=dead))
        self.syncer.wake()

    # --- events -------------------------------------------------------------------------------------------

    def say(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Say something about this node: in the log, and as an Event, as soon as the Node is known."""
        self._telling.about_node(reason, message, warning=warning)

    def _drifted(self, _count: int) -> None:
        """The log has the count; so the same is said again, and one Event counts how often."""
        message = "somebody else changed or flushed what this proxy had programmed; it is repaired"
        if trace := self._foreign.kube_proxy:
            message += f"; a kube-proxy in another mode may run here: {trace} is there"
        self.say("DriftRepaired", message, warning=True)

    def _warned(self, key: str, warning: str) -> None:
        """Of an address of the wrong family kube-proxy makes an Event; the log has all warnings."""
        if WRONG_VERSION in warning:
            self._telling.about_service(key, "KubeProxyIncorrectIPVersion", warning)

    # --- servers ------------------------------------------------------------------------------------------

    def _want_health_ports(self) -> None:
        facts = self.engine.facts
        hosts = situations.health_hosts(self._config.node_port_addresses, facts)
        self._health_ports.want(Wanted(dict(self.engine.health), hosts))

    async def _serve(self) -> None:
        config, metrics = self._config, self.metrics
        checks = health.health_application(self._health, self._status, metrics)
        figures = health.metrics_application(
            metrics, lambda: effective_document(self._config_text, self._override)
        )
        try:
            async with asyncio.TaskGroup() as group:
                for application, place, what, failure in (
                    (checks, config.health, "health", "FailedToStartProxierHealthcheck"),
                    (figures, config.metrics, "metrics", "FailedToStartMetricServer"),
                ):
                    serving_it = serving.serve(
                        application,
                        *place,
                        what,
                        hard_fail=config.bind_address_hard_fail,
                        failed=functools.partial(self.say, failure, warning=True),
                    )
                    group.create_task(serving_it)
        except* OSError as group_error:
            await self._telling.sent(2.0)
            reason = "; ".join(str(error) for error in group_error.exceptions)
            raise UserError(f"bindAddressHardFail: {reason}") from None


def _network(text: str) -> Network | None:
    try:
        return parse_network(text)
    except ValueError:
        return None

"""The other nodes, as far as they are heard: which are dead, and whose IPs came here or went there. Thin."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable

from strictarp.hello.auth import Keys
from strictarp.hello.frames import Frame
from strictarp.hello.ids import node_id, vip_id
from strictarp.hello.secret import CLUSTER_NAMESPACE, SECRET, UnusableSecret, read_cluster, read_keys
from strictarp.kube.cache import Cache
from strictarp.kube.client import Client
from strictarp.kube.objects import NAMESPACES, SECRETS, Node
from strictarp.proxy import peers
from strictarp.proxy.given import Telling
from strictarp.proxy.handing_over import HandingOver
from strictarp.proxy.hearing import Hearing
from strictarp.proxy.liveness import Member
from strictarp.proxy.seam import HostLinks, Kernel
from strictarp.proxy.settings import Settings

log = logging.getLogger(__name__)

_vip_id = functools.lru_cache(maxsize=16384)(vip_id)


class Others:
    """`node`: name of this one. `nodes`: all of them, as the API says now. `bound`: addresses that are served
    here. `families`: widths of addresses that the kernel has. `on_dead`: called with the names of nodes that
    are given up, whenever those change.
    """

    def __init__(
        self,
        client: Client,
        kernel: Kernel,
        settings: Settings,
        *,
        node: str,
        nodes: Callable[[], Iterable[Node]],
        bound: Callable[[], Iterable[bytes]],
        families: tuple[int, ...],
        on_dead: Callable[[frozenset[str]], None],
    ) -> None:
        self._node = node
        self._nodes = nodes
        self._bound = bound
        self._on_dead = on_dead
        self._limits = settings.liveness
        self._hand_over = settings.hand_over
        self._host = HostLinks((), ())
        self._hearing: Hearing | None = None
        self._secrets = Cache(
            client,
            SECRETS,
            namespace=settings.namespace,
            field_selector=f"metadata.name={SECRET}",
            on_delta=self._on_peers,
        )
        self._namespaces = Cache(
            client, NAMESPACES, field_selector=f"metadata.name={CLUSTER_NAMESPACE}", on_delta=self._on_peers
        )
        self._handing = HandingOver(
            kernel,
            node_id(node),
            self._vip,
            self._reachable,
            families=families,
            say=self._say,
        )

    async def run(self) -> None:
        """Hear and follow, as far as the settings want it, until cancelled."""
        if not (self._limits.enabled or self._hand_over):
            return
        heard = self._handing.hear if self._hand_over else _ignored
        self._hearing = Hearing(self._limits, self._died, heard)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._secrets.run())
                group.create_task(self._namespaces.run())
                if self._hand_over:
                    group.create_task(self._handing.run())
                self._learn()
        finally:
            self._hearing.close()

    def moved(self) -> int:
        """IPs of which unknown connections are passed on now."""
        return len(self._handing.moves.moved)

    def learn(self, host: HostLinks) -> None:
        """Nodes, or this node's links and addresses, may have changed."""
        self._host = host
        self._learn()

    def _on_peers(self, _: object) -> None:
        self._learn()

    def _learn(self) -> None:
        if self._hearing is not None:
            self._hearing.learn(
                peers.members(self._nodes(), self._node),
                self._host,
                cluster=read_cluster(self._namespaces.objects.get(CLUSTER_NAMESPACE)),
                keys=self._keys(),
            )
            heard = self._hearing.links
            self._handing.learn({link.index: link for link in self._host.links if link.index in heard})

    def _keys(self) -> Keys | None:
        try:
            return read_keys(next(iter(self._secrets.objects.values()), None))
        except UnusableSecret as error:
            log.error("hellos are not read", extra={"fields": {"reason": str(error)}})
            return None

    def _died(self, dead: frozenset[str]) -> None:
        self._handing.give_up(dead)
        self._on_dead(dead)

    def _reachable(self, node: int, link: int, vip: bytes) -> Member | None:
        return self._hearing.reachable(node, link, vip) if self._hearing else None

    def _say(self, telling: Telling) -> None:
        if self._hearing is not None:
            self._hearing.say(telling.message, node_id(self._node), link=telling.link, to=telling.to)

    def _vip(self, number: int) -> bytes | None:
        """The address that is bound here with this id in hellos."""
        return next((address for address in self._bound() if _vip_id(address) == number), None)


def _ignored(_frame: Frame, _link: int) -> None:
    """For who does not hand over."""

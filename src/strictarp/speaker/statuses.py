"""Writes this node's ServiceL2Status objects, one after the other, and only when something changed. Thin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from strictarp.kube.client import Client
from strictarp.kube.custom import SERVICEL2STATUSES
from strictarp.kube.errors import AlreadyExists, KubeError, NotFound
from strictarp.speaker import l2status
from strictarp.speaker.l2status import Interfaces
from strictarp.speaker.persisting import Persisting


class Statuses:
    """on_failure: called for each write that failed."""

    def __init__(self, client: Client, namespace: str, node: str, *, on_failure: Callable[[], None]) -> None:
        self._client = client
        self._namespace = namespace
        self._node = node
        self._wanted: Mapping[str, Interfaces] = {}
        self._written: dict[str, Interfaces] = {}
        self._swept = False
        self._persisting = Persisting("ServiceL2Status", self._work, on_failure)
        self.run, self.settled = self._persisting.run, self._persisting.settled

    def show(self, wanted: Mapping[str, Interfaces]) -> None:
        """What this node announces now; returns at once."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._persisting.wake()

    async def _work(self) -> None:
        """Begins with what an earlier life of this speaker has left behind."""
        if not self._swept:
            await self._sweep()
            self._swept = True
        await self._write_all()

    async def _sweep(self) -> None:
        """Nothing is written yet, so no object of this node is true."""
        selector = l2status.selector_of_node(self._node)
        found = await self._client.list(SERVICEL2STATUSES, self._namespace, label_selector=selector)
        for each in found.items:
            await self._delete(each.metadata.name)

    async def _write_all(self) -> None:
        """Until what is written is what is wanted, which may change meanwhile."""
        while True:
            missing, gone = l2status.differences(self._wanted, self._written)
            if not (missing or gone):
                return
            for service in gone:
                await self._delete(l2status.object_name(service, self._node))
                del self._written[service]
            for service in missing:
                interfaces = self._wanted.get(service)
                if interfaces is not None:
                    await self._write(service, interfaces)
                    self._written[service] = interfaces

    async def _write(self, service: str, interfaces: Interfaces) -> None:
        """Create it, fill in its status, and delete what others, or a dead node, said of the Service."""
        name = l2status.object_name(service, self._node)
        if service not in self._written:
            with contextlib.suppress(AlreadyExists):
                await self._client.create(
                    SERVICEL2STATUSES, l2status.body(service, self._node), self._namespace
                )
        patch = l2status.status(service, self._node, interfaces)
        try:
            await self._client.merge_patch(
                SERVICEL2STATUSES, name, patch, self._namespace, subresource="status"
            )
        except NotFound as error:  # another node took itself for the owner and deleted it
            self._written.pop(service, None)
            raise KubeError(str(error)) from error
        selector = l2status.selector_of_service(service)
        others = await self._client.list(SERVICEL2STATUSES, self._namespace, label_selector=selector)
        for each in others.items:
            if each.metadata.name != name:
                await self._delete(each.metadata.name)

    async def _delete(self, name: str) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(SERVICEL2STATUSES, name, self._namespace)

"""Writes this node's AnnouncedAddress objects, one by one, and only when something changed. Thin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from strictarp.kube.client import Client
from strictarp.kube.custom import ANNOUNCEDADDRESSES, AddressState, AnnouncedAddress
from strictarp.kube.errors import Conflict, NotFound
from strictarp.speaker import announced
from strictarp.speaker.persisting import Persisting


def stamp() -> str:
    """The time now, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Addresses:
    """in_use: the addresses that Services have now, as text. on_failure: called for each failed write."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        node: str,
        *,
        in_use: Callable[[], Collection[str]],
        on_failure: Callable[[], None],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._node = node
        self._in_use = in_use
        self._wanted: Mapping[str, AddressState] | None = None
        self._written: dict[str, AddressState | None] = {}
        """Address → what its object says; None: something that an earlier life has left."""
        self._swept = False
        self._persisting = Persisting("AnnouncedAddress", self._write_all, on_failure)
        self.run, self.settled = self._persisting.run, self._persisting.settled

    def show(self, wanted: Mapping[str, AddressState]) -> None:
        """What this node announces now; returns at once."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._persisting.wake()

    async def _write_all(self) -> None:
        """Until what is written is what is wanted, which may change meanwhile."""
        if self._wanted is None:
            return  # nothing is known yet, and what an earlier life has left may be true again in a moment
        if not self._swept:
            await self._sweep()
            self._swept = True
        while True:
            wanted = self._wanted
            missing = [each for each, state in wanted.items() if self._written.get(each) != state]
            gone = [each for each in self._written if each not in wanted]
            if not (missing or gone):
                return
            for address in missing:
                state = self._wanted.get(address)
                if state is not None:
                    await self._write(address, state)
                    self._written[address] = state
            in_use = self._in_use() if gone else ()
            for address in gone:
                if address not in self._wanted:
                    await self._let_go(address, keep=address in in_use)
                    del self._written[address]

    async def _sweep(self) -> None:
        """Take over what this node said in an earlier life, and what names nobody and is of no more use."""
        found = await self._client.list(ANNOUNCEDADDRESSES, self._namespace)
        in_use = self._in_use()
        for each in found.items:
            address = each.spec.address
            if self._is_mine(each) or (not each.status.node and address not in in_use):
                self._written.setdefault(address, None)

    def _is_mine(self, each: AnnouncedAddress) -> bool:
        return each.status.node == self._node

    async def _write(self, address: str, state: AddressState) -> None:
        name, patch = announced.object_name(address), announced.document(state)
        try:
            await self._client.merge_patch(ANNOUNCEDADDRESSES, name, patch, self._namespace)
        except NotFound:
            await self._client.create(ANNOUNCEDADDRESSES, announced.body(address, state), self._namespace)

    async def _let_go(self, address: str, *, keep: bool) -> None:
        """Nobody's, unless another node has written by now; deleted when no Service has the address."""
        name = announced.object_name(address)
        with contextlib.suppress(NotFound, Conflict):
            there = await self._client.get(ANNOUNCEDADDRESSES, name, self._namespace)
            if there.status.node and not self._is_mine(there):
                return
            if not keep:
                await self._client.delete(ANNOUNCEDADDRESSES, name, self._namespace)
            elif there.status.node:
                patch = announced.nobody(there.metadata.resource_version, stamp())
                await self._client.merge_patch(ANNOUNCEDADDRESSES, name, patch, self._namespace)

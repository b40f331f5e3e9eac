"""This node's own Lease: written at start, every 10 s, and when a link changes; deleted on leaving."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from strictarp.kube.client import Client
from strictarp.kube.errors import Conflict, KubeError, NotFound
from strictarp.kube.objects import LEASES
from strictarp.speaker.links import Place
from strictarp.speaker.membership import PREFIX, RENEW, lease_body

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that one write may take."""
RETRY = 2.0


class Renewal:
    """places: this node's links now. on_failure: called for each write that failed."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        node: str,
        *,
        places: Callable[[], tuple[Place, ...]],
        on_failure: Callable[[], None],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._node = node
        self._places = places
        self._on_failure = on_failure
        self._now = asyncio.Event()

    def hurry(self) -> None:
        """Renew at once: there is something new to tell."""
        self._now.set()

    async def run(self) -> None:
        """Renew, until cancelled."""
        while True:
            self._now.clear()
            wait = RENEW if await self._renew() else RETRY
            try:
                async with asyncio.timeout(wait):
                    await self._now.wait()
            except TimeoutError:
                continue

    async def _renew(self) -> bool:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = lease_body(self._node, self._places(), stamp)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._write(body)
        except (KubeError, TimeoutError) as error:
            self._on_failure()
            why = str(error) or f"no answer within {PATIENCE:g} s"
            log.warning("own Lease not renewed", extra={"fields": {"reason": why}})
            return False
        return True

    async def _write(self, body: dict[str, object]) -> None:
        name = PREFIX + self._node
        try:
            await self._client.merge_patch(LEASES, name, body, self._namespace)
        except NotFound:
            try:
                await self._client.create(LEASES, body, self._namespace)
            except Conflict:  # made meanwhile by an earlier life of this speaker
                await self._client.merge_patch(LEASES, name, body, self._namespace)

    async def withdraw(self) -> None:
        """Tell the others not to wait for this node; best effort."""
        try:
            async with asyncio.timeout(1.0):
                await self._client.delete(LEASES, PREFIX + self._node, self._namespace)
        except (KubeError, TimeoutError) as error:
            log.info("own Lease left to run out", extra={"fields": {"reason": str(error)}})

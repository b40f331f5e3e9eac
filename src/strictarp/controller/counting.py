"""The counters in IPAddressPool.status: written when they are wrong, and no more than once a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from strictarp.kube.client import Client
from strictarp.kube.custom import IPADDRESSPOOLS, IPAddressPool, IPAddressPoolStatus
from strictarp.kube.errors import KubeError, NotFound

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between two rounds of writes, so that a burst of Services costs one write a pool."""
RETRY = 10.0

_FIELDS = {
    "assignedIPv4": "assigned_ipv4",
    "assignedIPv6": "assigned_ipv6",
    "availableIPv4": "available_ipv4",
    "availableIPv6": "available_ipv6",
}


def counters_patch(pool: IPAddressPool, wanted: IPAddressPoolStatus) -> dict[str, object] | None:
    """The merge patch of the status that shows these counters; None if it does. All four are required."""
    if pool.status == wanted:
        return None
    return {"status": {name: getattr(wanted, field) for name, field in _FIELDS.items()}}


class Counting:
    """Keeps the status of every pool as it is wanted, also against edits by hand."""

    def __init__(
        self, client: Client, pools: Mapping[str, IPAddressPool], may_write: Callable[[], bool]
    ) -> None:
        self._wanted: Mapping[str, IPAddressPoolStatus] = {}
        self._client = client
        self._pools = pools
        self._may_write = may_write
        self._wake = asyncio.Event()

    def want(self, wanted: Mapping[str, IPAddressPoolStatus]) -> None:
        """The counters by name of the pool."""
        self._wanted = wanted
        self._wake.set()

    def look(self) -> None:
        """A pool changed: compare soon."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                wrote = [await self._write(pool) for pool in tuple(self._pools.values())]
            except KubeError as error:
                log.warning("counters not written", extra={"fields": {"error": str(error), "again": RETRY}})
                self._wake.set()
                await asyncio.sleep(RETRY)
                continue
            if any(wrote):
                await asyncio.sleep(PERIOD)

    async def _write(self, pool: IPAddressPool) -> bool:
        """Whether anything was written."""
        wanted = self._wanted.get(pool.metadata.name)
        patch = counters_patch(pool, wanted) if wanted is not None else None
        if patch is None or not self._may_write():
            return False
        meta = pool.metadata
        try:
            await self._client.merge_patch(
                IPADDRESSPOOLS, meta.name, patch, meta.namespace, subresource="status"
            )
        except NotFound:
            return False
        return True

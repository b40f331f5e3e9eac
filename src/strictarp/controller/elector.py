"""Holding the Lease of `leading`: the requests and the waiting."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from strictarp.controller.leading import (
    DURATION,
    LEASE,
    RENEW,
    TRUST,
    Observed,
    observe,
    record,
    verdict,
)
from strictarp.kube.client import Client
from strictarp.kube.errors import Conflict, KubeError, NotFound
from strictarp.kube.objects import LEASES, Lease

log = logging.getLogger(__name__)

RETRY = 1.0


class Elector:
    """One candidate. `identity` must be its own among those that run at once, and stay over a restart.

    Then a controller that comes back after a crash goes on at once, while another has to wait until the
    Lease has run out.
    """

    def __init__(self, client: Client, namespace: str, identity: str) -> None:
        self.identity = identity
        self._client = client
        self._namespace = namespace
        self._observed: Observed | None = None
        self._until = float("-inf")

    @property
    def leading(self) -> bool:
        """The right to write is ours, now."""
        return asyncio.get_running_loop().time() < self._until

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        told = ""
        while True:
            state = await self._attempt()
            if self.leading:
                return
            if state != told:
                log.info("waiting to lead", extra={"fields": {"why": state}})
                told = state
            await asyncio.sleep(RETRY)

    async def hold(self) -> None:
        """Renew; returns when the right to write is lost, be it for a moment: what was left out then has to
        be decided anew.
        """
        loop = asyncio.get_running_loop()
        while self.leading:
            began = self._until
            await asyncio.sleep(RENEW)
            while self.leading and self._until == began:
                state = await self._attempt()
                if loop.time() >= began:
                    return
                if self._until == began:
                    log.warning("the Lease is not renewed", extra={"fields": {"why": state}})
                    await asyncio.sleep(RETRY)

    async def resign(self) -> None:
        """Let the next one take over at once."""
        if not self.leading:
            return
        self._until = float("-inf")
        patch = {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}
        try:
            async with asyncio.timeout(2):
                await self._client.merge_patch(LEASES, LEASE, patch, self._namespace)
        except (KubeError, TimeoutError) as error:
            log.warning("the Lease is left to run out", extra={"fields": {"why": str(error)}})

    async def _attempt(self) -> str:
        """Try once to take or renew the Lease; returns what stands against it."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        try:
            async with asyncio.timeout(TRUST / 2):
                lease = await self._read()
                self._observed = observe(self._observed, lease, loop.time())
                if verdict(self._observed, self.identity, loop.time()) == "wait":
                    if self.leading:
                        self._until = float("-inf")  # another one has it: that is the API's last word
                    return f"Lease {LEASE} is held by {self._holder()}"
                await self._write(lease)
        except Conflict:
            return f"Lease {LEASE} was written by another candidate"
        except (KubeError, TimeoutError) as error:
            return str(error) or f"no answer within {TRUST / 2:g} s"
        self._until = sent + TRUST
        return ""

    def _holder(self) -> str:
        spec = self._observed.spec if self._observed else None
        return (spec.holder_identity if spec else None) or "nobody"

    async def _read(self) -> Lease | None:
        try:
            return await self._client.get(LEASES, LEASE, self._namespace)
        except NotFound:
            return None

    async def _write(self, lease: Lease | None) -> None:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = record(lease.spec if lease else None, self.identity, stamp)
        if lease is None:
            await self._client.create(LEASES, {"metadata": {"name": LEASE}, "spec": spec}, self._namespace)
            return
        metadata = {"resourceVersion": lease.metadata.resource_version}
        await self._client.merge_patch(LEASES, LEASE, {"metadata": metadata, "spec": spec}, self._namespace)


assert TRUST < DURATION  # noqa: S101 - the holder gives up before anybody else may begin

"""strictARP as the configuration wants it: guarded while it is true, put back when it no longer is.

kube-proxy sets two sysctls once, never looks again, and never puts them back. Here they are a state, kept by
the guard (package `guard`) under a journal of the proxy's own. Without strictARP nothing is asserted; what a
journal of ours says is put back, and without a journal nothing is touched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from strictarp.arp.switching import Scope
from strictarp.errors import UserError
from strictarp.guard import once
from strictarp.guard.guardian import PERIOD, Guardian
from strictarp.guard.report import report
from strictarp.guard.settings import Settings
from strictarp.guard.telling import Teller
from strictarp.netlink.nft_process import NftRefused
from strictarp.netlink.rtnl import Link
from strictarp.proxy import status
from strictarp.proxy.operations import BindAddress

log = logging.getLogger(__name__)

DRIFTED, RESTORED, LEFT = "StrictARPChanged", "StrictARPRestored", "StrictARPLeft"


class StrictArp:
    """The guard of a proxy. `say(reason, message)` tells people: in the log and as an Event."""

    def __init__(self, settings: Settings, say: Callable[[str, str], None]) -> None:
        self.settings = settings
        self.restored: tuple[str, ...] = ()
        self._say = say
        self._teller = Teller(settings.host_root, lambda line: say(DRIFTED, line))
        self._guardian: Guardian | None = None
        self._work: asyncio.Task[None] | None = None
        self._node_addresses: frozenset[int] = frozenset()

    async def want(self, *, strict: bool) -> None:
        """Assert now and from now on, or put back. Raises UserError when strictARP cannot be asserted."""
        if strict:
            await self._guard()
        else:
            await self._put_back()

    async def _guard(self) -> None:
        if self._guardian is not None:
            return
        guardian = Guardian(self.settings, self._teller)
        guardian.node_addresses = self._node_addresses
        try:
            await guardian.start()
        except BaseException:
            guardian.close()
            raise
        for note in guardian.notes:
            log.info("strictARP %s", note)
        self.restored = ()
        self._guardian = guardian
        self._work = asyncio.create_task(guardian.run())

    async def _put_back(self) -> None:
        guarded = self._guardian is not None
        await self.close()
        try:
            released = await once.put_back(self.settings)
        except UserError as error:
            # Services come first: what stays strict harms less than a proxy that does not start.
            self._say(LEFT, f"strictARP is off, but values are left as they are: {error}")
            return
        if released.known:
            self.restored = released.done
            told = "; ".join((*released.done, *(f"left: {each}" for each in released.left)))
            told = told or "they were never changed"
            self._say(RESTORED, f"strictARP is off, former values are put back: {told}")
        elif guarded:
            self._say(LEFT, "strictARP is off; no journal tells former values: they are left as they are")

    async def run(self) -> None:
        """Watch over the guard until cancelled. Raises what it failed with."""
        while True:
            work = self._work
            if work is not None and work.done() and not work.cancelled():
                work.result()
            await asyncio.sleep(PERIOD)

    async def close(self) -> None:
        """End the guard; what it wrote stays."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})
        if self._guardian is not None:
            self._guardian.close()
        self._guardian = self._work = None

    async def expect(self, binds: Iterable[BindAddress]) -> None:
        """Called before Service IPs are bound: in scope `vips` the kernel must not answer for a moment."""
        vips = [int.from_bytes(each.address, "big") for each in binds if len(each.address) == 4]
        if self._guardian is None or not vips:
            return
        try:
            await self._guardian.expect(vips)
        except (NftRefused, OSError) as error:  # the guard's next turn tries again, and tells
            fields = {"reason": str(error)}
            log.warning("Service IPs are bound before nftables knows them", extra={"fields": fields})

    def learn(self, addresses: Iterable[bytes]) -> None:
        """The node's own addresses: their subnets' interfaces are uplinks too."""
        self._node_addresses = frozenset(int.from_bytes(each, "big") for each in addresses if len(each) == 4)
        if self._guardian is not None:
            self._guardian.node_addresses = self._node_addresses

    def drifts(self) -> int:
        """How many changes were undone since the start."""
        return sum(self._guardian.drifts.values()) if self._guardian is not None else 0

    def in_force(self) -> float:
        """1 when strictARP is in force on every uplink."""
        verdicts = self._guardian.verdicts if self._guardian is not None else {}
        return float(bool(verdicts) and all(verdicts.values()))

    def document(self, links: Iterable[Link], *, requested: bool) -> dict[str, object]:
        """For /strictarp. Raises SysctlError.

        In scope `all` every interface that answers ARP counts, in the others the uplinks.
        """
        told = status.read_status(links, requested=requested)
        guardian = self._guardian
        if guardian is None:
            return {**told, "restored": list(self.restored)}
        guarded = report(
            self.settings.scope.value,
            guardian.verdicts,
            drifts=self.drifts(),
            last_drift=guardian.last_drift,
            trouble=guardian.trouble,
        )
        return told | status.guarded_part(guarded, decides=self.settings.scope is not Scope.ALL)

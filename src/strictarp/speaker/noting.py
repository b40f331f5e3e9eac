"""What this node owns, told to the API: two kinds of status objects, an Event on each Service. Thin."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from ipaddress import ip_address

from strictarp.kube.client import Client
from strictarp.kube.objects import Service
from strictarp.speaker import l2status
from strictarp.speaker.addresses import Addresses, stamp
from strictarp.speaker.announced import Ledger, Seen
from strictarp.speaker.picture import Picture
from strictarp.speaker.segment import Segment
from strictarp.speaker.statuses import Statuses

SOON = 0.5
"""Seconds after which objects follow what is owned: a hand-over to and fro writes nothing."""
AGAIN = 10.0
"""Seconds between looks at what changes without this node's doing: the runner-up, what the audit found."""
AT_THE_END = 1.0
"""Seconds that a speaker which leaves gives to its last writes."""


class Notes:
    """segments: those that there are now. on_assigned: called with each Service that this node begins to
    announce. on_failure: called for each write that failed.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        node: str,
        picture: Picture,
        *,
        segments: Callable[[], Collection[Segment]],
        on_assigned: Callable[[Service], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._node = node
        self._picture = picture
        self._segments = segments
        self._on_assigned = on_assigned
        self._statuses = Statuses(client, namespace, node, on_failure=on_failure)
        self.addresses = Addresses(client, namespace, node, in_use=self._in_use, on_failure=on_failure)
        self._ledger = Ledger(node)
        self._assigned: frozenset[str] = frozenset()
        self._planned = False
        self._last = -AGAIN

    async def run(self) -> None:
        """Write, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._statuses.run())
            group.create_task(self.addresses.run())

    def took(self, address: bytes) -> None:
        """This node has taken an address (packed) over."""
        self._ledger.took(address, stamp())

    def soon(self) -> None:
        """Once for all the addresses that come or go together."""
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_later(SOON, self.at_once)

    def now_and_then(self) -> None:
        """To be called often: looks when it is time again."""
        if asyncio.get_running_loop().time() - self._last >= AGAIN:
            self.soon()

    def at_once(self) -> None:
        """Have written what is true now, where that is new."""
        self._planned = False
        self._last = asyncio.get_running_loop().time()
        owned = self._seen()
        verdicts = self._picture.verdicts_on(owned)
        announced = l2status.wanted(verdicts, owned, self._node)
        self._statuses.show(announced)
        self.addresses.show(self._ledger.states(owned, stamp()))
        for key in announced.keys() - self._assigned:
            service = self._picture.service(key)
            if service is not None:
                self._on_assigned(service)
        self._assigned = frozenset(announced)

    async def finish(self) -> None:
        """Write what is true at the end, as far as that goes quickly."""
        self.at_once()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_THE_END):
                await asyncio.gather(self._statuses.settled(), self.addresses.settled())

    def announced(self) -> dict[str, list[str]]:
        """Address that this node owns → its Services."""
        owned = (address for segment in self._segments() for address in segment.machine.owned)
        return {
            str(ip_address(address)): [each.key for each in self._picture.services_of(address)]
            for address in owned
        }

    def _seen(self) -> dict[bytes, Seen]:
        return {
            address: Seen(
                segment.place.name,
                segment.place.mac,
                tuple(each.key for each in self._picture.services_of(address)),
                holding,
            )
            for segment in self._segments()
            for address, holding in segment.machine.holdings.items()
        }

    def _in_use(self) -> frozenset[str]:
        return frozenset(
            str(address) for verdict in self._picture.verdicts.values() for address in verdict.addresses
        )

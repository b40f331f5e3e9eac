"""Addresses found taken before they were ever announced: an AddressConflict, so that the controller gives
others.

Thin. The machine has found the same foreign host several times, and that it is no node's kernel. Here the
API has the last word: an address that its Service was announced with before is not taken away from it by a
stranger.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import msgspec

from strictarp.arp.frames import mac_text
from strictarp.kube.client import Client
from strictarp.kube.custom import ADDRESSCONFLICTS, ANNOUNCEDADDRESSES, SERVICEL2STATUSES
from strictarp.kube.errors import AlreadyExists, KubeError, NotFound
from strictarp.kube.objects import Service
from strictarp.speaker import l2status
from strictarp.speaker.addresses import stamp
from strictarp.speaker.announced import object_name

log = logging.getLogger(__name__)

_MOST_WAITING = 256


class Found(msgspec.Struct, frozen=True):
    """A host with this MAC answers for an address (packed) on a link."""

    address: bytes
    mac: bytes
    link: str


class Conflicts:
    """services_of: the Services that have an address (packed). on_written: called for each that is told so.
    on_failure: called for each write that failed.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        node: str,
        *,
        services_of: Callable[[bytes], Iterable[Service]],
        on_written: Callable[[Service, str], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._node = node
        self._services_of = services_of
        self._on_written = on_written
        self._on_failure = on_failure
        self._waiting: asyncio.Queue[Found] = asyncio.Queue(_MOST_WAITING)
        self._done: set[Found] = set()
        """Written, or judged; found again every few seconds while it lasts."""

    def found(self, found: Found) -> None:
        """Have it judged soon; returns at once. Dropped when too many wait: it will be found again."""
        if found not in self._done:
            with contextlib.suppress(asyncio.QueueFull):
                self._waiting.put_nowait(found)
                self._done.add(found)

    def forget(self, address: bytes) -> None:
        """The address is somebody else's business now."""
        self._done = {each for each in self._done if each.address != address}

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            found = await self._waiting.get()
            try:
                await self._judge(found)
            except KubeError as error:
                self._done.discard(found)
                self._on_failure()
                log.warning("AddressConflict not written", extra={"fields": {"reason": str(error)}})

    async def _judge(self, found: Found) -> None:
        services = list(self._services_of(found.address))
        text = str(ip_address(found.address))
        if not services or await self._was_announced(text, services):
            return
        spec = {
            "address": text,
            "mac": mac_text(found.mac),
            "node": self._node,
            "service": services[0].key,
            "seen": stamp(),
        }
        body = {"metadata": {"name": object_name(text)}, "spec": spec}
        try:
            await self._client.create(ADDRESSCONFLICTS, body, self._namespace)
        except AlreadyExists:
            return
        except NotFound as error:
            log.warning("no AddressConflict kept", extra={"fields": {"reason": str(error)}})
            return
        sentence = (
            f"{mac_text(found.mac)}, which is no node's, answers for {text} on {found.link}; found before it "
            "was ever announced"
        )
        for service in services:
            self._on_written(service, sentence)

    async def _was_announced(self, text: str, services: Iterable[Service]) -> bool:
        """Whether the API knows that one of these Services has been announced with it, by whomever."""
        names = {each.key for each in services}
        try:
            known = await self._client.get(ANNOUNCEDADDRESSES, object_name(text), self._namespace)
        except NotFound:
            pass
        else:
            if names & set(known.status.services or ()):
                return True
        for name in names:
            selector = l2status.selector_of_service(name)
            with contextlib.suppress(NotFound):
                listing = await self._client.list(SERVICEL2STATUSES, self._namespace, label_selector=selector)
                if listing.items:
                    return True
        return False

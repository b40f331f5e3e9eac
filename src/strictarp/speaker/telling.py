"""What the machines have to say, for people: log lines, figures, and Events on Services. Thin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import msgspec

from strictarp.arp.frames import mac_text
from strictarp.kube.client import Client
from strictarp.kube.events import EventType, emit
from strictarp.kube.objects import Service
from strictarp.speaker.actions import Kind, Report
from strictarp.speaker.exposition import Figures
from strictarp.speaker.segment import Segment, Told

log = logging.getLogger(__name__)

COMPONENT = "strictarp-speaker"
_MOST_WAITING = 1024
_WARNED = frozenset(
    {
        Kind.ADDRESS_CONFLICT,
        Kind.CLAIM_ALONE,
        Kind.CONTESTED,
        Kind.FROZEN,
        Kind.ISOLATED,
        Kind.KERNEL_ANSWERS,
        Kind.NOBODY_ANSWERS,
        Kind.PEER_SILENT,
        Kind.SAME_NAME,
        Kind.SEVERAL_ANSWER,
    }
)

_SENTENCES = {
    Kind.ADDRESS_CONFLICT: ("addressConflict", "{mac}, which is no node's, speaks for {ip} on {link}"),
    Kind.KERNEL_ANSWERS: (
        "kernelAnswers",
        "the kernel of node {node} ({mac}) speaks for {ip} on {link}, though the node does not own it: "
        "strictARP is off there",
    ),
    Kind.SEVERAL_ANSWER: ("severalAnswer", "several answer for {ip} on {link}: {detail}"),
    Kind.NOBODY_ANSWERS: ("nobodyAnswers", "nobody answers for {ip} on {link}, though node {node} owns it"),
}
"""What is told on the Services of an address, and how."""
OVER = 600.0
"""Seconds without a report after which a trouble is over; the next one is told again."""
_MOST_STANDING = 4096


class Saying(msgspec.Struct, frozen=True):
    """An Event that waits to be written."""

    about: Service
    reason: str
    message: str
    type: EventType = "Normal"


class Teller:
    """Logs, counts, and writes Events in a task of its own. services_of: the Services that are announced
    with an address (packed).
    """

    def __init__(
        self, client: Client, node: str, figures: Figures, services_of: Callable[[bytes], Iterable[Service]]
    ) -> None:
        self._client = client
        self._node = node
        self._figures = figures
        self._services_of = services_of
        self._standing: dict[tuple[Kind, bytes, bytes], float] = {}
        """What was told of a kind about an address, and of a MAC → when it was reported last."""
        self._said: asyncio.Queue[Saying] = asyncio.Queue(_MOST_WAITING)

    def on_told(self, segment: Segment, told: Told) -> None:
        """What a machine has to say; returns at once."""
        match told:
            case Report():
                self._log(segment, told)
                if told.kind in _SENTENCES:
                    self._tell_services(segment, told)
            case _:
                pass

    def assigned(self, service: Service) -> None:
        """This node announces a Service from now on, with however many addresses."""
        text = f'announcing from node "{self._node}" with protocol "layer2"'
        self.say(Saying(service, "nodeAssigned", text))

    def conflict(self, service: Service, sentence: str) -> None:
        """An AddressConflict was written because of an address of this Service."""
        self.say(Saying(service, "addressConflict", sentence, "Warning"))

    def _tell_services(self, segment: Segment, report: Report) -> None:
        """Once while it lasts: it is reported again and again."""
        key = (report.kind, report.address, report.mac)
        now = asyncio.get_running_loop().time()
        last = self._standing.pop(key, None)
        self._standing[key] = now
        if len(self._standing) > _MOST_STANDING:
            del self._standing[next(iter(self._standing))]
        if last is not None and now - last < OVER:
            return
        reason, text = _SENTENCES[report.kind]
        sentence = text.format(
            mac=mac_text(report.mac) if report.mac else "",
            ip=ip_address(report.address),
            node=report.node,
            link=segment.place.name,
            detail=report.detail,
        )
        for service in self._services_of(report.address):
            self.say(Saying(service, reason, sentence, "Warning"))

    def _log(self, segment: Segment, report: Report) -> None:
        self._figures.count(report)
        fields: dict[str, object] = {"link": segment.place.name}
        if report.address:
            fields["ip"] = str(ip_address(report.address))
        if report.node:
            fields["peer"] = report.node
        if report.mac:
            fields["mac"] = mac_text(report.mac)
        if report.detail:
            fields["detail"] = report.detail
        if report.micros:
            fields["ms"] = round(report.micros / 1000, 1)
        level = logging.INFO if report.kind not in _WARNED else logging.WARNING
        log.log(level, report.kind.value, extra={"fields": fields})

    def say(self, saying: Saying) -> None:
        """Have an Event written soon; dropped, and logged, when too many wait."""
        try:
            self._said.put_nowait(saying)
        except asyncio.QueueFull:
            log.warning("event dropped: too many wait", extra={"fields": {"service": saying.about.key}})

    async def run(self) -> None:
        """Write Events, one after the other: an API that is away must not delay anything else."""
        while True:
            saying = await self._said.get()
            await emit(
                self._client,
                about=saying.about,
                reason=saying.reason,
                message=saying.message,
                type=saying.type,
                component=COMPONENT,
                host=self._node,
            )

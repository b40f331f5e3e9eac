"""What `strictarp watch` tells: events as values and as lines, the table, the summary. Pure.

Times are turned into text by the caller, who knows the time zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address

import msgspec

from strictarp.arp.frames import parse_mac
from strictarp.arp.probing import Answerer, Findings, Verdict
from strictarp.wire.culprits import Culprit, Evidence, culprits
from strictarp.wire.naming import Name, name
from strictarp.wire.reporting import printable
from strictarp.wire.timeline import Timeline
from strictarp.wire.vips import IpAddress
from strictarp.wire.watched import Change, How, Kind, Watched

Stamp = Callable[[float], str]
"""Seconds since the epoch → text."""
_WORDS = {
    Kind.ONE: "one answers",
    Kind.SEVERAL: "SEVERAL ANSWER",
    Kind.SILENT: "NOBODY ANSWERS",
    Kind.CHANGE: "owner changed",
    Kind.BLIND: "cannot look",
}
_HOW = {
    How.ANSWER: "seen by its answer",
    How.ANNOUNCEMENT: "it announced itself",
    How.TRAFFIC: "it sent a request as this address",
    How.NO_ANSWER: "",
    How.LINK: "",
}
STATES = {
    Verdict.ONE: "one",
    Verdict.SEVERAL: "SEVERAL",
    Verdict.NOBODY: "SILENT",
    Verdict.UNKNOWN: "?",
}


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of `--json`.

    at: when it began, RFC 3339. event: one, several, silent, change (a flap), blind. macs: that answered, or
    the new owner. before: the owner until then. how: it was noticed.
    """

    at: str
    ip: str
    event: Kind
    macs: tuple[str, ...]
    how: How
    before: str = ""
    reason: str = ""
    services: tuple[str, ...] = ()
    names: Mapping[str, Name] = {}
    culprits: tuple[Culprit, ...] = ()


class Context(msgspec.Struct, frozen=True):
    """What makes numbers and MACs readable. interfaces: of the addresses."""

    evidence: Evidence = Evidence()
    vips: Mapping[IpAddress, tuple[str, ...]] = {}
    interfaces: Mapping[str, str] = {}

    def services(self, ip: str) -> tuple[str, ...]:
        """Services of an address."""
        return self.vips.get(IPv4Address(ip), ())

    def name(self, mac: str) -> Name:
        """Who has a MAC."""
        return name(self.evidence.known, parse_mac(mac))

    def who(self, mac: str) -> str:
        """A MAC with its name, for people."""
        if not mac:
            return "-"
        named = self.name(mac).text
        return printable(f"{named} ({mac})" if named else mac)


def event(change: Change, timeline: Timeline, context: Context, stamp: Stamp) -> Event:
    """A change with names, and with culprits where several answer."""
    suspects: tuple[Culprit, ...] = ()
    if change.kind is Kind.SEVERAL:
        seen = [_findings(each, context) for each in timeline.watched.values()]
        suspects = tuple(each for each in culprits(seen, context.evidence) if each.ip == change.ip)
    macs = dict.fromkeys([*change.macs, *([change.before] if change.before else [])])
    return Event(
        at=stamp(change.at),
        ip=change.ip,
        event=change.kind,
        macs=change.macs,
        how=change.how,
        before=change.before,
        reason=change.reason,
        services=context.services(change.ip),
        names={mac: context.name(mac) for mac in macs},
        culprits=suspects,
    )


def _findings(watched: Watched, context: Context) -> Findings:
    """The last round, as a probe would report it."""
    answerers = tuple(
        Answerer(mac, 1, round(delay, 3))
        for mac, delay in zip(watched.answering, watched.delays_ms, strict=False)
    )
    return Findings(
        ip=watched.ip,
        interface=context.interfaces.get(watched.ip, ""),
        form="probe" if watched.asker.ip == bytes(4) else "request",
        sender=str(IPv4Address(watched.asker.ip)),
        verdict=watched.verdict,
        answerers=answerers,
        own_address=False,
        seconds=0.0,
    )


def line(told: Event, context: Context) -> str:
    """An event for people."""
    services = f" ({', '.join(told.services)})" if told.services else ""
    return printable(f"{told.at}  {told.ip}{services}  {what(told, context)}")


def what(told: Event | Change, context: Context) -> str:
    """What happened, in words without time and address."""
    kind = told.event if isinstance(told, Event) else told.kind
    words = _WORDS[kind]
    who = ", ".join(context.who(mac) for mac in told.macs)
    if kind is Kind.CHANGE:
        return f"{words}: {context.who(told.before)} -> {who}; {_HOW[told.how]}"
    if kind is Kind.BLIND:
        return f"{words}: {printable(told.reason)}"
    return f"{words}: {who}" if who else words


def blame_lines(told: Event) -> list[str]:
    """Lines below an event of several answerers."""
    return [
        printable(f"    {each.lead}: {each.label}, {each.fault}: {each.why}; mend: {each.mend}")
        for each in told.culprits
    ]


HEADING = (
    "address",
    "Services",
    "state",
    "owner",
    "answering now",
    "last change",
    "flaps/h",
    "asked",
    "silent",
)


def row(watched: Watched, context: Context, now: float, stamp: Stamp) -> tuple[str, ...]:
    """A line of the table."""
    answering = ", ".join(_short(mac, context) for mac in watched.answering)
    counts = watched.counts
    return (
        watched.ip,
        printable(", ".join(context.services(watched.ip))),
        STATES[watched.verdict],
        "-" if watched.verdict is Verdict.NOBODY else context.who(watched.owner),
        answering or printable(watched.reason) or "-",
        stamp(watched.changed) if watched.changed is not None else "-",
        str(watched.flaps_in_hour(now)),
        str(counts.asked),
        str(counts.unanswered),
    )


def _short(mac: str, context: Context) -> str:
    named = context.name(mac)
    return printable(named.node) if named.node and named.sure else mac


def summary(watched: Iterable[Watched], context: Context) -> Sequence[str]:
    """At the end, a line an address."""
    return [
        printable(
            f"{each.ip}: asked {each.counts.asked} times, unanswered {each.counts.unanswered}, "
            f"several {each.counts.several}, owner changes {each.counts.flaps}; "
            f"last owner {context.who(each.owner)}"
        )
        for each in watched
    ]

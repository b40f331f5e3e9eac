"""Findings with names, Services and culprits: what `strictarp probe` tells, as values and as text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from strictarp.arp.frames import parse_mac
from strictarp.arp.probing import Answerer, Findings, Verdict, sentence
from strictarp.wire.culprits import Culprit, Evidence, culprits, doubled
from strictarp.wire.naming import Name, name
from strictarp.wire.vips import IpAddress

_MOST_ADDRESSES = 4


class Report(Findings, frozen=True):
    """Findings of one address, its Services, who has the MACs, and who is to blame."""

    services: tuple[str, ...] = ()
    names: Mapping[str, Name] = {}
    culprits: tuple[Culprit, ...] = ()


def report(
    findings: Sequence[Findings], evidence: Evidence, vips: Mapping[IpAddress, tuple[str, ...]]
) -> tuple[Report, ...]:
    """The findings with everything that is known about them."""
    suspects: dict[str, list[Culprit]] = {}
    for each in culprits(findings, evidence):
        suspects.setdefault(each.ip, []).append(each)
    return tuple(
        Report(
            **{field: getattr(found, field) for field in Findings.__struct_fields__},
            services=vips.get(IPv4Address(found.ip), ()),
            names={each.mac: name(evidence.known, parse_mac(each.mac)) for each in found.answerers},
            culprits=tuple(suspects.get(found.ip, ())),
        )
        for found in findings
    )


def printable(text: str) -> str:
    """Text of others, with what would steer a terminal made visible."""
    return "".join(each if each.isprintable() else "�" for each in text)


def table(reports: Sequence[Report]) -> list[tuple[str, ...]]:
    """Rows for people, a heading first; one row an answerer, and one for an address without any."""
    with_services = any(each.services for each in reports)
    heading = ("address", "Services", "verdict", "MAC address", "answers", "first after", "who")
    rows: list[tuple[str, ...]] = [heading]
    for each in reports:
        lead = (each.ip, printable(", ".join(each.services)), str(each.verdict))
        if not each.answerers:
            rows.append((*lead, "", "", "", printable(each.reason)))
        for answerer in each.answerers:
            rows.append((*lead, *_answerer(answerer, each)))
            lead = ("", "", "")
    return rows if with_services else [(row[0], *row[2:]) for row in rows]


def answerer_table(one: Report) -> list[tuple[str, ...]]:
    """Rows about the answerers of a single address, a heading first."""
    rows = [_answerer(each, one) for each in one.answerers]
    return [("MAC address", "answers", "first after", "who"), *rows] if rows else []


def _answerer(answerer: Answerer, found: Report) -> tuple[str, ...]:
    mac = answerer.mac
    if answerer.ethernet_source:
        mac = f"{mac} (sent from {answerer.ethernet_source})"
    answers = str(answerer.answers)
    if found.form == "both" and len(answerer.forms) == 1:
        answers = f"{answers} ({answerer.forms[0]} only)"
    return mac, answers, f"{answerer.first_ms:.2f} ms", printable(found.names[answerer.mac].text)


def lines_of(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines with columns that stand below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def headline(reports: Sequence[Report]) -> str:
    """One sentence on all of them."""
    if len(reports) == 1:
        return sentence(reports[0])
    count = {verdict: sum(each.verdict is verdict for each in reports) for verdict in Verdict}
    words = {
        Verdict.ONE: "answered by exactly one host",
        Verdict.SEVERAL: "by several",
        Verdict.NOBODY: "by nobody",
        Verdict.UNKNOWN: "could not be asked for",
    }
    told = [f"{count[each]} {word}" for each, word in words.items() if count[each] or each is Verdict.ONE]
    return f"{len(reports)} addresses: {', '.join(told)}"


def blame(reports: Iterable[Report]) -> Iterator[str]:
    """Lines on the culprits, those with the same fault together, and on hosts with two voices."""
    found = list(reports)
    groups: dict[tuple[str, ...], list[Culprit]] = {}
    for culprit in (each for one in found for each in one.culprits):
        alike = (text.replace(culprit.ip, "ADDRESS") for text in (culprit.why, culprit.mend))
        groups.setdefault((culprit.mac, culprit.fault, *alike), []).append(culprit)
    for group in groups.values():
        first = group[0]
        yield printable(f"{first.lead}: {first.label}, {first.fault}, for {_addresses(group)}: {first.why}")
        yield printable(f"  mend: {first.mend}")
    yield from doubled(found)
    own = [each.ip for each in found if each.own_address and each.answerers]
    if own:
        more = f" and {len(own) - _MOST_ADDRESSES} more" if len(own) > _MOST_ADDRESSES else ""
        yield (
            f"this host has {', '.join(own[:_MOST_ADDRESSES])}{more} itself, and whether its own kernel "
            "answers is not seen from here: ask from another host too"
        )
    for each in found:
        if each.reason and each.verdict is not Verdict.UNKNOWN:
            yield printable(f"{each.ip}: {each.reason}")


def _addresses(group: Sequence[Culprit]) -> str:
    named = ", ".join(each.ip for each in group[:_MOST_ADDRESSES])
    more = len(group) - _MOST_ADDRESSES
    return f"{named} and {more} more" if more > 0 else named

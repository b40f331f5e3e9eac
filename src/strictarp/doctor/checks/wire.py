"""SA7xx: who answers for each VIP on the wire. Pure.

The wire has the last word; who an answerer is, and who is to blame, is told by `strictarp.wire`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

from strictarp.arp.probing import Answerer, Verdict
from strictarp.doctor.check import CLUSTER, WIRE, Check, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.wording import node, service, some, vip
from strictarp.speaker.candidates import Why
from strictarp.wire.naming import Who
from strictarp.wire.reporting import Report

_STRANGE = (Who.FOREIGN, Who.VIRTUAL_ROUTER)


def _each(look: Callable[[Report], Iterable[Sighting]]) -> Callable[[Evidence], Iterable[Sighting]]:
    """The `look` of a check on single reports."""

    def looked(evidence: Evidence) -> Iterator[Sighting]:
        for report in evidence.wire.reports if evidence.wire is not None else ():
            yield from look(report)

    return looked


def _with_cluster(
    look: Callable[[Report, ClusterView], Iterable[Sighting]],
) -> Callable[[Evidence], Iterable[Sighting]]:
    def looked(evidence: Evidence) -> Iterator[Sighting]:
        if evidence.wire is not None and evidence.cluster is not None:
            for report in evidence.wire.reports:
                yield from look(report, evidence.cluster)

    return looked


def _who(report: Report, answerer: Answerer) -> str:
    told = report.names.get(answerer.mac)
    return f"{answerer.mac} ({told.text})" if told is not None and told.text else answerer.mac


def _strangers(report: Report) -> list[Answerer]:
    return [
        each
        for each in report.answerers
        if (told := report.names.get(each.mac)) is not None and told.who in _STRANGE
    ]


def _blame(report: Report, macs: Iterable[str]) -> str:
    """What the likely culprits among these are said to be, and what mends it."""
    mends = [each.mend for each in report.culprits if each.mac in macs]
    return (
        "; ".join(dict.fromkeys(mends)) or f"strictarp probe {report.ip} --form both, from another host too"
    )


def _several(report: Report) -> Iterator[Sighting]:
    strangers = _strangers(report)
    ours = [each for each in report.answerers if each not in strangers]
    if len(ours) < 2:
        return  # with one of the cluster's own, the strangers are the problem: SA704
    why = [f"{each.mac}: {each.why}" for each in report.culprits if each.mac in {one.mac for one in ours}]
    yield Sighting(
        vip(report.ip),
        f"{len(ours)} hosts answer on {report.interface}: {some(_who(report, each) for each in ours)}"
        + (f"; probably {some(why, 2)}" if why else ""),
        _blame(report, {each.mac for each in ours}),
        tuple(map(service, report.services)),
    )


def _nobody(report: Report, view: ClusterView) -> Iterator[Sighting]:
    if report.verdict is not Verdict.NOBODY or report.own_address or not _is_announced(report, view):
        return
    owners = [each.node for each in view.objects.announced.get(ip_address(report.ip), ())]
    told = f"; {some(owners)} is said to announce it" if owners else "; nobody is said to announce it"
    yield Sighting(
        vip(report.ip),
        f"nobody answers on {report.interface} within {report.seconds:g} s{told}",
        (f"look at the speaker of {owners[0]}: its log, and tcpdump -ni IFACE arp there" if owners else "see")
        + f" kubectl -n {view.namespace} get pods -o wide; is {report.interface} on the nodes' segment?",
        tuple(map(service, report.services)),
    )


def _is_announced(report: Report, view: ClusterView) -> bool:
    """Somebody is to answer: a Layer 2 announcer, for the address of a Service that can serve."""
    if not any(each.layer2 for each in view.announcers):
        return False
    balanced = {
        each.key
        for each in view.objects.services
        if any(entry.ip == report.ip for entry in each.status.load_balancer.ingress or ())
    }
    whys = {verdict.why for key in balanced if (verdict := view.verdicts.get(key)) is not None}
    return bool(balanced) and whys != {Why.NO_ENDPOINT}


def _not_the_owner(report: Report, view: ClusterView) -> Iterator[Sighting]:
    if report.verdict is not Verdict.ONE:
        return
    told = report.names.get(report.answerers[0].mac)
    said = view.objects.announced.get(ip_address(report.ip), ())
    owners = {each.node for each in said}
    if told is None or told.who is not Who.NODE or not told.sure or not owners or told.node in owners:
        return
    yield Sighting(
        vip(report.ip),
        f"{_who(report, report.answerers[0])} answers; {some(sorted(owners))} is said to announce it "
        f"({some(each.source for each in said)})",
        _blame(report, {told.mac}),
        (*map(service, report.services), node(told.node)),
    )


def _foreign(report: Report) -> Iterator[Sighting]:
    strangers = _strangers(report)
    if strangers:
        yield Sighting(
            vip(report.ip),
            f"{some(_who(report, each) for each in strangers)} answers on {report.interface}",
            _blame(report, {each.mac for each in strangers}),
            tuple(map(service, report.services)),
        )


def _two_voices(report: Report) -> Iterator[Sighting]:
    for each in report.answerers:
        if each.repeats:
            yield Sighting(
                vip(report.ip),
                f"{_who(report, each)} gave {each.answers} answers to {len(each.forms)} request(s)",
                "nothing has to be mended if it is a host with two links in this segment; else its kernel "
                "answers beside its speaker: strictarp explain there",
            )


def _forms_differ(report: Report) -> Iterator[Sighting]:
    if report.form != "both":
        return
    for each in report.answerers:
        if len(each.forms) != 1:
            continue
        what = "an address probe" if each.forms[0] == "probe" else "an ordinary request"
        other = "an ordinary request" if each.forms[0] == "probe" else "an address probe"
        yield Sighting(
            vip(report.ip),
            f"{_who(report, each)} answers {what} and not {other}",
            "proxy ARP answers no probes, rp_filter and arp_ignore=2 no foreign senders: sysctl -a -r "
            "'conf.*(proxy_arp|rp_filter|arp_ignore)' on that host",
        )


CHECKS = (
    Check(
        "SA701",
        "Several hosts answer for a VIP",
        Severity.ERROR,
        "The router keeps the answer that came last: its entry flaps, and connections break each time.",
        WIRE,
        _each(_several),
        causes=("SA101", "SA106", "SA201", "SA214", "SA301", "SA303", "SA305", "SA501", "SA621", "SA622"),
    ),
    Check(
        "SA702",
        "Nobody answers for a VIP",
        Severity.ERROR,
        "Nobody in the segment, and no router, reaches the Service.",
        CLUSTER | WIRE,
        _with_cluster(_nobody),
        causes=("SA402", "SA503", "SA521", "SA607", "SA613", "SA614"),
    ),
    Check(
        "SA703",
        "Another node answers than the one that announces",
        Severity.ERROR,
        "What the cluster believes is not what is on the wire: the answerer is a leftover that nobody "
        "controls.",
        CLUSTER | WIRE,
        _with_cluster(_not_the_owner),
        causes=("SA101", "SA106", "SA201", "SA301", "SA303"),
    ),
    Check(
        "SA704",
        "A host outside of the cluster answers for a VIP",
        Severity.ERROR,
        "Traffic to the Service goes to a stranger, always or now and then.",
        WIRE,
        _each(_foreign),
        causes=("SA527",),
    ),
    Check(
        "SA705",
        "One host answers more than once",
        Severity.INFO,
        "It is one host and one MAC, so no cache flaps; two links in one segment, or two programs, answer.",
        WIRE,
        _each(_two_voices),
    ),
    Check(
        "SA706",
        "A host answers one form of request only",
        Severity.WARNING,
        "Routers ask with their own address and detection of duplicates without; some see this host, "
        "some do not.",
        WIRE,
        _each(_forms_differ),
        causes=("SA704",),
    ),
)

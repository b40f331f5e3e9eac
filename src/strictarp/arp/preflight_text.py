"""A preflight report for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from strictarp.arp.losses import Evidence, Loss, Reason
from strictarp.arp.preflight import Report, SenderChange
from strictarp.arp.switching import Scope

_HEADS = {
    Evidence.SEEN: "LOST, and somebody asks for it",
    Evidence.LIKELY: "LOST, and somebody probably asks for it",
    Evidence.WANTED: "Silenced, as wanted",
    Evidence.NONE: "Silenced, but nobody is known who asks",
}
_ELSEWHERE = "put the address on the interface too, or route it to this host, or use --scope vips"
_MENDS = {
    Reason.POINT_TO_POINT: "give the interface an address whose prefix covers it, besides the peer",
    Reason.UNNUMBERED: "put the address on that interface too (as /32), or use --scope uplinks or vips",
    Reason.LOOPBACK_NET: "give the service an address of the interface instead of 127.0.0.0/8",
    Reason.PREFIX: "route the prefix to this host, or use --scope vips",
    Reason.ON_LOOPBACK: _ELSEWHERE,
    Reason.ON_DUMMY: _ELSEWHERE,
    Reason.ON_PORT: "move the address to the bridge or bond",
    Reason.OTHER_VRF: "put the address on the interface in that VRF",
    Reason.OTHER_INTERFACE: _ELSEWHERE,
}


def text(report: Report, *, listened: float = 0) -> str:
    """The report; listened: seconds of --watch."""
    return "\n".join(_lines(report, listened))


def _lines(report: Report, listened: float) -> Iterator[str]:
    where = ", ".join(report.interfaces) or "no interface: there is no default route, name one by --uplink"
    how = "nftables, for Service IPs only" if report.scope is Scope.VIPS else "arp_ignore=1, arp_announce=2"
    yield f"strictARP, scope {report.scope} ({how}) on {where}"
    for evidence, head in _HEADS.items():
        groups = _grouped(loss for loss in report.losses if loss.evidence is evidence)
        if groups:
            yield ""
            yield f"{head}:"
        for loss, interfaces in groups:
            yield from _loss(loss, interfaces)
    if report.fewer:
        yield ""
        yield "Fewer interfaces of a subnet answer:"
    for fewer in report.fewer:
        yield f"  {fewer.target}: {', '.join(fewer.before)} -> {', '.join(fewer.after) or 'none'}"
    if report.senders:
        yield ""
        yield "ARP requests of this host carry another sender:"
    for (source, before, after), changes in groupby(sorted(report.senders, key=_change), key=_change):
        where = ", ".join(change.interface for change in changes)
        yield f"  packets from {source}: {before} -> {after}, on {where}"
    yield from _consequences(report)
    if report.ineffective:
        yield ""
        yield "NOT in force afterwards:"
        yield from (f"  {each}" for each in report.ineffective)
    yield ""
    yield _verdict(report)
    if not listened:
        yield "Nothing was listened to: `--watch 60` tells what is really asked for."


def _consequences(report: Report) -> Iterator[str]:
    if report.unnoticed:
        yield ""
        yield f"Address probes no longer find {report.unnoticed} address(es) in use:"
        yield "  hosts and DHCP servers that test an address would take one: keep them out of DHCP's ranges"
    if report.inherited is not None:
        yield ""
        yield (
            f"Pods made afterwards begin with arp_ignore={report.inherited.arp_ignore}, "
            f"arp_announce={report.inherited.arp_announce} (older ones keep theirs):"
        )
        yield "  one that answers for an address on another of its interfaces, or on lo, will not"
        yield "  avoid: sysctl -w net.core.devconf_inherit_init_net=2, or --scope uplinks or vips"


def _change(change: SenderChange) -> tuple[str, str, str]:
    return change.source, change.before, change.after


def _grouped(losses: Iterable[Loss]) -> list[tuple[Loss, list[str]]]:
    """Losses that differ in nothing but the interface, with all their interfaces."""
    groups: dict[Loss, list[str]] = {}
    for loss in losses:
        groups.setdefault(msgspec.structs.replace(loss, interface=""), []).append(loss.interface)
    return list(groups.items())


def _loss(loss: Loss, interfaces: list[str]) -> Iterator[str]:
    yield f"  {loss.target} on {', '.join(interfaces)}  [{loss.reason}, held by {loss.holder or 'a route'}]"
    if loss.evidence in (Evidence.SEEN, Evidence.LIKELY):
        yield f"    {loss.because}"
        if loss.reason in _MENDS:
            yield f"    mend: {_MENDS[loss.reason]}"


def _verdict(report: Report) -> str:
    if report.ineffective:
        return f"strictARP would not be in force on {len(report.ineffective)} interface(s)."
    harmful = len(report.harmful)
    return f"{harmful} answer(s) would be missed." if harmful else "No answer would be missed."

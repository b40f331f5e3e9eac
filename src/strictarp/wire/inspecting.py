"""Ask for addresses, and for those of the nodes beside them, and report with names and culprits. Thin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from strictarp.arp.probing import Form
from strictarp.wire.asking import DEFAULT_WAIT, OnProgress, probe_many
from strictarp.wire.cluster_view import ClusterView
from strictarp.wire.culprits import evidence
from strictarp.wire.naming import GivenFacts, internal_ips
from strictarp.wire.reporting import Report, report
from strictarp.wire.vantage import look_here

_EMPTY = ClusterView()
_NO_FACTS = GivenFacts()


async def inspect(
    ips: Iterable[IPv4Address],
    interface: str | None = None,
    *,
    view: ClusterView = _EMPTY,
    facts: GivenFacts = _NO_FACTS,
    wait: float = DEFAULT_WAIT,
    forms: Sequence[Form] = ("probe",),
    sender: IPv4Address | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Report, ...]:
    """What asking for `ips` shows, each once and in their order.

    The nodes' InternalIPs are asked for in the same go, to know their MACs. The rest as for `probe_many`.
    Raises CannotLook.
    """
    wanted = list(dict.fromkeys(ips))
    everything = dict.fromkeys([*wanted, *internal_ips(view.nodes)])
    findings = await probe_many(
        everything, interface, wait=wait, forms=forms, sender=sender, on_progress=on_progress
    )
    told = evidence(
        nodes=view.nodes,
        answered=findings,
        facts=facts,
        vips=view.vips,
        announcers=view.announcers,
        here=await look_here(),
    )
    return report(findings[: len(wanted)], told, view.vips)

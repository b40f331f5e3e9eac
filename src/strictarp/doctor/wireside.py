"""Asking on the wire for each VIP of the cluster. Thin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

from strictarp.arp.facts import Host
from strictarp.arp.probing import Verdict
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.wire_view import WireView
from strictarp.doctor.wording import vip
from strictarp.wire import cluster_view as wire
from strictarp.wire.asking import DEFAULT_WAIT, Progress
from strictarp.wire.inspecting import inspect
from strictarp.wire.naming import GivenFacts
from strictarp.wire.vantage import CannotLook

Tell = Callable[[str], None]


async def ask(
    view: ClusterView, interface: str | None, facts: Mapping[str, Host], tell: Tell
) -> tuple[WireView | None, dict[str, str]]:
    """What answers, and what could not be asked for: single VIPs, or `wire` as a whole.

    Each VIP is asked for twice, as an address probe and as an ordinary request. facts: by node.
    """
    addresses = [each for each in view.vips if isinstance(each, IPv4Address)]
    if not addresses:
        return None, {"wire": "no Service has an IPv4 address to ask for"}
    shown = wire.ClusterView(view.vips, view.objects.nodes, view.objects.announced)

    def progress(now: Progress) -> None:
        tell(f"asking on the wire: {now.asked} of {now.total} addresses, {now.left:.0f} s left …")

    try:
        reports = await inspect(
            addresses,
            interface,
            view=shown,
            facts=GivenFacts(facts),
            wait=DEFAULT_WAIT,
            forms=("probe", "request"),
            on_progress=progress,
        )
    except CannotLook as error:
        return None, {"wire": str(error)}
    heard = tuple(each for each in reports if each.verdict is not Verdict.UNKNOWN)
    blind = {vip(each.ip): each.reason for each in reports if each.verdict is Verdict.UNKNOWN}
    if not heard:
        return None, {"wire": next(iter(blind.values()))}
    return WireView(heard), blind

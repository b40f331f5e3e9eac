"""Whether strictARP is in force on this node, as `/strictarp` tells it. Pure but for `read_status`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strictarp.guard.report import Report
from strictarp.netlink.rtnl import IFF_LOOPBACK, IFF_NOARP, IFF_UP, Link
from strictarp.proxy.seam import DEVICE
from strictarp.sysctl import files
from strictarp.sysctl.effective import strictarp_in_force

KEYS = ("arp_ignore", "arp_announce")


def answering_links(links: Iterable[Link]) -> list[Link]:
    """Interfaces on which the kernel may answer ARP: up, with ARP, and neither loopback nor kube-ipvs0."""
    return [
        link
        for link in links
        if link.flags & IFF_UP and not link.flags & (IFF_LOOPBACK | IFF_NOARP) and link.name != DEVICE
    ]


def strictarp_status(
    *, requested: bool, values: Mapping[str, Mapping[str, int]], interfaces: Iterable[str]
) -> dict[str, object]:
    """The document. `values`: interface, or `all`, → key → value as read."""
    everywhere = values.get("all", {})
    seen: dict[str, object] = {}
    against = []
    for name in interfaces:
        own = values.get(name)
        if own is None:
            continue  # gone since it was listed
        verdict = strictarp_in_force(
            everywhere.get("arp_ignore", 0),
            own.get("arp_ignore", 0),
            all_announce=everywhere.get("arp_announce", 0),
            dev_announce=own.get("arp_announce", 0),
        )
        seen[name] = {**own, "inForce": verdict.in_force, "reason": verdict.reason}
        if not verdict:
            against.append(f"{name}: {verdict.reason}")
    return {
        "requested": requested,
        "inForce": not against,
        "reason": "; ".join(against) or "in force on every interface that answers ARP",
        "sysctls": {f"net.ipv4.conf.all.{key}": str(value) for key, value in sorted(everywhere.items())},
        "interfaces": seen,
    }


def guarded_part(told: Report, *, decides: bool) -> dict[str, object]:
    """What a guard adds to the document. decides: its uplinks say whether strictARP is in force, and none of
    the other interfaces does.
    """
    added: dict[str, object] = {
        "scope": told.scope,
        "uplinks": told.uplinks,
        "drifts": told.drifts,
        "lastDrift": told.last_drift,
        "trouble": told.trouble,
    }
    if decides:
        added |= {"inForce": told.in_force, "reason": told.reason}
    return added


def read_status(links: Iterable[Link], *, requested: bool) -> dict[str, object]:
    """Read the sysctls of the calling thread's namespace now. Raises SysctlError."""
    names = [link.name for link in answering_links(links)]
    values = files.snapshot(["all", *names], KEYS)
    return strictarp_status(requested=requested, values=values, interfaces=names)

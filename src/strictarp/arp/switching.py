"""A host as it would be with strictARP in force, in one of its three scopes. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import msgspec

from strictarp.arp.facts import Host
from strictarp.arp.nft import DROP, Chain, Match, Ruleset, Table, Verdict
from strictarp.sysctl.effective import strictarp_writes

VIP_DEVICE = "kube-ipvs0"


class Scope(StrEnum):
    """Where strictARP holds."""

    ALL = "all"
    """On every interface, by conf.all: kube-proxy's meaning."""
    UPLINKS = "uplinks"
    """On some interfaces, by their own values."""
    VIPS = "vips"
    """For Service IPs alone, by nftables; no sysctl changes."""


def vips_of(host: Host) -> frozenset[int]:
    """Addresses that kube-ipvs0 alone holds: one that is the node's own must keep answering."""
    held = {each.local for each in host.on_device.get(VIP_DEVICE, ())}
    return frozenset(held - {each.local for each in host.addresses if each.device != VIP_DEVICE})


def switched(host: Host, scope: Scope, uplinks: Collection[str] = ()) -> Host:
    """The host with strictARP. Values that are strict already stay as they are."""
    if scope is Scope.VIPS:
        return _filtered(host, uplinks)
    sysctls = {name: dict(values) for name, values in host.sysctls.items()}
    for name in ("all",) if scope is Scope.ALL else sorted(uplinks):
        writes = strictarp_writes(host.own("arp_ignore", name), host.own("arp_announce", name))
        sysctls.setdefault(name, {}).update(writes)
    return msgspec.structs.replace(host, sysctls=sysctls)


def _filtered(host: Host, uplinks: Collection[str]) -> Host:
    vips = tuple((address, address) for address in sorted(vips_of(host)))
    rule = (
        Match("iifname", words=tuple(sorted(uplinks))),
        Match("arp operation", ((1, 1),)),
        Match("arp daddr ip", vips),
        Verdict(DROP),
    )
    table = Table("arp", "strictarp", (Chain("in", (rule,), hook="input"),))
    return msgspec.structs.replace(host, nft=Ruleset((*host.nft.tables, table)))

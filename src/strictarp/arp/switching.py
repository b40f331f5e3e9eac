"""A host as it would be with strictARP in force, in one of its three scopes. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import msgspec

from strictarp.arp.facts import Host
from strictarp.arp.nft import Ruleset
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.vip_table import TABLE, table_text, vip_table
from strictarp.sysctl.effective import strictarp_writes


class Scope(StrEnum):
    """Where strictARP holds."""

    ALL = "all"
    """On every interface, by conf.all: kube-proxy's meaning."""
    UPLINKS = "uplinks"
    """On some interfaces, by their own values."""
    VIPS = "vips"
    """For Service IPs alone, by nftables; no sysctl changes."""


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
    """With the very table that the guard loads; one that is there already is replaced."""
    others = tuple(each for each in host.nft.tables if (each.family, each.name) != ("arp", TABLE))
    made = parse_nft(table_text(vip_table(host, uplinks)))
    return msgspec.structs.replace(host, nft=Ruleset((*others, *made.tables)))

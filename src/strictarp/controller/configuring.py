"""Which pools are in force: the newest ones, or the last good ones while those are wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strictarp.controller.guard import Surroundings, losses
from strictarp.controller.pools import Pool, parse_pools
from strictarp.kube.custom import IPAddressPool
from strictarp.kube.objects import Namespace, Service


class Rules(msgspec.Struct, frozen=True):
    """What the command line says about deciding.

    `refuse_edits`: pools that would take an address from a Service that has it count as wrong. Otherwise they
    are taken as they are, and the Service gets another address, with an Event.
    """

    namespace: str = "metallb-system"
    lb_class: str = ""
    refuse_edits: bool = False
    surroundings: Surroundings = Surroundings()


class Configuration(msgspec.Struct, frozen=True):
    """The pools in force, None before there were any, and what is wrong with the newest ones."""

    pools: tuple[Pool, ...] | None = None
    faults: tuple[str, ...] = ()


def configure(
    before: Configuration,
    sources: Iterable[IPAddressPool],
    namespaces: Iterable[Namespace],
    services: Iterable[Service],
    rules: Rules,
    *,
    unreadable: Iterable[str] = (),
) -> Configuration:
    """Take the pools as they are now if they are sound; else those of `before` stay, all of them.

    `unreadable`: faults of pools that are not among `sources`, because they could not even be decoded. To do
    without them would take away what was given from them.
    """
    pools, faults = parse_pools(sources, namespaces)
    faults = (*sorted(unreadable), *faults)
    if not faults and rules.refuse_edits:
        faults = losses(pools, services, rules.lb_class, before.pools or ())
    return Configuration(before.pools if faults else pools, faults)

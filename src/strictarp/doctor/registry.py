"""All checks there are. Pure.

A new module of `strictarp.doctor.checks` is added to `CHECKS` here; its codes are documented, listed and
applied from then on.
"""

from __future__ import annotations

from collections.abc import Iterable

from strictarp.doctor.check import Check
from strictarp.doctor.checks import (
    announcing,
    node_addresses,
    node_filters,
    node_lasting,
    node_links,
    node_sysctls,
    pools,
    proxy_mode,
    services,
    setting,
    speakers,
    vips,
    wire,
)
from strictarp.errors import UserError

CHECKS: tuple[Check, ...] = (
    *proxy_mode.CHECKS,
    *setting.CHECKS,
    *node_sysctls.CHECKS,
    *node_lasting.CHECKS,
    *node_addresses.CHECKS,
    *node_filters.CHECKS,
    *node_links.CHECKS,
    *announcing.CHECKS,
    *speakers.CHECKS,
    *pools.CHECKS,
    *services.CHECKS,
    *vips.CHECKS,
    *wire.CHECKS,
)

AREAS = {
    "0": "Proxy mode",
    "1": "strictARP in the configuration",
    "2": "Sysctls of nodes",
    "3": "Addresses on nodes",
    "4": "Filters and links of nodes",
    "5": "Announcers",
    "6": "Pools and Services",
    "7": "The wire",
}
"""First digit of a code → what it is about."""


def area(code: str) -> str:
    """What a code is about, by its first digit."""
    return AREAS.get(code[2:3], "")


def chosen(codes: Iterable[str]) -> tuple[Check, ...]:
    """The checks with these codes, all of them without any. Who names a code wants to hear of it whatever
    caused it, so the causes are not applied with it. Raises UserError for a code that there is not.
    """
    by_code = {check.code: check for check in CHECKS}
    wanted = [code.upper() for code in codes]
    unknown = [code for code in wanted if code not in by_code]
    if unknown:
        raise UserError(f"{unknown[0]}: there is no such check; `strictarp doctor --list` names them all", 64)
    return tuple(by_code[code] for code in dict.fromkeys(wanted)) if wanted else CHECKS

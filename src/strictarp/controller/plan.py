"""What the controller would decide for given objects, their status being where it starts from. Pure.

These are the daemon's own functions, as they work after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strictarp.controller.pools import parse_pools
from strictarp.controller.reconcile import Book, Decision, settle, stand_still
from strictarp.controller.requests import ours
from strictarp.kube.documents import Unreadable, of_type
from strictarp.kube.objects import (
    IPADDRESSPOOLS,
    NAMESPACES,
    SERVICES,
    IPAddressPool,
    IPAddressPoolStatus,
    KubeObject,
    Namespace,
    Service,
)

RESOURCES = (SERVICES, NAMESPACES, IPADDRESSPOOLS)
"""The kinds that a plan is made from."""


class Plan(msgspec.Struct, frozen=True):
    """Decisions by Service, counters by pool, and what is wrong with the configuration.

    With errors no pool is in force, and every Service keeps what it has.
    """

    services: dict[str, Decision]
    pools: dict[str, IPAddressPoolStatus]
    errors: tuple[str, ...]


def make_plan(
    objects: Iterable[KubeObject],
    unreadable: Iterable[Unreadable] = (),
    *,
    namespace: str,
    lb_class: str = "",
) -> Plan:
    """The plan for these objects; pools count if they are in `namespace`. Their order does not matter."""
    found = list(objects)
    services = {each.key: each for each in of_type(found, Service)}
    pools, faults = parse_pools(
        [each for each in of_type(found, IPAddressPool) if each.metadata.namespace == namespace],
        of_type(found, Namespace),
    )
    broken = (
        str(each) for each in unreadable if each.kind == IPADDRESSPOOLS.kind and each.namespace == namespace
    )
    errors = (*sorted(broken), *faults)
    if errors:
        _, decisions = stand_still(
            Book(), services, why=f"the IPAddressPools are refused: {errors[0]}", lb_class=lb_class
        )
        counters: dict[str, IPAddressPoolStatus] = {}
    else:
        book, decisions = settle(Book(), pools, services, lb_class=lb_class)
        counters = {pool.name: pool.counters(book.state.runs) for pool in pools}
    mine = {key: decisions[key] for key in sorted(decisions) if ours(services[key], lb_class)}
    return Plan(mine, counters, errors)


def document(plan: Plan) -> dict[str, object]:
    """The plan for `strictarp controller plan`."""
    return {
        "services": {
            key: {
                "ips": list(decision.ips),
                "pool": decision.pool,
                "reason": decision.reason,
                "events": [msgspec.to_builtins(event) for event in decision.events],
            }
            for key, decision in plan.services.items()
        },
        "pools": {
            name: {
                "assignedIPv4": each.assigned_ipv4,
                "availableIPv4": each.available_ipv4,
                "assignedIPv6": each.assigned_ipv6,
                "availableIPv6": each.available_ipv6,
            }
            for name, each in plan.pools.items()
        },
        "errors": list(plan.errors),
    }

"""What the controller would decide for given objects, their status being where it starts from. Pure.

These are the daemon's own functions, as they work after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strictarp.controller.configuring import Configuration, Rules, configure
from strictarp.controller.guard import overlaps
from strictarp.controller.pools import with_taken
from strictarp.controller.reconcile import Book, Decision, refusal, settle, stand_still
from strictarp.controller.requests import conflicts, held_in, ours
from strictarp.kube.custom import (
    ADDRESSCONFLICTS,
    IPADDRESSPOOLS,
    AddressConflict,
    IPAddressPool,
    IPAddressPoolStatus,
)
from strictarp.kube.documents import Unreadable, of_type
from strictarp.kube.model import KubeObject
from strictarp.kube.objects import NAMESPACES, NODES, SERVICES, Namespace, Node, Service

RESOURCES = (SERVICES, NAMESPACES, NODES, IPADDRESSPOOLS, ADDRESSCONFLICTS)
"""The kinds that a plan is made from."""


class Plan(msgspec.Struct, frozen=True):
    """Decisions by Service, counters by pool, and what is wrong with the configuration.

    With errors no pool is in force, and every Service keeps what it has. Warnings change nothing.
    """

    services: dict[str, Decision]
    pools: dict[str, IPAddressPoolStatus]
    errors: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def make_plan(
    objects: Iterable[KubeObject],
    unreadable: Iterable[Unreadable] = (),
    *,
    rules: Rules = Rules(),  # noqa: B008 - a frozen value
) -> Plan:
    """The plan for these objects; pools count if they are in the rules' namespace. Order does not matter."""
    found = list(objects)
    services = {each.key: each for each in of_type(found, Service)}
    sources = [each for each in of_type(found, IPAddressPool) if each.metadata.namespace == rules.namespace]
    set_aside = tuple(unreadable)
    broken = sorted(
        str(each)
        for each in set_aside
        if each.kind == IPADDRESSPOOLS.kind and each.namespace == rules.namespace
    )
    configuration = configure(Configuration(), sources, of_type(found, Namespace), services.values(), rules)
    errors, pools = (*broken, *configuration.faults), configuration.pools
    counters: dict[str, IPAddressPoolStatus] = {}
    if errors or pools is None:
        _, decisions = stand_still(Book(), services, why=refusal(errors), lb_class=rules.lb_class)
    else:
        here = [
            each for each in of_type(found, AddressConflict) if each.metadata.namespace == rules.namespace
        ]
        unread = [each.document for each in set_aside if each.kind == SERVICES.kind]
        taken = {*conflicts(here), *(ip for each in unread for ip in held_in(each))}
        book, decisions = settle(Book(), with_taken(pools, taken), services, lb_class=rules.lb_class)
        counters = {pool.name: pool.counters(book.state.runs) for pool in pools}
    mine = {key: decisions[key] for key in sorted(decisions) if ours(services[key], rules.lb_class)}
    warnings = overlaps(pools or (), of_type(found, Node), services.values(), rules.surroundings)
    return Plan(
        mine,
        counters,
        errors,
        tuple(f"IPAddressPool {name}: spec.addresses: {each}" for name, each in warnings),
    )


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

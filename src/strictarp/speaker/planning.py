"""Who would announce what, for given objects and living nodes. Pure.

These are the daemon's own functions; only who lives, and who owns an address now, is told and not heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import msgspec

from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS, IPAddressPool, L2Advertisement
from strictarp.kube.documents import Unreadable, of_type
from strictarp.kube.model import KubeObject
from strictarp.kube.objects import (
    ENDPOINTSLICES,
    LEASES,
    NODES,
    SERVICES,
    EndpointSlice,
    Lease,
    Node,
    Service,
)
from strictarp.speaker import advertising
from strictarp.speaker.candidates import Facts, Options, Verdict, Why, addresses_of, no_link, standings
from strictarp.speaker.membership import read_presence, segments
from strictarp.speaker.picture import Picture, common
from strictarp.speaker.pools import Address, Pool, pool_of, read_pool
from strictarp.speaker.silence import SILENT

RESOURCES = (SERVICES, ENDPOINTSLICES, NODES, IPADDRESSPOOLS, L2ADVERTISEMENTS, LEASES)
"""The kinds that a plan is made from; a Lease tells the links of its node."""
_NOT_ALIVE = "no living speaker"
_SPOILT = frozenset({Why.NOT_IN_POOL, Why.INVALID_ADDRESS})


class Situation(msgspec.Struct, frozen=True):
    """What is not in the objects: living nodes, owner by address (text), the node that asks, flags."""

    alive: frozenset[str]
    owners: Mapping[str, str] = {}
    node: str | None = None
    namespace: str = "metallb-system"
    options: Options = Options()


class Announcement(msgspec.Struct, frozen=True):
    """One address. interfaces: of the owner, empty: not restricted. mine: what the asking node would do."""

    order: tuple[str, ...]
    owner: str | None
    interfaces: tuple[str, ...]
    reasons: Mapping[str, str]
    mine: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """By address; errors are about configuration objects."""

    ips: dict[str, Announcement]
    errors: tuple[str, ...]


def make_plan(objects: Iterable[KubeObject], unreadable: Iterable[Unreadable], situation: Situation) -> Plan:
    """The plan for these objects, whatever their order."""
    found = list(objects)
    nodes = {each.metadata.name: each for each in of_type(found, Node)}
    facts, errors = facts_of(found, nodes, situation)
    picture = Picture()
    picture.put_facts(facts)
    for service in of_type(found, Service):
        picture.put_service(service.key, service)
    for each in of_type(found, EndpointSlice):
        picture.put_slice(None, each)
    picture.judge()
    broken = [
        str(each)
        for each in unreadable
        if each.kind in (IPADDRESSPOOLS.kind, L2ADVERTISEMENTS.kind) and each.namespace == situation.namespace
    ]
    by_address: dict[str, list[Verdict]] = {}
    for key, verdict in sorted(picture.verdicts.items()):
        for address in dict.fromkeys(_told(verdict, picture.service(key), facts.pools)):
            by_address.setdefault(str(address), []).append(verdict)
    known = frozenset(nodes)
    ips = {
        text: _announcement(text, verdicts, situation, known) for text, verdicts in sorted(by_address.items())
    }
    return Plan(ips, (*sorted(broken), *errors))


def _told(verdict: Verdict, service: Service | None, pools: Iterable[Pool]) -> Iterable[Address]:
    """The addresses of a Service that the plan tells of: those announced, and those of a pool that nobody may
    announce, also for another one beside them that is of no pool, of another pool or no address.
    """
    if verdict.why in _SPOILT and service is not None:
        return [each for each in addresses_of(service) if pool_of(pools, each) is not None]
    return verdict.addresses if verdict.why is None or verdict.why in SILENT else ()


def facts_of(
    found: list[KubeObject], nodes: Mapping[str, Node], situation: Situation
) -> tuple[Facts, tuple[str, ...]]:
    """What holds for all Services, and what is wrong with pools. Leases tell the links of their nodes."""

    def here(each: KubeObject) -> bool:
        return each.metadata.namespace == situation.namespace

    read = [read_pool(each) for each in of_type(found, IPAddressPool) if here(each)]
    pools = tuple(pool for pool, _ in read)
    presences = [read_presence(each) for each in of_type(found, Lease) if here(each)]
    told = segments({each.node: each for each in presences if each is not None})
    advertisements = [each for each in of_type(found, L2Advertisement) if here(each)]
    facts = Facts(
        pools,
        advertising.resolve(advertisements, pools, nodes),
        standings(situation.alive, nodes, told, situation.options),
        situation.options,
    )
    wrong = [error for _, errors in read for error in errors]
    return facts, tuple(sorted((*wrong, *advertising.faults(advertisements))))


def _announcement(
    text: str, verdicts: list[Verdict], situation: Situation, known: frozenset[str]
) -> Announcement:
    """One address, for all the Services that have it: those that nobody may announce stop no other."""
    address = ip_address(text)
    counting = [each for each in verdicts if each.why is None] or verdicts
    leading = counting[0]
    candidates = leading.order_of(address)
    for other in counting[1:]:
        candidates = common(candidates, other.order_of(address)) or candidates
    order = tuple(each.node for each in candidates)
    reasons = _reasons(counting, address, order, situation, known=known)
    owner = _incumbent(text, verdicts, situation)
    if owner not in order:
        owner = order[0] if order else None
    interfaces = advertising.interfaces_of(leading.matching, owner) if owner else frozenset()
    mine = _mine(situation.node, owner, order, reasons) if situation.node is not None else None
    return Announcement(order, owner, tuple(sorted(interfaces)), reasons, mine)


def _reasons(
    verdicts: Iterable[Verdict],
    address: Address,
    order: tuple[str, ...],
    situation: Situation,
    *,
    known: frozenset[str],
) -> dict[str, str]:
    """Why each node that is out is out: it is for one of the Services that have the address."""
    reasons = {
        node: next((why for each in verdicts if (why := _against(each, node, address))), str(Why.NO_NODE))
        for node in sorted(situation.alive)
        if node not in order
    }
    return reasons | dict.fromkeys(sorted(known - situation.alive), _NOT_ALIVE)


def _against(verdict: Verdict, node: str, address: Address) -> str | None:
    """Why a node may not announce a Service's address; a reason against the Service holds for all of them."""
    if verdict.why not in (None, Why.NO_NODE):
        return str(verdict.why)
    if address in verdict.out_of_reach.get(node, ()):
        return no_link(address)
    return verdict.reasons.get(node)


def _incumbent(text: str, verdicts: list[Verdict], situation: Situation) -> str | None:
    """The owner that was named by this address, or by another one of the same Services."""
    names = [text, *(str(address) for verdict in verdicts for address in verdict.addresses)]
    return next((situation.owners[name] for name in names if name in situation.owners), None)


def _mine(node: str, owner: str | None, order: tuple[str, ...], reasons: Mapping[str, str]) -> str:
    if node == owner:
        return "announce it: " + ("first choice" if order[0] == node else "it owns it, and keeps it")
    if node in order:
        return f"stay silent: {owner} owns it; this node is choice {order.index(node) + 1} of {len(order)}"
    return f"stay silent: {reasons.get(node, _NOT_ALIVE)}"


def document(plan: Plan) -> dict[str, object]:
    """The plan for `strictarp speaker plan`."""
    return {
        "ips": {
            text: {
                "order": list(each.order),
                "owner": each.owner,
                "interfaces": list(each.interfaces),
                "reasons": dict(each.reasons),
                **({"self": each.mine} if each.mine is not None else {}),
            }
            for text, each in plan.ips.items()
        },
        "errors": list(plan.errors),
    }

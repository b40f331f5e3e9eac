"""A cluster's addresses, for whoever moves them: who has them, who may have them, what moves together. Pure.

Candidates and refusals are judged by the speakers' own functions.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from strictarp.errors import UserError
from strictarp.kube.custom import AnnouncedAddress, ServiceL2Status
from strictarp.kube.documents import of_type
from strictarp.kube.model import KubeObject
from strictarp.kube.objects import EndpointSlice, Node, Service
from strictarp.speaker.balance import Unit
from strictarp.speaker.candidates import Options, Verdict
from strictarp.speaker.picture import Picture, common
from strictarp.speaker.planning import Situation, facts_of
from strictarp.speaker.view import Candidate
from strictarp.speaker.wishes import refusal


class Scene(msgspec.Struct, frozen=True):
    """verdicts: by Service. owners: address as text → node. nodes: all there are. behind: those that come
    after the others.
    """

    verdicts: Mapping[str, Verdict]
    owners: Mapping[str, str]
    nodes: frozenset[str]
    behind: frozenset[str]


def make_scene(
    objects: Iterable[KubeObject], living: frozenset[str], namespace: str, options: Options
) -> Scene:
    """From Services, EndpointSlices, Nodes, pools, L2Advertisements, Leases and both kinds of status objects.

    living: nodes with a living speaker.
    """
    found = list(objects)
    nodes = {each.metadata.name: each for each in of_type(found, Node)}
    facts, _ = facts_of(found, nodes, Situation(living, namespace=namespace, options=options))
    picture = Picture()
    picture.put_facts(facts)
    for service in of_type(found, Service):
        picture.put_service(service.key, service)
    for each in of_type(found, EndpointSlice):
        picture.put_slice(None, each)
    picture.judge()
    verdicts = dict(sorted(picture.verdicts.items()))
    return Scene(
        verdicts,
        _owners(verdicts, of_type(found, ServiceL2Status), of_type(found, AnnouncedAddress)),
        frozenset(nodes),
        frozenset(name for name, standing in facts.standings.items() if standing.behind),
    )


def _owners(
    verdicts: Mapping[str, Verdict],
    statuses: Iterable[ServiceL2Status],
    announced: Iterable[AnnouncedAddress],
) -> dict[str, str]:
    """By our own objects; of addresses that have none, by MetalLB's, which name a Service's owner."""
    owners = {}
    for each in statuses:
        verdict = verdicts.get(f"{each.status.service_namespace}/{each.status.service_name}")
        for address in verdict.addresses if verdict is not None else ():
            owners[str(address)] = each.status.node
    for known in announced:
        owners[known.spec.address] = known.status.node or ""
    return {address: node for address, node in owners.items() if node}


def units(scene: Scene) -> list[Unit]:
    """What moves together, of all that is announced: each Service with those it shares an address with."""
    by_address: dict[str, str] = {}
    groups: dict[str, set[str]] = {}
    for key, verdict in scene.verdicts.items():
        if verdict.why is None:
            merged = {key}
            for address in map(str, verdict.addresses):
                merged |= groups.get(by_address.get(address, ""), set())
                by_address[address] = key
            for member in merged:
                groups[member] = merged
    names = {tuple(sorted(group)) for group in groups.values()}
    return [_unit(scene, services) for services in sorted(names)]


def _unit(scene: Scene, services: tuple[str, ...]) -> Unit:
    verdicts = [scene.verdicts[key] for key in services]
    addresses = tuple(dict.fromkeys(str(address) for each in verdicts for address in each.addresses))
    order = verdicts[0].order
    for other in verdicts[1:]:
        order = common(order, other.order)
    owner = next((scene.owners[each] for each in addresses if each in scene.owners), "")
    return Unit(services, addresses, _places(scene, verdicts, order), owner)


def _places(scene: Scene, verdicts: Sequence[Verdict], order: Sequence[Candidate]) -> tuple[str, ...]:
    """The candidates as good as any: of the highest score, in order, with a link for all addresses."""
    able = [
        each
        for each in order
        if not each.drained
        and each.node not in scene.behind
        and not any(verdict.out_of_reach.get(each.node) for verdict in verdicts)
    ]
    best = max((each.score for each in able), default=0)
    return tuple(each.node for each in able if each.score == best)


def find_unit(scene: Scene, text: str) -> Unit:
    """The one that an address or NAMESPACE/NAME names. Raises UserError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        key = text if "/" in text else f"default/{text}"
    else:
        having = (name for name, each in scene.verdicts.items() if address in each.addresses)
        key = next(having, "")
        if not key:
            raise UserError(f"{text}: no Service of type LoadBalancer has this address")
    verdict = scene.verdicts.get(key)
    if verdict is None:
        raise UserError(f"Service {key}: there is none; name it as NAMESPACE/NAME, or by an address")
    found = next((each for each in units(scene) if key in each.services), None)
    if found is None:
        raise UserError(f"Service {key}: nobody announces it: {verdict.why}")
    return found


def refused(scene: Scene, unit: Unit, node: str) -> str | None:
    """Why a unit cannot go to a node; None if it can."""
    if node not in scene.nodes:
        return f"Node {node}: there is none; the nodes are {', '.join(sorted(scene.nodes)) or 'none'}"
    for key in unit.services:
        why = refusal(scene.verdicts[key], node)
        if why is not None:
            return f"Service {key} cannot be moved to {node}: {why}"
    return None


def stuck(scene: Scene, unit: Unit, node: str) -> str | None:
    """Why a unit stays when its node is drained; None if another one can take it."""
    others = {
        each.node
        for key in unit.services
        for each in scene.verdicts[key].order
        if not each.drained and each.node != node
    }
    if others:
        return None
    reasons = {
        f"{name}: {why}"
        for key in unit.services
        for name, why in scene.verdicts[key].reasons.items()
        if name != node
    }
    return "no other node may announce it" + (f" ({'; '.join(sorted(reasons))})" if reasons else "")

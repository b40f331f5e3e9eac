"""Moving addresses in a live cluster: read what there is, say what is wished, follow until it is seen. Thin.

Wishes and drains are annotations, which the speakers see; what comes of them is read from the status objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from strictarp.errors import UserError
from strictarp.kube.client import Client
from strictarp.kube.custom import (
    ANNOUNCEDADDRESSES,
    DRAIN,
    IPADDRESSPOOLS,
    L2ADVERTISEMENTS,
    MOVE_TO,
    SERVICEL2STATUSES,
)
from strictarp.kube.errors import KubeError, NotFound
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.objects import ENDPOINTSLICES, LEASES, NODES, SERVICES, Lease
from strictarp.speaker import announced, l2status
from strictarp.speaker.balance import Unit
from strictarp.speaker.candidates import Options
from strictarp.speaker.membership import EXPIRE, PREFIX, SELECTOR
from strictarp.speaker.scene import Scene, make_scene

POLL = 0.2
CANNOT_LOOK = 3
Tell = Callable[[str], None]
T = TypeVar("T", bound=KubeObject)


class Where(msgspec.Struct, frozen=True):
    """Where the speakers' objects are, and the flags of the speakers that decide about candidates."""

    namespace: str = "metallb-system"
    options: Options = Options()


class Moved(msgspec.Struct, frozen=True):
    """What became of one move. owners: address → who answers for it at the end."""

    services: tuple[str, ...]
    source: str
    to: str
    result: str
    seconds: float
    owners: dict[str, str]


async def read_scene(client: Client, where: Where) -> Scene:
    """All that bears on who answers for what. Raises KubeError, UserError where nothing tells who owns."""
    objects: list[KubeObject] = []
    everywhere: tuple[Resource[Any], ...] = (SERVICES, ENDPOINTSLICES, NODES)
    for resource in everywhere:
        objects += (await client.list(resource)).items
    here: tuple[Resource[Any], ...] = (IPADDRESSPOOLS, L2ADVERTISEMENTS)
    for resource in here:
        objects += (await client.list(resource, where.namespace)).items
    leases = (await client.list(LEASES, where.namespace, label_selector=SELECTOR)).items
    addresses = await _list(client, ANNOUNCEDADDRESSES, where)
    services = await _list(client, SERVICEL2STATUSES, where)
    if addresses is None and services is None:
        raise UserError(
            "neither AnnouncedAddress nor ServiceL2Status is installed, so nothing tells who announces what; "
            "apply deploy/crds",
            CANNOT_LOOK,
        )
    objects += leases
    objects += addresses or ()
    objects += services or ()
    return make_scene(objects, living_nodes(leases), where.namespace, where.options)


def living_nodes(leases: Iterable[Lease]) -> frozenset[str]:
    """Nodes whose speaker renews its Lease. Measured against the latest of all: clocks here do not count."""
    renewed = {}
    for each in leases:
        name = each.metadata.name
        if name.startswith(PREFIX):
            try:
                at = datetime.fromisoformat(each.spec.renew_time or "")
            except ValueError:
                continue
            if at.tzinfo is not None:
                renewed[name.removeprefix(PREFIX)] = at
    latest = max(renewed.values(), default=None)
    return frozenset(
        node for node, at in renewed.items() if latest is not None and (latest - at).total_seconds() < EXPIRE
    )


async def _list(client: Client, kind: Resource[T], where: Where, selector: str = "") -> tuple[T, ...] | None:
    """None where the kind is not installed."""
    try:
        return (await client.list(kind, where.namespace, label_selector=selector)).items
    except NotFound:
        return None


async def owners(client: Client, where: Where, unit: Unit) -> dict[str, str]:
    """Address → the node that answers for it now; empty: nobody is known to."""
    found: dict[str, str] = {}
    for address in unit.addresses:
        name = announced.object_name(address)
        try:
            known = await client.get(ANNOUNCEDADDRESSES, name, where.namespace)
        except NotFound:
            found[address] = await _owner_by_service(client, where, unit.services[0])
        else:
            found[address] = known.status.node or ""
    return found


async def _owner_by_service(client: Client, where: Where, service: str) -> str:
    selector = l2status.selector_of_service(service)
    try:
        found = await client.list(SERVICEL2STATUSES, where.namespace, label_selector=selector)
    except NotFound:
        return ""
    return next((each.status.node for each in found.items), "")


async def move(client: Client, where: Where, unit: Unit, to: str, *, limit: float) -> Moved:
    """Wish a unit to a node, until that is seen, at most `limit` seconds; then take the wish back."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    there = await owners(client, where, unit)
    try:
        await _wish(client, unit, to)
        while set(there.values()) != {to} and loop.time() - began < limit:
            await asyncio.sleep(POLL)
            there = await owners(client, where, unit)
    finally:
        await _wish(client, unit, None)
    result = "moved" if set(there.values()) == {to} else "not seen"
    return Moved(unit.services, unit.owner, to, result, round(loop.time() - began, 2), there)


async def _wish(client: Client, unit: Unit, to: str | None) -> None:
    for key in unit.services:
        namespace, _, name = key.partition("/")
        await client.merge_patch(SERVICES, name, {"metadata": {"annotations": {MOVE_TO: to}}}, namespace)


async def mark(client: Client, node: str, *, drained: bool) -> None:
    """Drain a node, or end that. Raises KubeError."""
    value = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if drained else None
    await client.merge_patch(NODES, node, {"metadata": {"annotations": {DRAIN: value}}})


async def remaining(client: Client, where: Where, node: str) -> set[str]:
    """The addresses that a node answers for now; Services (NAMESPACE/NAME) where only those are told."""
    by_address = await _list(client, ANNOUNCEDADDRESSES, where, announced.selector_of_node(node))
    by_service = await _list(client, SERVICEL2STATUSES, where, l2status.selector_of_node(node))
    if by_address is not None:
        return {each.spec.address for each in by_address}
    return {f"{each.status.service_namespace}/{each.status.service_name}" for each in by_service or ()}


async def empty(
    client: Client, where: Where, node: str, stays: Iterable[str], *, limit: float, tell: Tell
) -> tuple[set[str], float]:
    """Wait until a node answers for nothing but `stays`, at most `limit` seconds: what is left, and how
    long.
    """
    loop = asyncio.get_running_loop()
    began, expected, said = loop.time(), set(stays), -1
    while True:
        left = await remaining(client, where, node)
        if len(left) != said:
            said = len(left)
            tell(f"{node}: {said} to go")
        if left <= expected or loop.time() - began >= limit:
            return left, round(loop.time() - began, 2)
        await asyncio.sleep(POLL)


def cannot_look(error: KubeError) -> UserError:
    """An API that is away or refuses, for people."""
    return UserError(str(error), CANNOT_LOOK)

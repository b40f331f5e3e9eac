"""From what should be and what is to operations, in an order that never sends traffic astray. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from strictarp.netlink.ipvs import Key, RealServer
from strictarp.proxy.mirror import Held, Mirror
from strictarp.proxy.nftables import INTERVALS
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    ChangeSets,
    Operation,
    RemoveReal,
    RemoveServer,
    SetReal,
    SetServer,
    UnbindAddress,
)
from strictarp.proxy.seam import Place
from strictarp.proxy.services import Exposure
from strictarp.proxy.state import Desired, Touched

_TCP = 6


class Steps(msgspec.Struct):
    """Operations in the order of their lists.

    SNAT and filters first; then virtual servers with real servers; only then their addresses become local.
    What is removed goes the other way round, after everything was added.
    """

    sets: list[Operation] = msgspec.field(default_factory=list)
    servers: list[Operation] = msgspec.field(default_factory=list)
    binds: list[Operation] = msgspec.field(default_factory=list)
    removals: list[Operation] = msgspec.field(default_factory=list)
    last_sets: list[Operation] = msgspec.field(default_factory=list)

    def all(self) -> list[Operation]:
        """Everything, in order."""
        return [*self.sets, *self.servers, *self.binds, *self.removals, *self.last_sets]

    def leaving(self) -> int:
        """How many virtual servers, real servers and addresses would go."""
        return len(self.removals)

    def without_removals(self) -> Steps:
        """Only what is added and changed."""
        return Steps(self.sets, self.servers, self.binds)


def diff(touched: Touched, desired: Desired, mirror: Mirror) -> Steps:
    """What makes the touched parts as desired. An untouched part is not looked at."""
    steps = Steps()
    _sets(touched, desired, mirror, steps)
    for key in sorted(touched.keys):
        _server(key, desired.exposure(key), mirror.servers.get(key), steps)
    for address in sorted(touched.addresses):
        if address in desired.bound and address not in mirror.bound:
            steps.binds.append(BindAddress(address))
        elif address in mirror.bound and address not in desired.bound:
            steps.removals.append(UnbindAddress(address))
    # An address stops being local before its virtual server goes: no RST from this host in between.
    steps.removals.sort(key=lambda operation: not isinstance(operation, UnbindAddress))
    return steps


def _sets(touched: Touched, desired: Desired, mirror: Mirror, steps: Steps) -> None:
    """Additions first, deletions last; but an interval goes before one that may overlap it comes."""
    add = sorted(e for e in touched.elements if e in desired.elements and e not in mirror.elements)
    remove = sorted(e for e in touched.elements if e in mirror.elements and e not in desired.elements)
    at_once = [e for e in remove if e[0] == INTERVALS] if any(e[0] == INTERVALS for e in add) else []
    if add:
        steps.sets.append(ChangeSets(add=tuple(add), remove=tuple(at_once)))
    if later := [e for e in remove if e not in at_once]:
        steps.last_sets.append(ChangeSets(remove=tuple(later)))


def _server(key: Key, wanted: Exposure | None, held: Held | None, steps: Steps) -> None:
    if wanted is None:
        if held is not None:
            steps.removals.append(RemoveServer(key))
        return
    if held is None:
        steps.servers.append(AddServer(wanted.server))
        steps.servers += [AddReal(key, real) for real in wanted.reals]
        return
    if held.server != wanted.server:
        steps.servers.append(SetServer(wanted.server))
    if held.has(wanted.reals):
        return
    there = dict(held.reals)
    for real in wanted.reals:
        weight = there.pop((real.address, real.port), None)
        if weight is None:
            steps.servers.append(AddReal(key, real))
        elif weight != real.weight:
            steps.servers.append(SetReal(key, real))
    steps.removals += _leaving(key, there)


def _leaving(key: Key, there: Mapping[Place, int]) -> Iterator[Operation]:
    """Real servers that are not wanted any more: TCP drains at weight 0, others go at once."""
    for (address, port), weight in there.items():
        if key[0] != _TCP:
            yield RemoveReal(key, RealServer(address, port, weight))
        elif weight != 0:
            yield SetReal(key, RealServer(address, port, 0))


def draining(key: Key, desired: Desired, mirror: Mirror) -> frozenset[tuple[bytes, int]]:
    """Real servers of a virtual server that are only there for their open connections: with weight 0."""
    wanted, held = desired.exposure(key), mirror.servers.get(key)
    if wanted is None or held is None or held.has(wanted.reals):
        return frozenset()
    stay = {(real.address, real.port) for real in wanted.reals}
    return frozenset(place for place, weight in held.reals.items() if weight == 0 and place not in stay)

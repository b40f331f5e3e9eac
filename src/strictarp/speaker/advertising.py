"""L2Advertisements, made ready for questions: which nodes, interfaces and weights. Pure.

Selectors are resolved once when the configuration or a node's labels change, not once a Service.
Rules: MetalLB's L2Advertisement (see metallb.io/v1beta1), merged over all advertisements of a pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from strictarp.kube.advertisements import faults, wrongs
from strictarp.kube.custom import L2Advertisement, L2AdvertisementSpec
from strictarp.kube.model import LabelSelector
from strictarp.kube.objects import Node
from strictarp.kube.selectors import selects, selects_any
from strictarp.speaker.pools import Pool

__all__ = ["Advertising", "faults", "in_force", "interfaces_of", "matching", "resolve"]


class Advertising(msgspec.Struct, frozen=True):
    """One advertisement with its selectors resolved.

    pools: names, None for all of them. nodes: names, None for every node, also one not seen yet. weights: of
    the nodes it prefers. interfaces: names, empty for all. services: selectors, empty for all. sound: it has
    no faults.
    """

    name: str
    pools: frozenset[str] | None
    nodes: frozenset[str] | None
    weights: Mapping[str, int]
    interfaces: frozenset[str]
    services: tuple[LabelSelector, ...]
    sound: bool = True

    def covers(self, node: str) -> bool:
        """The node may announce by this advertisement."""
        return self.nodes is None or node in self.nodes


def resolve(
    advertisements: Iterable[L2Advertisement], pools: Iterable[Pool], nodes: Mapping[str, Node]
) -> tuple[Advertising, ...]:
    """All advertisements with their selectors resolved, in order of their names."""
    known = tuple(pools)
    return tuple(
        _resolve(each, known, nodes) for each in sorted(advertisements, key=lambda each: each.metadata.name)
    )


def in_force(now: Iterable[Advertising], before: Iterable[Advertising]) -> tuple[Advertising, ...]:
    """The advertisements as they are now; one that has faults stays as it was before it had them."""
    last = {each.name: each for each in before if each.sound}
    return tuple(each if each.sound else last.get(each.name, each) for each in now)


def _resolve(source: L2Advertisement, pools: tuple[Pool, ...], nodes: Mapping[str, Node]) -> Advertising:
    spec = source.spec
    chosen = _nodes(spec, nodes)
    return Advertising(
        name=source.metadata.name,
        pools=_pools(spec, pools),
        nodes=chosen,
        weights=_weights(spec, nodes, chosen),
        interfaces=frozenset(spec.interfaces or ()),
        services=spec.service_selectors or (),
        sound=next(wrongs(spec), None) is None,
    )


def _pools(spec: L2AdvertisementSpec, pools: tuple[Pool, ...]) -> frozenset[str] | None:
    """Named or selected pools. Selectors that match nothing select nothing; neither given selects all."""
    if not spec.ip_address_pools and not spec.ip_address_pool_selectors:
        return None
    selectors = spec.ip_address_pool_selectors or ()
    selected = {pool.name for pool in pools if selects_any(selectors, pool.labels)}
    return frozenset(selected | set(spec.ip_address_pools or ()))


def _nodes(spec: L2AdvertisementSpec, nodes: Mapping[str, Node]) -> frozenset[str] | None:
    if not spec.node_selectors:
        return None
    return frozenset(
        name for name, node in nodes.items() if selects_any(spec.node_selectors, node.metadata.labels)
    )


def _weights(
    spec: L2AdvertisementSpec, nodes: Mapping[str, Node], chosen: frozenset[str] | None
) -> dict[str, int]:
    """Weights of all matching preferences add up; only nodes of this advertisement are scored."""
    weights: dict[str, int] = {}
    for each in spec.preferred_node_selectors or ():
        for name, node in nodes.items():
            if (chosen is None or name in chosen) and selects(each.preference, node.metadata.labels):
                weights[name] = weights.get(name, 0) + each.weight
    return weights


def matching(
    advertising: Iterable[Advertising], pool: str, labels: Mapping[str, str] | None
) -> tuple[Advertising, ...]:
    """The advertisements that serve a Service with these labels and an address of that pool."""
    return tuple(
        each
        for each in advertising
        if (each.pools is None or pool in each.pools)
        and (not each.services or selects_any(each.services, labels))
    )


def interfaces_of(advertising: Iterable[Advertising], node: str) -> frozenset[str]:
    """The interfaces that `node` may announce on; empty for all of them.

    The union over the advertisements that cover the node; one without a list opens all interfaces.
    """
    lists = [each.interfaces for each in advertising if each.covers(node)]
    return frozenset() if not all(lists) else frozenset().union(*lists)

"""Which endpoints the ports of a Service have, and which of them serve. Pure.

Rules of kube-proxy (pkg/proxy/endpointslicecache.go, topology.go, v1.30 and, for hints of nodes, v1.35).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TypeAlias

import msgspec

from strictarp.kube.objects import Endpoint, EndpointPort, EndpointSlice, ForZone
from strictarp.netlink.ipvs import RealServer
from strictarp.proxy.addresses import pack, special
from strictarp.proxy.lenient import UNREAD_ADDRESS, UNREAD_PORT

_FAMILIES = {"IPv4": 4, "IPv6": 16}
WRONG_VERSION = "is not of the slice's addressType"
"""In the fault of an address of the other family, of which kube-proxy makes an Event."""

PortKey: TypeAlias = tuple[str, str]
"""Name and protocol: what joins a Service's port to those of EndpointSlices."""


class Target(msgspec.Struct, frozen=True, gc=False):
    """An endpoint of one port.

    node: empty when unknown. draining: it serves while it terminates. for_zones, for_nodes: its hints.
    """

    address: bytes
    port: int
    node: str
    local: bool
    ready: bool
    draining: bool
    for_zones: tuple[str, ...] = ()
    for_nodes: tuple[str, ...] = ()


def targets(
    slices: Iterable[EndpointSlice], wanted: Set[PortKey], *, width: int, node: str
) -> tuple[Mapping[PortKey, Sequence[Target]], list[str]]:
    """All endpoints of the wanted Service ports in a family, sorted; and faults for people.

    Only the first address of an endpoint counts. An address and port in several slices is one endpoint; the
    copy on this node wins.
    """
    found: dict[PortKey, dict[tuple[bytes, int], Target]] = {}
    faults: list[str] = []
    for piece in slices:
        if _FAMILIES.get(piece.address_type) != width:
            continue
        ports = [port for port in _ports(piece, faults) if _key(port) in wanted]
        if not ports:
            continue
        ends = _ends(piece, width, ports[0].port or 0, node, faults)
        for port in ports:
            places = found.setdefault(_key(port), {})
            number = port.port or 0
            for end in ends:
                place = (end.address, number)
                if place not in places or (end.local and not places[place].local):
                    places[place] = end if end.port == number else msgspec.structs.replace(end, port=number)
    return {key: [places[place] for place in sorted(places)] for key, places in found.items()}, faults


def _key(port: EndpointPort) -> PortKey:
    return port.name or "", port.protocol or "TCP"


def _ports(piece: EndpointSlice, faults: list[str]) -> list[EndpointPort]:
    usable = []
    for index, port in enumerate(piece.ports or ()):
        if port.port is not None and 0 < port.port <= 65535:
            usable.append(port)
        elif port.port != UNREAD_PORT:
            faults.append(
                f"EndpointSlice {piece.key}: ports[{index}].port: {port.port or 0} is no port, ignored"
            )
    return usable


def _ends(piece: EndpointSlice, width: int, port: int, node: str, faults: list[str]) -> list[Target]:
    """The endpoints of a slice, at one of its ports."""
    ends = []
    for index, endpoint in enumerate(piece.endpoints or ()):
        text = endpoint.addresses[0] if endpoint.addresses else ""
        if text == UNREAD_ADDRESS:
            continue
        address = pack(text)
        if address is not None and len(address) != width:
            faults.append(
                f"EndpointSlice {piece.key}: endpoints[{index}].addresses[0]: "
                f"{text!r} {WRONG_VERSION} {piece.address_type}, ignored"
            )
        elif address is None or special(address):
            faults.append(
                f"EndpointSlice {piece.key}: endpoints[{index}].addresses[0]: "
                f"{text!r} is no usable {piece.address_type} address, ignored"
            )
        else:
            ends.append(_target(endpoint, address, port, node))
    return ends


def _target(endpoint: Endpoint, address: bytes, port: int, node: str) -> Target:
    conditions, on = endpoint.conditions, endpoint.node_name or ""
    hints = endpoint.hints
    return Target(
        address,
        port,
        on,
        bool(on) and on == node,
        conditions.ready is not False,
        bool(conditions.terminating) and conditions.serving is not False,
        _names(hints.for_zones) if hints else (),
        _names(hints.for_nodes) if hints else (),
    )


def _names(hints: Iterable[ForZone] | None) -> tuple[str, ...]:
    return tuple(hint.name for hint in hints or ())


def cluster_targets(
    found: Sequence[Target], node: str, zone: str, dead: frozenset[str] = frozenset()
) -> list[Target]:
    """Policy Cluster: the ready ones that topology hints leave; without ready ones all that serve while
    they terminate; else none. Hints for dead nodes only count for nothing."""
    ready = [target for target in found if target.ready]
    hinted = _hinted(ready, node, zone)
    if dead and all(target.node in dead for target in hinted):
        hinted = ready
    return hinted or [target for target in found if target.draining]


def _hinted(ready: list[Target], node: str, zone: str) -> list[Target]:
    """Those hinted for this node, else those hinted for this zone, else all.

    Hints count only when every ready endpoint has some of the kind, and some endpoint is hinted for here.
    """
    if not ready or not (ready[0].for_nodes or ready[0].for_zones):
        return ready  # the usual case, told by the first
    if all(target.for_nodes for target in ready):
        near = [target for target in ready if node in target.for_nodes]
        if near:
            return near
    if zone and all(target.for_zones for target in ready):
        return [target for target in ready if zone in target.for_zones] or ready
    return ready


def local_targets(found: Sequence[Target]) -> list[Target]:
    """Policy Local: the ready ones on this node, else those of it that serve while they terminate."""
    local = [target for target in found if target.local]
    return [target for target in local if target.ready] or [target for target in local if target.draining]


def real_servers(
    chosen: Sequence[Target], dead: frozenset[str], *, keep: bool = True
) -> tuple[RealServer, ...]:
    """Weight 1, or 0 on a dead node, unless that would leave nobody with a weight.

    Without `keep` those with weight 0 are left out: a client of UDP that goes on sending from one port would
    stay with the dead one for ever, since to IPVS that is one connection.
    """
    if not dead:
        return tuple([RealServer(target.address, target.port) for target in chosen])
    usable = any(target.node not in dead for target in chosen)
    weights = [0 if usable and target.node in dead else 1 for target in chosen]
    return tuple(
        RealServer(target.address, target.port, weight)
        for target, weight in zip(chosen, weights, strict=True)
        if weight or keep
    )


def health_count(slices: Iterable[EndpointSlice], node: str) -> int:
    """For healthCheckNodePort: the number of distinct addresses of ready endpoints on this node.

    Each family counts its own, as kube-proxy's two proxiers do; a pod with two addresses is one endpoint.
    """
    local: dict[str, set[str]] = {family: set() for family in _FAMILIES}
    for piece in slices:
        if piece.address_type in local:
            local[piece.address_type].update(
                endpoint.addresses[0]
                for endpoint in piece.endpoints or ()
                if endpoint.addresses
                and endpoint.node_name == node
                and endpoint.conditions.ready is not False
                and not endpoint.conditions.terminating
            )
    return max(map(len, local.values()))

"""Which endpoints a port of a Service has, and which of them serve. Pure.

Rules of kube-proxy (pkg/proxy/endpointslicecache.go, topology.go, v1.30).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from strictarp.kube.objects import Endpoint, EndpointSlice
from strictarp.netlink.ipvs import RealServer
from strictarp.proxy.addresses import pack

_FAMILIES = {"IPv4": 4, "IPv6": 16}


class Target(msgspec.Struct, frozen=True, gc=False):
    """An endpoint of one port. node: empty when unknown. draining: it serves while it terminates."""

    address: bytes
    port: int
    node: str
    local: bool
    ready: bool
    draining: bool


def targets(
    slices: Iterable[EndpointSlice], name: str, protocol: str, *, width: int, node: str
) -> tuple[list[Target], list[str]]:
    """All endpoints of the Service port `name`/`protocol` in a family, sorted; and faults for people.

    Only the first address of an endpoint counts. An address and port in several slices is one endpoint; the
    copy on this node wins.
    """
    found: dict[tuple[bytes, int], Target] = {}
    faults: list[str] = []
    for piece in slices:
        if _FAMILIES.get(piece.address_type) != width:
            continue
        ports = [
            port.port or 0
            for port in piece.ports or ()
            if (port.name or "") == name and (port.protocol or "TCP") == protocol
        ]
        for number in ports:
            if not 0 < number <= 65535:
                faults.append(f"EndpointSlice {piece.key}: ports: {number} is no port, ignored")
                continue
            for endpoint in piece.endpoints or ():
                target = _target(endpoint, number, node)
                if target is None or len(target.address) != width:
                    shown = endpoint.addresses[0] if endpoint.addresses else ""
                    kind = piece.address_type
                    faults.append(
                        f"EndpointSlice {piece.key}: endpoints: {shown!r} is no {kind} address, ignored"
                    )
                    continue
                place = (target.address, number)
                if place not in found or (target.local and not found[place].local):
                    found[place] = target
    return [found[place] for place in sorted(found)], faults


def _target(endpoint: Endpoint, port: int, node: str) -> Target | None:
    address = pack(endpoint.addresses[0]) if endpoint.addresses else None
    if address is None:
        return None
    conditions = endpoint.conditions
    ready = conditions.ready is not False
    on = endpoint.node_name or ""
    return Target(
        address=address,
        port=port,
        node=on,
        local=bool(on) and on == node,
        ready=ready,
        draining=bool(conditions.terminating) and conditions.serving is not False,
    )


def cluster_targets(found: Sequence[Target]) -> list[Target]:
    """Policy Cluster: all ready ones, else all that serve while terminating, else none."""
    ready = [target for target in found if target.ready]
    return ready or [target for target in found if target.draining]


def local_targets(found: Sequence[Target], *, fall_back: bool) -> list[Target]:
    """Policy Local: the same among those on this node; when there is none and `fall_back`, the cluster's.

    The fall-back is particular to IPVS mode (kubernetes PR 97081): pods on the node still get an answer.
    """
    local = cluster_targets([target for target in found if target.local])
    return local or (cluster_targets(found) if fall_back else [])


def real_servers(chosen: Sequence[Target], dead: frozenset[str]) -> tuple[RealServer, ...]:
    """Weight 1, or 0 on a dead node, unless that would leave nobody with a weight."""
    usable = any(target.node not in dead for target in chosen)
    return tuple(
        RealServer(target.address, target.port, 0 if usable and target.node in dead else 1)
        for target in chosen
    )


def health_count(slices: Iterable[EndpointSlice], node: str) -> int:
    """For healthCheckNodePort: the number of distinct addresses of ready endpoints on this node."""
    return len(
        {
            endpoint.addresses[0]
            for piece in slices
            if piece.address_type in _FAMILIES
            for endpoint in piece.endpoints or ()
            if endpoint.addresses
            and endpoint.node_name == node
            and endpoint.conditions.ready is not False
            and not endpoint.conditions.terminating
        }
    )

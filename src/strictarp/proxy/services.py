"""What one Service asks of this node's kernel. Pure. Rules of kube-proxy's ipvs proxier (v1.30)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import collapse_addresses, ip_network

import msgspec

from strictarp.kube.objects import EndpointSlice, Service, ServicePort
from strictarp.netlink.ipvs import FLAG_PERSISTENT, Key, RealServer, VirtualServer
from strictarp.proxy.addresses import inside, pack, show
from strictarp.proxy.endpoints import (
    Target,
    cluster_targets,
    health_count,
    local_targets,
    real_servers,
    targets,
)
from strictarp.proxy.fields import Network, parse_network
from strictarp.proxy.operations import Element
from strictarp.proxy.situation import Situation

FAMILIES = (4,)
"""Address widths that are programmed."""
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_PROTOCOL_NAMES = {number: name.lower() for name, number in PROTOCOLS.items()}
AFFINITY_SECONDS = 10800
FRONTS = frozenset({"clusterIP", "externalIP", "externalIPLocal", "loadBalancer", "nodePort"})
"""Sets that together name every virtual server of ours."""
_MAX_AFFINITY = 86400


class Exposure(msgspec.Struct, frozen=True, gc=False):
    """One virtual server with all that hangs on it.

    bind: its address belongs on kube-ipvs0. elements: of nftables sets, which must be there first.
    """

    server: VirtualServer
    reals: tuple[RealServer, ...]
    bind: bool
    elements: tuple[Element, ...]


class Contribution(msgspec.Struct, frozen=True):
    """What a Service adds to the whole.

    age: orders Services that want the same address and port, the lowest wins. nodes: where its endpoints are.
    health: healthCheckNodePort and the number of local endpoints.
    """

    service: str
    age: tuple[str, str]
    exposures: Mapping[Key, Exposure]
    nodes: frozenset[str] = frozenset()
    health: tuple[int, int] | None = None
    warnings: tuple[str, ...] = ()


class _Front(msgspec.Struct, frozen=True):
    """An address and port that a Service port is reached by. local: traffic policy. sets: its nft sets."""

    address: bytes
    port: int
    local: bool
    bind: bool
    sets: tuple[str, ...]
    ranges: tuple[Network, ...] = ()


def plan_service(service: Service, slices: Sequence[EndpointSlice], facts: Situation) -> Contribution:
    """Everything that must exist for one Service; unusable parts become warnings, the rest is planned."""
    warnings: list[str] = []
    made: dict[Key, Exposure] = {}
    nodes: set[str] = set()
    if proxied(service):
        for width in FAMILIES:
            cluster_ip = _cluster_ip(service, width, warnings)
            if cluster_ip is None:
                continue
            for port in _ports(service, warnings):
                found, faults = targets(slices, port.name, port.protocol, width=width, node=facts.node)
                warnings += faults
                nodes.update(target.node for target in found)
                fronts = _fronts(service, port, cluster_ip, facts=facts, warnings=warnings)
                for front in fronts:
                    _add(made, _expose(service, port, front, found=found, facts=facts))
    nodes.discard("")
    return Contribution(
        service=service.key,
        age=(service.metadata.creation_timestamp, service.key),
        exposures=made,
        nodes=frozenset(nodes),
        health=_health(service, slices, facts) if made else None,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def proxied(service: Service) -> bool:
    """The Service is ours to serve: not headless, not ExternalName, not another proxy's."""
    labels = service.metadata.labels or {}
    return (
        service.spec.type != "ExternalName"
        and PROXY_NAME_LABEL not in labels
        and HEADLESS_LABEL not in labels
        and (service.spec.cluster_ip or "") not in ("", "None")
    )


def _cluster_ip(service: Service, width: int, warnings: list[str]) -> bytes | None:
    """The clusterIP of a family; without one the Service is skipped in that family."""
    spec = service.spec
    for text in spec.cluster_ips or (spec.cluster_ip or "",):
        address = pack(text.strip())
        if address is None:
            warnings.append(f"Service {service.key}: spec.clusterIPs: {text!r} is no IP address, ignored")
        elif len(address) == width:
            return address
    return None


def _ports(service: Service, warnings: list[str]) -> Iterator[ServicePort]:
    for index, port in enumerate(service.spec.ports or ()):
        where = f"Service {service.key}: spec.ports[{index}]"
        if not 0 < port.port <= 65535:
            warnings.append(f"{where}.port: {port.port} is no port, ignored")
        elif not 0 <= port.node_port <= 65535:
            warnings.append(f"{where}.nodePort: {port.node_port} is no port, ignored")
            yield msgspec.structs.replace(port, node_port=0)
        else:
            yield port


def _fronts(
    service: Service, port: ServicePort, cluster_ip: bytes, *, facts: Situation, warnings: list[str]
) -> Iterator[_Front]:
    spec, width = service.spec, len(cluster_ip)
    yield _Front(cluster_ip, port.port, spec.internal_traffic_policy == "Local", True, ("clusterIP",))
    local = spec.external_traffic_policy == "Local"
    for address in _external_ips(service, width, warnings):
        name = "externalIPLocal" if local else "externalIP"
        yield _Front(address, port.port, local, address not in facts.host, (name,))
    if spec.type == "LoadBalancer":
        limited = any(text.strip() for text in spec.load_balancer_source_ranges or ())
        sets = ["loadBalancer"] + ["loadBalancerLocal"] * local + ["loadBalancerFirewall"] * limited
        ranges = _source_ranges(service, width, warnings)
        for address in _ingress_ips(service, width, warnings):
            bind = address not in facts.host
            allowed = _with_this_node(ranges, address, facts)
            yield _Front(address, port.port, local, bind, tuple(sets), allowed)
    if spec.type in ("NodePort", "LoadBalancer") and port.node_port:
        sets = ["nodePort"] + ["nodePortLocal"] * local
        for address in facts.node_ports:
            if len(address) == width:
                yield _Front(address, port.node_port, local, False, tuple(sets))


def _external_ips(service: Service, width: int, warnings: list[str]) -> Iterator[bytes]:
    for index, text in enumerate(service.spec.external_ips or ()):
        address = pack(text.strip())
        if address is None:
            if text.strip():
                warnings.append(
                    f"Service {service.key}: spec.externalIPs[{index}]: {text!r} is no IP address, ignored"
                )
        elif len(address) == width:
            yield address


def _ingress_ips(service: Service, width: int, warnings: list[str]) -> Iterator[bytes]:
    """Addresses of status.loadBalancer, but for those of ipMode Proxy: there the balancer itself serves."""
    for index, ingress in enumerate(service.status.load_balancer.ingress or ()):
        if not ingress.ip or ingress.ip_mode == "Proxy":
            continue
        address = pack(ingress.ip.strip())
        if address is None:
            warnings.append(
                f"Service {service.key}: status.loadBalancer.ingress[{index}].ip: "
                f"{ingress.ip!r} is no IP address, ignored"
            )
        elif len(address) == width:
            yield address


def _source_ranges(service: Service, width: int, warnings: list[str]) -> tuple[Network, ...]:
    """loadBalancerSourceRanges of a family."""
    found: list[Network] = []
    for index, text in enumerate(service.spec.load_balancer_source_ranges or ()):
        try:
            network = parse_network(text.strip())
        except ValueError as error:
            if text.strip():
                warnings.append(
                    f"Service {service.key}: spec.loadBalancerSourceRanges[{index}]: {error}, ignored"
                )
            continue
        if network.max_prefixlen == 8 * width:
            found.append(network)
    return tuple(found)


def _with_this_node(ranges: tuple[Network, ...], vip: bytes, facts: Situation) -> tuple[Network, ...]:
    """Ranges merged, since nft refuses overlapping intervals, and with the VIP itself when this node is in.

    Traffic of the node to a VIP that is bound here carries the VIP as source (kube-proxy's
    KUBE-LOAD-BALANCER-SOURCE-IP).
    """
    own = (ip_network(vip),) if any(inside(address, ranges) for address in facts.host) else ()
    return tuple(collapse_addresses((*ranges, *own)))


def _expose(
    service: Service, port: ServicePort, front: _Front, *, found: Sequence[Target], facts: Situation
) -> Exposure:
    fall_back = service.spec.internal_traffic_policy != "Local" or _external(service)
    chosen = local_targets(found, fall_back=fall_back) if front.local else cluster_targets(found)
    flags, timeout = _affinity(service)
    server = VirtualServer(
        PROTOCOLS[port.protocol], front.address, front.port, facts.scheduler, facts.flags | flags, timeout
    )
    return Exposure(
        server=server,
        reals=real_servers(chosen, facts.dead),
        bind=front.bind,
        elements=tuple(_elements(front, port.protocol.lower(), chosen)),
    )


def _external(service: Service) -> bool:
    return service.spec.type in ("NodePort", "LoadBalancer") or bool(service.spec.external_ips)


def _affinity(service: Service) -> tuple[int, int]:
    """Flag and timeout in seconds of session affinity."""
    if service.spec.session_affinity != "ClientIP":
        return 0, 0
    config = service.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    if seconds is None or not 0 < seconds <= _MAX_AFFINITY:
        seconds = AFFINITY_SECONDS
    return FLAG_PERSISTENT, seconds


def place_of(key: Key) -> str:
    """How nftables sets name a virtual server."""
    protocol, address, port = key
    return _place(address, _PROTOCOL_NAMES.get(protocol, str(protocol)), port)


def _place(address: bytes, protocol: str, port: int) -> str:
    return f"{show(address)} . {protocol} . {port}"


def _elements(front: _Front, protocol: str, chosen: Iterable[Target]) -> Iterator[Element]:
    place = _place(front.address, protocol, front.port)
    for name in front.sets:
        yield name, place
    for network in front.ranges:
        yield "loadBalancerSource", f"{place} . {network}"
    if front.bind:
        yield "vips", show(front.address)
    for target in chosen:
        if target.local:
            own = show(target.address)
            yield "hairpin", f"{own} . {protocol} . {target.port} . {own}"


def _add(made: dict[Key, Exposure], exposure: Exposure) -> None:
    """One Service may name an address twice (externalIP and load balancer): one server, all elements."""
    before = made.get(exposure.server.key)
    if before is None:
        made[exposure.server.key] = exposure
        return
    made[exposure.server.key] = msgspec.structs.replace(
        before,
        bind=before.bind or exposure.bind,
        elements=tuple(dict.fromkeys(before.elements + exposure.elements)),
    )


def _health(service: Service, slices: Sequence[EndpointSlice], facts: Situation) -> tuple[int, int] | None:
    spec = service.spec
    if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local":
        return None
    if not 0 < spec.health_check_node_port <= 65535:
        return None
    return spec.health_check_node_port, health_count(slices, facts.node)

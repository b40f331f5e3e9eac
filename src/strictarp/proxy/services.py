"""What one Service asks of this node's kernel. Pure. Rules of kube-proxy's ipvs proxier (v1.30)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from strictarp.kube.objects import EndpointSlice, Service, ServicePort
from strictarp.netlink.ipvs import (
    FLAG_PERSISTENT,
    FLAG_SCHED1,
    FLAG_SCHED2,
    Key,
    RealServer,
    VirtualServer,
)
from strictarp.proxy.addresses import show
from strictarp.proxy.config import SCHEDULERS
from strictarp.proxy.endpoints import (
    Target,
    cluster_targets,
    health_count,
    local_targets,
    real_servers,
    targets,
)
from strictarp.proxy.fronts import Front, Reach, fronts, node_port, reach
from strictarp.proxy.lenient import UNREAD_PORT
from strictarp.proxy.operations import Element
from strictarp.proxy.situation import Situation

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
SCHEDULER_ANNOTATION = "strictarp.io/scheduler"
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_PROTOCOL_NAMES = {number: name.lower() for name, number in PROTOCOLS.items()}
AFFINITY_SECONDS = 10800
FRONTS = frozenset({"clusterIP", "externalIP", "externalIPLocal", "loadBalancer", "nodePort"})
"""Sets that together name every virtual server of ours."""
_MAX_AFFINITY = 86400
_API_TIME = len("2006-01-02T15:04:05Z")


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
    health: healthCheckNodePort and the number of local endpoints. no_local: traffic policies (internal,
    external) that ask for local endpoints while there are only others.
    """

    service: str
    age: tuple[str, str]
    exposures: Mapping[Key, Exposure]
    nodes: tuple[str, ...] = ()
    health: tuple[int, int] | None = None
    no_local: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


class _Balancing(msgspec.Struct, frozen=True):
    """How the virtual servers of a Service choose. timeout: of affinity, in seconds."""

    scheduler: str
    flags: int
    timeout: int


def plan_service(service: Service, slices: Sequence[EndpointSlice], facts: Situation) -> Contribution:
    """Everything that must exist for one Service; unusable parts become warnings, the rest is planned."""
    warnings: list[str] = []
    made: dict[Key, Exposure] = {}
    nodes: set[str] = set()
    no_local: set[str] = set()
    if proxied(service):
        ports = _ports(service, warnings)
        balancing = _balancing(service, facts, warnings)
        _check_words(service, warnings)
        for width in facts.families:
            reached = reach(service, width, warnings)
            if reached is None:
                continue
            warnings += _of_other_nodes(service, reached, facts)
            wanted = {(port.name, port.protocol) for port in ports}
            by_port, faults = targets(slices, wanted, width=width, node=facts.node)
            warnings += faults
            for port in ports:
                found = by_port.get((port.name, port.protocol), ())
                nodes.update(target.node for target in found)
                no_local.update(_no_local(service, port, reached, found))
                for exposure in _exposures(service, port, reached, found, balancing, facts=facts):
                    _add(made, exposure)
    nodes.discard("")
    return Contribution(
        service=service.key,
        age=(_born(service.metadata.creation_timestamp), service.key),
        exposures=made,
        nodes=tuple(sorted(nodes)),
        health=(_health_port(service), health_count(slices, facts.node))
        if made and _health_port(service)
        else None,
        no_local=frozenset(no_local),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _born(text: str) -> str:
    """A creationTimestamp so that texts order as times do; what has none is the youngest.

    The API writes seconds of UTC, people also offsets and fractions.
    """
    if len(text) == _API_TIME and text[-1] == "Z":
        return text
    try:
        moment = datetime.fromisoformat(text)
        there = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return "~"
    return f"{there.isoformat(timespec='seconds')}Z{f'{there.microsecond:06}' if there.microsecond else ''}"


def proxied(service: Service) -> bool:
    """The Service is ours to serve: not headless, not ExternalName, not another proxy's."""
    spec = service.spec
    first = spec.cluster_ip or next(iter(spec.cluster_ips or ()), "")
    return spec.type != "ExternalName" and is_ours(service.metadata.labels) and first not in ("", "None")


def is_ours(labels: Mapping[str, str] | None) -> bool:
    """By the labels of a Service or EndpointSlice it is neither headless nor for another proxy."""
    return not labels or (PROXY_NAME_LABEL not in labels and HEADLESS_LABEL not in labels)


def _ports(service: Service, warnings: list[str]) -> list[ServicePort]:
    """The usable ports. Two that cannot be told apart in the kernel are one: the first."""
    usable: list[ServicePort] = []
    taken: dict[tuple[str, str, int], int] = {}
    for index, port in enumerate(service.spec.ports or ()):
        where = f"Service {service.key}: spec.ports[{index}]"
        if port.port == UNREAD_PORT:
            continue
        if not 0 < port.port <= 65535:
            warnings.append(f"{where}.port: {port.port} is no port, ignored")
            continue
        first = taken.setdefault(("port", port.protocol, port.port), index)
        if first != index:
            warnings.append(f"{where}.port: {port.protocol} {port.port} is that of ports[{first}], ignored")
            continue
        reason = ""
        if not 0 <= port.node_port <= 65535:
            reason = f"{port.node_port} is no port"
        elif port.node_port:
            first = taken.setdefault(("nodePort", port.protocol, port.node_port), index)
            reason = f"{port.protocol} {port.node_port} is that of ports[{first}]" if first != index else ""
        if reason:
            warnings.append(f"{where}.nodePort: {reason}, ignored")
        usable.append(msgspec.structs.replace(port, node_port=0) if reason else port)
    return usable


def _balancing(service: Service, facts: Situation, warnings: list[str]) -> _Balancing:
    """Scheduler, flags and affinity. Scheduler mh hashes ports and falls back, always."""
    scheduler = _scheduler(service, facts, warnings)
    flags = FLAG_SCHED1 | FLAG_SCHED2 if scheduler == "mh" else 0
    if service.spec.session_affinity != "ClientIP":
        return _Balancing(scheduler, flags, 0)
    config = service.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    if seconds is not None and not 0 < seconds <= _MAX_AFFINITY:
        warnings.append(
            f"Service {service.key}: spec.sessionAffinityConfig.clientIP.timeoutSeconds: {seconds} is not "
            f"between 1 and {_MAX_AFFINITY}; {AFFINITY_SECONDS} is used"
        )
        seconds = None
    return _Balancing(scheduler, flags | FLAG_PERSISTENT, seconds or AFFINITY_SECONDS)


def _scheduler(service: Service, facts: Situation, warnings: list[str]) -> str:
    asked = (service.metadata.annotations or {}).get(SCHEDULER_ANNOTATION, "").strip()
    if asked in SCHEDULERS and asked not in facts.missing:
        return asked or facts.scheduler
    reason = (
        f"is not in this kernel (module ip_vs_{asked})"
        if asked in facts.missing
        else f"is none of {', '.join(SCHEDULERS[1:])}"
    )
    warnings.append(
        f"Service {service.key}: metadata.annotations[{SCHEDULER_ANNOTATION}]: {asked!r} {reason}; "
        f"{facts.scheduler} is used"
    )
    return facts.scheduler


def _of_other_nodes(service: Service, reached: Reach, facts: Situation) -> Iterator[str]:
    """External IPs that are other nodes' own; load balancers on nodes give such addresses by right."""
    for address in reached.external_ips:
        if address in facts.others:
            yield (
                f"Service {service.key}: spec.externalIPs: {show(address)} is an address of node "
                f"{facts.others[address]}, not bound here"
            )


_WORDS = (
    ("type", ("ClusterIP", "NodePort", "LoadBalancer")),
    ("externalTrafficPolicy", ("Cluster", "Local")),
    ("internalTrafficPolicy", ("Cluster", "Local")),
    ("sessionAffinity", ("None", "ClientIP")),
)


def _check_words(service: Service, warnings: list[str]) -> None:
    """An unknown word counts as the API's default, the first."""
    spec = service.spec
    found = (
        spec.type, spec.external_traffic_policy, spec.internal_traffic_policy, spec.session_affinity,
    )  # fmt: skip
    for (name, words), word in zip(_WORDS, found, strict=True):
        if word and word not in words:
            warnings.append(
                f"Service {service.key}: spec.{name}: {word!r} is none of {', '.join(words)}; "
                f"{words[0]} is used"
            )


def _exposures(
    service: Service,
    port: ServicePort,
    reached: Reach,
    found: Sequence[Target],
    balancing: _Balancing,
    *,
    facts: Situation,
) -> Iterator[Exposure]:
    cluster = cluster_targets(found, facts.node, facts.zone, facts.dead)
    external = _external(service, port, reached)
    # Particular to IPVS mode (kubernetes PR 97081): without a local endpoint all of them serve, so that at
    # least pods on the node get an answer; unless the port has no use for endpoints elsewhere at all.
    falls_back = external or service.spec.internal_traffic_policy != "Local"
    local = local_targets(found) or (cluster if falls_back else [])
    common = tuple(_port_elements(service, port, len(reached.cluster_ip), found, facts))
    udp = port.protocol == "UDP"
    by_policy: dict[bool, tuple[RealServer, ...]] = {}
    for front in fronts(service, port, reached, facts):
        if front.local not in by_policy:
            chosen = local if front.local else cluster
            by_policy[front.local] = real_servers(chosen, facts.dead, keep=not udp)
        server = VirtualServer(
            PROTOCOLS[port.protocol],
            front.address,
            front.port,
            balancing.scheduler,
            balancing.flags,
            balancing.timeout,
        )
        elements = (*_front_elements(front, port.protocol.lower(), _health_port(service)), *common)
        yield Exposure(server, by_policy[front.local], front.bind, elements)


def _external(service: Service, port: ServicePort, reached: Reach) -> bool:
    """The port is reached from outside of the cluster."""
    return bool(node_port(service, port) or reached.external_ips or reached.balancer_ips)


def _no_local(service: Service, port: ServicePort, reached: Reach, found: Sequence[Target]) -> Iterator[str]:
    """Traffic policies that ask for local endpoints where there are only others."""
    if not found or local_targets(found):
        return
    if service.spec.internal_traffic_policy == "Local":
        yield "internal"
    if service.spec.external_traffic_policy == "Local" and _external(service, port, reached):
        yield "external"


def place_of(key: Key) -> str:
    """How nftables sets name a virtual server."""
    protocol, address, port = key
    return _place(address, _PROTOCOL_NAMES.get(protocol, str(protocol)), port)


def _place(address: bytes, protocol: str, port: int) -> str:
    return f"{show(address)} . {protocol} . {port}"


def _front_elements(front: Front, protocol: str, health: int) -> Iterator[Element]:
    place = _place(front.address, protocol, front.port)
    for name in front.sets:
        yield name, place
    for network in front.ranges:
        # As nft shows it, which is not as ipaddress does: `::ffff:192.0.2.0/120`.
        shown = f"{show(network.network_address.packed)}/{network.prefixlen}"
        yield "loadBalancerSource", f"{place} . {shown}"
    if front.bind:
        yield "vips", show(front.address)
    if front.bind and health:
        yield "healthCheckVIP", _place(front.address, "tcp", health)


def _port_elements(
    service: Service, port: ServicePort, width: int, found: Iterable[Target], facts: Situation
) -> Iterator[Element]:
    """Those that do not depend on the way in.

    Hairpin: of every endpoint here, ready or not, since open connections stay with it while it goes.
    """
    protocol = port.protocol.lower()
    for target in found:
        if target.local:
            own = show(target.address)
            yield "hairpin", f"{own} . {protocol} . {target.port} . {own}"
    health = _health_port(service)
    if health:
        for address in facts.health_addresses:
            if len(address) == width:
                yield "healthCheckNodePort", _place(address, "tcp", health)


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


def _health_port(service: Service) -> int:
    """healthCheckNodePort where it counts, else 0."""
    spec = service.spec
    if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local":
        return 0
    return spec.health_check_node_port if 0 < spec.health_check_node_port <= 65535 else 0

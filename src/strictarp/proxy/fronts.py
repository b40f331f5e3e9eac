"""Where a Service is reached from: its addresses of one family, checked once. Pure.

Rules of kube-proxy (pkg/proxy/serviceport.go and the ipvs proxier, v1.30). What cannot be used becomes a
warning; blanks, and what is of the other family, are left out silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

import msgspec

from strictarp.kube.objects import Service, ServicePort
from strictarp.proxy.addresses import inside, pack, special
from strictarp.proxy.fields import Network, parse_network
from strictarp.proxy.situation import Situation

_FAMILY_NAMES = {4: "IPv4", 16: "IPv6"}


class Reach(msgspec.Struct, frozen=True):
    """What all ports of a Service share in one family.

    limited: load balancer addresses are open to `ranges` only.
    """

    cluster_ip: bytes
    external_ips: tuple[bytes, ...]
    balancer_ips: tuple[bytes, ...]
    limited: bool
    ranges: tuple[Network, ...]


class Front(msgspec.Struct, frozen=True):
    """An address and port that a Service port is reached by. local: traffic policy. sets: its nft sets."""

    address: bytes
    port: int
    local: bool
    bind: bool
    sets: tuple[str, ...]
    ranges: tuple[Network, ...] = ()


def reach(service: Service, width: int, warnings: list[str]) -> Reach | None:
    """The addresses of a Service in a family; None without a clusterIP of it: skipped."""
    cluster_ip = _cluster_ip(service, width, warnings)
    if cluster_ip is None:
        return None
    spec, where = service.spec, f"Service {service.key}"
    external = enumerate(spec.external_ips or ())
    balancer = (
        (index, ingress.ip or "")
        for index, ingress in enumerate(service.status.load_balancer.ingress or ())
        if ingress.ip_mode != "Proxy" and spec.type == "LoadBalancer"
    )
    limited, ranges = _source_ranges(service, width, warnings)
    return Reach(
        cluster_ip=cluster_ip,
        external_ips=tuple(_addresses(external, width, f"{where}: spec.externalIPs[{{}}]", warnings)),
        balancer_ips=tuple(
            _addresses(balancer, width, f"{where}: status.loadBalancer.ingress[{{}}].ip", warnings)
        ),
        limited=limited,
        ranges=ranges,
    )


def fronts(service: Service, port: ServicePort, reached: Reach, facts: Situation) -> Iterator[Front]:
    """All virtual servers of one port in one family."""
    spec, width = service.spec, len(reached.cluster_ip)
    yield Front(reached.cluster_ip, port.port, spec.internal_traffic_policy == "Local", True, ("clusterIP",))
    local = spec.external_traffic_policy == "Local"
    for address in reached.external_ips:
        name = "externalIPLocal" if local else "externalIP"
        yield Front(address, port.port, local, _may_bind(address, facts), (name,))
    sets = ("loadBalancer", *["loadBalancerLocal"] * local, *["loadBalancerFirewall"] * reached.limited)
    for address in reached.balancer_ips:
        allowed = _with_this_node(reached.ranges, address, facts)
        yield Front(address, port.port, local, _may_bind(address, facts), sets, allowed)
    if node_port(service, port):
        for address in facts.node_ports:
            if len(address) == width:
                yield Front(address, port.node_port, local, False, ("nodePort", *["nodePortLocal"] * local))


def _may_bind(address: bytes, facts: Situation) -> bool:
    """Neither this node nor another one has the address for itself."""
    return address not in facts.host and address not in facts.others


def node_port(service: Service, port: ServicePort) -> bool:
    """The port is served on the node's own addresses."""
    spec = service.spec
    if spec.type == "LoadBalancer" and spec.allocate_load_balancer_node_ports is False:
        return False
    return spec.type in ("NodePort", "LoadBalancer") and port.node_port != 0


def _cluster_ip(service: Service, width: int, warnings: list[str]) -> bytes | None:
    spec = service.spec
    if spec.ip_families and _FAMILY_NAMES[width] not in spec.ip_families:
        return None
    for index, text in enumerate(spec.cluster_ips or (spec.cluster_ip or "",)):
        address = pack(text.strip())
        if address is None or special(address):
            field = f"clusterIPs[{index}]" if spec.cluster_ips else "clusterIP"
            warnings.append(f"Service {service.key}: spec.{field}: {text!r} is no usable IP address, ignored")
        elif len(address) == width:
            return address
    return None


def _addresses(
    texts: Iterable[tuple[int, str]], width: int, where: str, warnings: list[str]
) -> Iterator[bytes]:
    """Those of a family, each once. `where`: the field in warnings, with {} for the index."""
    seen = set()
    for index, text in texts:
        if not text.strip():
            continue
        address = pack(text.strip())
        if address is None or special(address):
            warnings.append(f"{where.format(index)}: {text!r} is no usable IP address, ignored")
        elif len(address) == width and address not in seen:
            seen.add(address)
            yield address


def _source_ranges(service: Service, width: int, warnings: list[str]) -> tuple[bool, tuple[Network, ...]]:
    """Whether loadBalancerSourceRanges limit this family, and to which networks.

    Ranges of the other family only limit nothing here, as in kube-proxy; one that cannot be read limits to
    nothing: a filter fails closed.
    """
    found: list[Network] = []
    unreadable = False
    for index, text in enumerate(service.spec.load_balancer_source_ranges or ()):
        if not text.strip():
            continue
        try:
            network = parse_network(text.strip())
        except ValueError as error:
            unreadable = True
            warnings.append(
                f"Service {service.key}: spec.loadBalancerSourceRanges[{index}]: {error}, ignored"
            )
            continue
        if network.max_prefixlen == 8 * width:
            found.append(network)
    return unreadable or bool(found), tuple(found)


def _with_this_node(ranges: tuple[Network, ...], vip: bytes, facts: Situation) -> tuple[Network, ...]:
    """Ranges without those that others contain, since nft refuses overlapping intervals; and with the VIP
    itself when this node is in one.

    Traffic of the node to a VIP that is bound here carries the VIP as source (kube-proxy's
    KUBE-LOAD-BALANCER-SOURCE-IP).
    """
    allowed = {*ranges, ip_network(vip)} if any(inside(own, ranges) for own in facts.own) else set(ranges)
    kept: list[Network] = []
    for network in sorted(allowed, key=lambda each: (each.version, each.network_address, each.prefixlen)):
        if not kept or int(network.network_address) > int(kept[-1].broadcast_address):
            kept.append(network)
    return tuple(kept)

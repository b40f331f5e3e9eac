"""What the API server fills into a Service: defaults, cluster IPs and node ports. Pure.

Rules: pkg/apis/core/v1/defaults.go SetDefaults_Service; pkg/registry/core/service alloc.go and storage.go
patchAllocatedValues (what was allocated is kept over updates). Addresses are taken in order here, where
kube-apiserver picks at random.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from strictarp.lab.apiserver.documents import Document, items, sub, text, with_fields
from strictarp.lab.apiserver.refusals import invalid

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

NODE_PORTS = range(30000, 32768)
AFFINITY_SECONDS = 10800
MAX_IPV6 = 1 << 16  # of a larger range only the beginning is used


class Taken(msgspec.Struct):
    """Addresses and node ports in use, kept up to date by `move`; ports as (protocol, number).

    `hints` only saves time: below that index of a range nothing is free.
    """

    addresses: set[str] = msgspec.field(default_factory=set)
    ports: set[tuple[str, int]] = msgspec.field(default_factory=set)
    hints: dict[Network, int] = msgspec.field(default_factory=dict)

    def move(self, before: Document | None, after: Document | None) -> None:
        """A Service changed."""
        if before is not None:
            self.hints.clear()
            self.addresses.difference_update(cluster_ips(before))
            self.ports.difference_update(node_ports(before))
        if after is not None:
            self.addresses.update(cluster_ips(after))
            self.ports.update(node_ports(after))


def cluster_ips(service: Document) -> list[str]:
    """The addresses that a Service holds; none for a headless one."""
    spec = sub(service, "spec")
    given = spec.get("clusterIPs")
    several = given if isinstance(given, list) else [spec.get("clusterIP")]
    return [each for each in several if isinstance(each, str) and each not in {"", "None"}]


def node_ports(service: Document) -> list[tuple[str, int]]:
    """The node ports that a Service holds."""
    return [
        (str(port.get("protocol", "TCP")), number)
        for port in items(service, "spec", "ports")
        if isinstance(number := port.get("nodePort"), int) and number
    ]


def complete(
    service: Document, old: Document | None, taken: Taken, networks: tuple[Network, ...]
) -> Document:
    """The Service with everything filled in; raises Refusal (422) for what cannot be had."""
    spec = _defaults(sub(service, "spec"))
    name = text(service, "metadata", "name")
    before = sub(old, "spec") if old is not None else {}
    free = Taken(set(taken.addresses), set(taken.ports), taken.hints)
    if old is not None:
        free.move(old, None)
    spec = _addresses(spec, before, free, networks, name)
    spec = _node_ports(spec, before, free, name)
    return {**service, "spec": spec}


def _defaults(given: object) -> Document:
    spec: Document = dict(given) if isinstance(given, dict) else {}
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP" and not sub(spec, "sessionAffinityConfig", "clientIP"):
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}
    if isinstance(spec.get("ports"), list):
        spec["ports"] = [_port_defaults(port) for port in items(spec, "ports")]
    if spec["type"] in {"NodePort", "LoadBalancer"}:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    elif not spec.get("externalIPs"):
        spec.pop("externalTrafficPolicy", None)
    else:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    else:
        spec.pop("allocateLoadBalancerNodePorts", None)
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    return spec


def _port_defaults(port: Document) -> Document:
    made = {"protocol": "TCP", **port}
    if not made.get("targetPort"):
        made["targetPort"] = made.get("port")
    return made


def _addresses(
    spec: Document, before: object, taken: Taken, networks: tuple[Network, ...], name: str
) -> Document:
    if spec["type"] == "ExternalName":
        return with_fields(spec, clusterIP=None, clusterIPs=None, ipFamilies=None, ipFamilyPolicy=None)
    was = before if isinstance(before, dict) else {}
    ours = [each for each in cluster_ips({"spec": spec}) if each]
    if not ours and spec.get("clusterIP") != "None" and was.get("type") != "ExternalName":
        kept = {field: was[field] for field in ("clusterIP", "clusterIPs") if was.get(field)}
        spec = {**spec, **kept}
        ours = cluster_ips({"spec": spec})
    if spec.get("clusterIP") == "None":
        families = spec.get("ipFamilies") or [_family(networks[0])]
        policy = spec.get("ipFamilyPolicy") or "SingleStack"
        return {**spec, "clusterIPs": ["None"], "ipFamilies": families, "ipFamilyPolicy": policy}
    if was.get("clusterIP") not in {None, "", "None"} and ours and ours[0] != was["clusterIP"]:
        raise invalid("Service", name, f'spec.clusterIP: Invalid value: "{ours[0]}": field is immutable')
    ranges = _ranges(spec, ours, networks, name)
    chosen = [
        _claim(ours[index], each, taken, f"spec.clusterIPs[{index}]", name)
        if index < len(ours)
        else _free(each, taken, name)
        for index, each in enumerate(ranges)
    ]
    return {
        **spec,
        "clusterIP": chosen[0],
        "clusterIPs": chosen,
        "ipFamilies": [_family(each) for each in ranges],
        "ipFamilyPolicy": spec.get("ipFamilyPolicy") or "SingleStack",
    }


def _ranges(spec: Document, given: list[str], networks: tuple[Network, ...], name: str) -> list[Network]:
    """The ranges to take addresses from, in the order of the Service's families."""
    by_family = {_family(network): network for network in networks}
    wanted = spec.get("ipFamilies")
    families = [str(each) for each in wanted] if isinstance(wanted, list) else []
    if not families:
        families = ["IPv6" if ":" in each else "IPv4" for each in given] or [_family(networks[0])]
    policy = spec.get("ipFamilyPolicy")
    if policy in {"PreferDualStack", "RequireDualStack"} and len(families) == 1:
        families += [family for family in by_family if family not in families]
        if len(families) == 1 and policy == "RequireDualStack":
            raise invalid(
                "Service", name, "spec.ipFamilyPolicy: Invalid value: the cluster has one family only"
            )
    for index, family in enumerate(families):
        if family not in by_family:
            fault = f'spec.ipFamilies[{index}]: Invalid value: "{family}": not configured on this cluster'
            raise invalid("Service", name, fault)
    return [by_family[family] for family in families]


def _claim(address: str, network: Network, taken: Taken, field: str, name: str) -> str:
    try:
        inside = ipaddress.ip_address(address) in network
    except ValueError:
        inside = False
    if not inside:
        fault = f'{field}: Invalid value: "{address}": the provided IP is not in the valid range {network}'
        raise invalid("Service", name, fault)
    if address in taken.addresses:
        fault = f'{field}: Invalid value: "{address}": provided IP is already allocated'
        raise invalid("Service", name, fault)
    return address


def _free(network: Network, taken: Taken, name: str) -> str:
    """The lowest free address: not the network's own, the broadcast, nor the first, which is `kubernetes`."""
    last = min(network.num_addresses - 1, MAX_IPV6)
    for index in range(taken.hints.get(network, 2), last):
        address = str(network[index])
        if address not in taken.addresses:
            taken.hints[network] = index
            taken.addresses.add(address)
            return address
    raise invalid("Service", name, f"spec.clusterIPs: range {network} is full")


def _node_ports(spec: Document, before: object, taken: Taken, name: str) -> Document:
    ports = items(spec, "ports")
    kept = {
        (port.get("protocol"), port.get("port")): port["nodePort"]
        for port in items({"spec": before}, "spec", "ports")
        if port.get("nodePort")
    }
    wanted = spec["type"] == "NodePort" or (
        spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is True
    )
    if spec["type"] not in {"NodePort", "LoadBalancer"}:
        return {**spec, "ports": [with_fields(port, nodePort=None) for port in ports]} if ports else spec
    asked = set(node_ports({"spec": spec}))
    for pair in sorted(asked):
        if pair in taken.ports:
            fault = f"spec.ports[].nodePort: Invalid value: {pair[1]}: provided port is already allocated"
            raise invalid("Service", name, fault)
        if pair[1] not in NODE_PORTS:
            fault = (
                f"spec.ports[].nodePort: Invalid value: {pair[1]}: the range of valid ports is 30000-32767"
            )
            raise invalid("Service", name, fault)
    used = {number for _, number in taken.ports | asked}
    made = []
    for port in ports:
        number = port.get("nodePort") or kept.get((port.get("protocol"), port.get("port")))
        if not number and wanted:
            number = _first_free(NODE_PORTS, used, name)
        if isinstance(number, int) and number:
            used.add(number)
            made.append({**port, "nodePort": number})
        else:
            made.append(port)
    return {**spec, "ports": made} if made else spec


def _first_free(numbers: Iterable[int], used: set[int], name: str) -> int:
    for number in numbers:
        if number not in used:
            return number
    raise invalid("Service", name, "spec.ports: no free node port is left")


def _family(network: Network) -> str:
    return f"IPv{network.version}"


def parse_networks(cidrs: str) -> tuple[Network, ...]:
    """The Service CIDRs, separated by a comma, the first is the default; raises ValueError."""
    return tuple(ipaddress.ip_network(each.strip()) for each in cidrs.split(","))

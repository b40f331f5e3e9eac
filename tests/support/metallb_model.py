"""MetalLB's allocation, written down naively from its documented behaviour: it looks at every address.

An oracle for small pools. Differences that are ours on purpose are marked.
"""

from __future__ import annotations

import ipaddress
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Json = dict[str, Any]


def expand(item: str) -> list[Address]:
    if "-" in item:
        first, last = (ipaddress.ip_address(part.strip()) for part in item.split("-"))
        return [first + step for step in range(int(last) - int(first) + 1)]
    return list(ipaddress.ip_network(item, strict=False))


def matches(selector: Json, labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


class ModelPool:
    def __init__(self, document: Json, namespaces: dict[str, dict[str, str]]) -> None:
        spec = document["spec"]
        self.name = document["metadata"]["name"]
        self.addresses = [
            each
            for item in spec["addresses"]
            for each in expand(item)
            if not (spec.get("avoidBuggyIPs") and each.version == 4 and int(each) % 256 in (0, 255))
        ]
        self.auto = spec.get("autoAssign", True)
        allocation = spec.get("serviceAllocation")
        self.pinned = allocation is not None
        allocation = allocation or {}
        self.priority = allocation.get("priority", 0)
        self.service_selectors = allocation.get("serviceSelectors", [])
        self.restricted = bool(allocation.get("namespaces") or allocation.get("namespaceSelectors"))
        self.namespaces = set(allocation.get("namespaces", ())) | {
            name
            for name, labels in namespaces.items()
            if any(matches(each, labels) for each in allocation.get("namespaceSelectors", ()))
        }

    def compatible(self, service: Json) -> bool:
        meta = service["metadata"]
        if self.namespaces and meta["namespace"] not in self.namespaces:
            return False
        labels = meta.get("labels", {})
        return not self.service_selectors or any(matches(each, labels) for each in self.service_selectors)

    def lists(self, service: Json) -> bool:
        everybody = not self.restricted and not self.service_selectors
        return (
            everybody or service["metadata"]["namespace"] in self.namespaces or bool(self.service_selectors)
        )


class Model:
    def __init__(self, pools: list[Json], namespaces: dict[str, dict[str, str]]) -> None:
        self.pools = sorted((ModelPool(each, namespaces) for each in pools), key=lambda pool: pool.name)
        self.held: dict[str, list[Address]] = {}
        self.services: dict[str, Json] = {}

    def plan(self, services: list[Json]) -> dict[str, list[str]]:
        """Addresses by Service; ours: adoption and service by age, where MetalLB has no stated order."""
        self.services = {key_of(each): each for each in services}
        ordered = sorted(services, key=lambda each: (each["metadata"]["creationTimestamp"], key_of(each)))
        for service in ordered:
            self.adopt(service)
        for service in ordered:
            self.serve(service)
        return {key: [str(ip) for ip in self.held.get(key, [])] for key in self.services}

    def adopt(self, service: Json) -> None:
        key = key_of(service)
        ips = [ipaddress.ip_address(each["ip"]) for each in service["status"]["loadBalancer"]["ingress"]]
        families = [ip.version for ip in ips]
        wanted, policy = families_of(service), service["spec"].get("ipFamilyPolicy", "SingleStack")
        if (
            not ips
            or (policy == "RequireDualStack" and len(wanted) < 2)
            or len(set(families)) != len(families)
        ):
            return
        if set(families) != set(wanted) and not (
            len(wanted) == 2 and policy == "PreferDualStack" and len(families) == 1
        ):
            return
        pool = self.assignable(service, ips)
        if pool is None:
            return
        if annotation(service, "address-pool") not in ("", pool.name):
            return
        try:
            requested = requested_ips(service)
        except ValueError:
            requested = []
        if requested and set(requested) != set(ips):
            return
        self.held[key] = ips

    def serve(self, service: Json) -> None:
        key, spec = key_of(service), service["spec"]
        wanted, policy = families_of(service), spec.get("ipFamilyPolicy", "SingleStack")
        if policy == "RequireDualStack" and len(wanted) < 2:
            return
        try:
            requested = requested_ips(service)
        except ValueError:
            return
        if key in self.held:
            # Ours: only with two clusterIPs, and not against an explicit request (MetalLB flips there).
            missing = [version for version in wanted if version not in {ip.version for ip in self.held[key]}]
            if missing and not requested:
                pool = next(pool for pool in self.pools if self.held[key][0] in pool.addresses)
                more = self.lowest(pool, service, missing[0])
                self.held[key] += [more] if more is not None else []
            return
        ips = self.choose(service, wanted, requested, policy)
        if ips:
            self.held[key] = ips

    def choose(
        self, service: Json, wanted: list[int], requested: list[Address], policy: str
    ) -> list[Address] | None:
        named = annotation(service, "address-pool")
        if requested:
            if {ip.version for ip in requested} != set(wanted):
                return None
            pool = self.assignable(service, requested)
            if pool is None or named not in ("", pool.name):
                return None
            return sorted(requested, key=lambda ip: ip.version)
        if named:
            stages = [[pool for pool in self.pools if pool.name == named and pool.compatible(service)]]
        else:
            auto = [pool for pool in self.pools if pool.auto]
            pinned = [
                each for each in auto if each.pinned and each.lists(service) and each.compatible(service)
            ]
            pinned.sort(key=lambda pool: (pool.priority == 0, pool.priority))
            stages = [pinned, [pool for pool in auto if not pool.pinned]]
        for stage in stages:
            attempts = [sorted(wanted)]
            if len(wanted) == 2 and policy == "PreferDualStack":
                attempts += [[wanted[0]], [wanted[1]]]
            for versions in attempts:
                for pool in stage:
                    found = [self.lowest(pool, service, version) for version in versions]
                    if all(ip is not None for ip in found):
                        return [ip for ip in found if ip is not None]
        return None

    def lowest(self, pool: ModelPool, service: Json, version: int) -> Address | None:
        return next((ip for ip in pool.addresses if ip.version == version and self.usable(service, ip)), None)

    def assignable(self, service: Json, ips: list[Address]) -> ModelPool | None:
        for pool in self.pools:
            if all(ip in pool.addresses for ip in ips):
                fine = pool.compatible(service) and all(self.usable(service, ip) for ip in ips)
                return pool if fine else None
        return None

    def usable(self, service: Json, ip: Address) -> bool:
        mine, key = identity(service), annotation(service, "allow-shared-ip")
        for other, ips in self.held.items():
            if other == key_of(service) or ip not in ips:
                continue
            theirs = self.services[other]
            if not key or annotation(theirs, "allow-shared-ip") != key or identity(theirs) != mine:
                return False
            if ports(theirs) & ports(service):
                return False
        return True

    def counters(self) -> dict[str, dict[str, int]]:
        used = {ip for ips in self.held.values() for ip in ips}
        return {
            pool.name: {
                f"{word}IPv{version}": sum(
                    ip.version == version and (ip in used) is taken for ip in pool.addresses
                )
                for version in (4, 6)
                for word, taken in (("assigned", True), ("available", False))
            }
            for pool in self.pools
        }


def key_of(service: Json) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"


def annotation(service: Json, name: str) -> str:
    notes = service["metadata"].get("annotations", {})
    return str(notes.get(f"metallb.io/{name}", notes.get(f"metallb.universe.tf/{name}", "")))


def families_of(service: Json) -> list[int]:
    versions = sorted(ipaddress.ip_address(each).version for each in service["spec"]["clusterIPs"])
    return versions[::-1] if (service["spec"].get("ipFamilies") or ["IPv4"])[0] == "IPv6" else versions


def requested_ips(service: Json) -> list[Address]:
    listed, single = annotation(service, "loadBalancerIPs"), service["spec"].get("loadBalancerIP", "")
    if listed and single:
        raise ValueError("both")
    if single:
        return [ipaddress.ip_address(single)]
    found = [ipaddress.ip_address(part.strip()) for part in listed.split(",")] if listed else []
    if len({ip.version for ip in found}) != len(found):
        raise ValueError("families")
    return found


def identity(service: Json) -> str:
    spec = service["spec"]
    return (
        str(sorted(spec.get("selector", {}).items())) if spec.get("externalTrafficPolicy") == "Local" else ""
    )


def ports(service: Json) -> set[tuple[str, int]]:
    return {(each["protocol"], each["port"]) for each in service["spec"]["ports"]}

"""What a Service asks for, read from its spec and annotations. Pure.

Annotations have MetalLB's names; `metallb.io/` wins over the old prefix when both are there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from strictarp.controller.allocator import Request, Sharing
from strictarp.kube.custom import AddressConflict
from strictarp.kube.objects import Service
from strictarp.kube.ranges import Ip, parse_ip

PREFIXES = ("metallb.io/", "metallb.universe.tf/")
FROM_POOL = "metallb.io/ip-allocated-from-pool"
FROM_POOL_BEFORE = "metallb.universe.tf/ip-allocated-from-pool"
"""The same as older releases of MetalLB write it."""
TYPE = "LoadBalancer"


class Unservable(ValueError):
    """A Service that cannot have addresses as it stands; the message is for people.

    `event` is the reason of the Event that tells it, empty for none.
    """

    def __init__(self, message: str, event: str = "") -> None:
        super().__init__(message)
        self.event = event


class BadRequest(ValueError):
    """The addresses that a Service names cannot be read; what it has meanwhile it keeps."""


def ours(service: Service, lb_class: str) -> bool:
    """A LoadBalancer of our class: without one when `lb_class` is empty, else of exactly that class.

    One that is being deleted stays ours until it is gone: its address may still be announced.
    """
    return service.spec.type == TYPE and (service.spec.load_balancer_class or "") == lb_class


def current(service: Service) -> tuple[Ip, ...]:
    """The addresses in its status. Entries that hold no address are left out, as by MetalLB."""
    found = []
    for entry in service.status.load_balancer.ingress or ():
        try:
            found.append(parse_ip(entry.ip or ""))
        except ValueError:
            continue
    return tuple(found)


def annotation(service: Service, name: str) -> str:
    """An annotation under the new prefix, else under the old one, else empty."""
    have = service.metadata.annotations or {}
    return next((have[prefix + name] for prefix in PREFIXES if prefix + name in have), "").strip()


def read_request(service: Service) -> Request:
    """The request without the addresses it names (`with_named`); raises Unservable."""
    families = _families(service)
    policy = service.spec.ip_family_policy or "SingleStack"
    if policy == "RequireDualStack" and len(families) < 2:
        raise Unservable(
            "spec.ipFamilyPolicy: RequireDualStack needs two clusterIPs, and there is one",
            "not enough clusterips",
        )
    if policy == "SingleStack":
        families = families[:1]
    return Request(
        key=service.key,
        namespace=service.metadata.namespace,
        families=families,
        labels=service.metadata.labels or {},
        prefer_dual=policy == "PreferDualStack",
        pool=annotation(service, "address-pool"),
        sharing=_sharing(service),
    )


def with_named(service: Service, request: Request) -> Request:
    """The request with the addresses that the Service names; raises BadRequest naming the field."""
    listed, single = annotation(service, "loadBalancerIPs"), (service.spec.load_balancer_ip or "").strip()
    if listed and single:
        raise BadRequest(
            "metallb.io/loadBalancerIPs and spec.loadBalancerIP are both set; keep the annotation only"
        )
    if not listed and not single:
        return request
    field = "metallb.io/loadBalancerIPs" if listed else "spec.loadBalancerIP"
    ips = []
    for part in listed.split(",") if listed else (single,):
        try:
            ips.append(parse_ip(part.strip()))
        except ValueError:
            raise BadRequest(f"{field}: {part.strip()!r} is no IP address") from None
    if len(ips) > 2:
        raise BadRequest(f"{field}: {len(ips)} addresses; name one, or one of each family")
    if len(ips) == 2 and ips[0][0] == ips[1][0]:
        raise BadRequest(f"{field}: two addresses of one family; name one, or one of each family")
    return msgspec.structs.replace(request, ips=tuple(sorted(ips)))


def _families(service: Service) -> tuple[int, ...]:
    """The families of the clusterIPs; of two the primary one first: the first of ipFamilies, else IPv4."""
    spec = service.spec
    texts = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    if not texts:
        raise Unservable("spec.clusterIPs: none yet")
    try:
        families = {parse_ip(text)[0] for text in texts}
    except ValueError:
        told = ", ".join(texts)
        raise Unservable(f"spec.clusterIPs: {told}: a LoadBalancer needs real clusterIPs") from None
    if len(families) != len(texts):
        raise Unservable("spec.clusterIPs: two of one family")
    six_first = (spec.ip_families or ("IPv4",))[0] == "IPv6"
    return tuple(sorted(families, reverse=six_first))


def _sharing(service: Service) -> Sharing:
    """The identity that sharing compares (MetalLB: internal/allocator, backend key of policy Local)."""
    spec = service.spec
    local = spec.external_traffic_policy == "Local"
    selector = ",".join(f"{key}={value}" for key, value in sorted((spec.selector or {}).items()))
    return Sharing(
        key=annotation(service, "allow-shared-ip"),
        backend=f"local:{selector}" if local else "",
        ports=frozenset((port.protocol, port.port) for port in spec.ports or ()),
    )


def deprecated(service: Service) -> str:
    """The first annotation under the old prefix, empty without one."""
    old = PREFIXES[1].rstrip("/")
    return min((key for key in service.metadata.annotations or {} if key.startswith(old)), default="")


def held(body: bytes) -> Iterator[Ip]:
    """The addresses in the status of a Service that could not be decoded, as far as they can be made out."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield from held_in(msgspec.json.decode(body))


def held_in(document: Mapping[str, Any]) -> Iterator[Ip]:
    """The same of one that is read already, whatever it holds."""
    try:
        entries = document["status"]["loadBalancer"]["ingress"]
        texts = [entry["ip"] for entry in entries if isinstance(entry, dict) and "ip" in entry]
    except (LookupError, TypeError):
        return
    for text in texts:
        if isinstance(text, str):
            with contextlib.suppress(ValueError):
                yield parse_ip(text)


def conflicts(found: Iterable[AddressConflict]) -> Iterator[Ip]:
    """The addresses that speakers found taken; one that cannot be read says nothing."""
    for each in found:
        try:
            yield parse_ip(each.spec.address)
        except ValueError:
            continue

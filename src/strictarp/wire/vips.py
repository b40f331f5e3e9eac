"""The addresses that Services show to the outside, from the objects of the API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from strictarp.kube.objects import Service

IpAddress: TypeAlias = IPv4Address | IPv6Address


def service_vips(services: Iterable[Service]) -> Mapping[IpAddress, tuple[str, ...]]:
    """Each LoadBalancer ingress address and external IP → its Services, `namespace/name`.

    In the order of addresses, IPv4 first. Text that is no address is passed over: the API refuses it, and it
    cannot be asked for. Several Services may share an address (allow-shared-ip).
    """
    found: dict[IpAddress, set[str]] = {}
    for service in services:
        for address in _addresses(service):
            found.setdefault(address, set()).add(service.key)
    ordered = sorted(found, key=lambda each: (each.version, int(each)))
    return {address: tuple(sorted(found[address])) for address in ordered}


def _addresses(service: Service) -> Iterator[IpAddress]:
    spec = service.spec
    if spec.type == "ExternalName":  # nothing is programmed for it, whatever else it says
        return
    texts = list(spec.external_ips or ())
    if spec.type == "LoadBalancer":
        texts += [each.ip for each in service.status.load_balancer.ingress or () if each.ip]
    for text in texts:
        try:
            yield ip_address(text)
        except ValueError:
            continue

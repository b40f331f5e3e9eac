"""What of Services and EndpointSlices the proxy keeps in memory: what plans are made of. Pure.

A cluster's objects are most of a proxy's memory, and they say the same things over and over: what is equal is
kept once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from sys import intern
from typing import TypeVar

import msgspec

from strictarp.kube import objects
from strictarp.kube.model import Metadata
from strictarp.kube.objects import Endpoint, EndpointConditions, EndpointSlice, Service
from strictarp.proxy.metrics import TRIGGER_ANNOTATION
from strictarp.proxy.services import HEADLESS_LABEL, PROXY_NAME_LABEL, SCHEDULER_ANNOTATION
from strictarp.proxy.store import SERVICE_NAME_LABEL

T = TypeVar("T")

_SHARED = 4096
"""Different values that are remembered to be shared."""
_LABELS = (SERVICE_NAME_LABEL, PROXY_NAME_LABEL, HEADLESS_LABEL)
_USUAL = EndpointConditions(ready=True, serving=True, terminating=False)
_ANNOTATIONS = (SCHEDULER_ANNOTATION, TRIGGER_ANNOTATION)


def lean_service(service: Service) -> Service:
    """A Service without what no plan reads."""
    spec = service.spec
    return Service(
        _metadata(service.metadata),
        msgspec.structs.replace(
            spec,
            type=intern(spec.type),
            cluster_ips=_addresses(spec.cluster_ip, spec.cluster_ips),
            ip_families=_shared(spec.ip_families),
            ip_family_policy=None,
            ports=_shared(spec.ports),
            selector=None,
            external_traffic_policy=_shared(spec.external_traffic_policy),
            internal_traffic_policy=_shared(spec.internal_traffic_policy),
            session_affinity=_shared(spec.session_affinity),
        ),
        _shared(msgspec.structs.replace(service.status, conditions=None)),
    )


def lean_slice(piece: EndpointSlice) -> EndpointSlice:
    """An EndpointSlice without what no plan reads."""
    ends = piece.endpoints
    return EndpointSlice(
        _metadata(piece.metadata),
        intern(piece.address_type),
        _endpoints(ends) if ends is not None else None,
        _shared(piece.ports),
    )


SERVICES = objects.SERVICES.keeping(lean_service)
ENDPOINTSLICES = objects.ENDPOINTSLICES.keeping(lean_slice)


def _endpoints(ends: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Only the first address of an endpoint counts; zones count where hints name them."""
    kept = []
    conditions = _USUAL
    for end in ends:
        if end.conditions != conditions:
            conditions = _shared(end.conditions)
        node, hints = end.node_name, end.hints
        node = node if node is None else intern(node)
        hints = hints if hints is None else _shared(hints)
        kept.append(Endpoint(end.addresses[:1], conditions, node, None, hints))
    return tuple(kept)


def _metadata(meta: Metadata) -> Metadata:
    return Metadata(
        name=meta.name,
        namespace=intern(meta.namespace),
        uid=meta.uid,
        resource_version=meta.resource_version,
        creation_timestamp=intern(meta.creation_timestamp),
        labels=_only(meta.labels, _LABELS),
        annotations=_only(meta.annotations, _ANNOTATIONS),
    )


def _only(words: Mapping[str, str] | None, wanted: tuple[str, ...]) -> dict[str, str] | None:
    if not words:
        return None
    return {name: words[name] for name in wanted if name in words} or None


def _addresses(first: str | None, listed: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The list repeats the single address."""
    if first is None or not listed or listed[0] != first:
        return listed
    return (first, *listed[1:])


def _shared(value: T) -> T:
    """The first of the values that are equal to this one, of those that are remembered."""
    first: T = _first(value)  # type: ignore[assignment]
    return first


@lru_cache(maxsize=_SHARED)
def _first(value: object) -> object:
    return value

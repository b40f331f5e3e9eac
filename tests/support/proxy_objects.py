"""Kubernetes objects as the proxy's tests write them: short, and valid for the API server too."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strictarp.kube.objects import EndpointSlice, Service


def service_body(
    name: str,
    cluster_ip: str,
    *,
    ports: Iterable[dict[str, object]] = ({"name": "http", "port": 80, "targetPort": 8080},),
    ingress: Iterable[object] = (),
    created: str = "2024-01-01T00:00:00Z",
    namespace: str = "default",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: object,
) -> dict[str, object]:
    metadata: dict[str, object] = {"name": name, "namespace": namespace, "creationTimestamp": created}
    if labels:
        metadata["labels"] = labels
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"clusterIP": cluster_ip, "ports": list(ports), **spec},
        "status": {
            "loadBalancer": {"ingress": [{"ip": ip} if isinstance(ip, str) else ip for ip in ingress]}
        },
    }


def slice_body(
    service: str,
    endpoints: Iterable[object],
    *,
    name: str = "",
    ports: Iterable[dict[str, object]] = ({"name": "http", "port": 8080, "protocol": "TCP"},),
    namespace: str = "default",
    kind: str = "IPv4",
    labels: dict[str, str] | None = None,
) -> dict[str, object]:
    """Endpoints: an address, (address, node) or a whole document. `kind`: addressType."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{service}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service, **(labels or {})},
        },
        "addressType": kind,
        "endpoints": [_endpoint(endpoint) for endpoint in endpoints],
        "ports": list(ports),
    }


def _endpoint(endpoint: object) -> object:
    if isinstance(endpoint, str):
        return {"addresses": [endpoint]}
    if isinstance(endpoint, tuple):
        return {"addresses": [endpoint[0]], "nodeName": endpoint[1]}
    return endpoint


def service(name: str, cluster_ip: str, **rest: object) -> Service:
    return msgspec.convert(service_body(name, cluster_ip, **rest), Service)  # type: ignore[arg-type]


def endpoint_slice(service: str, endpoints: Iterable[object], **rest: object) -> EndpointSlice:
    return msgspec.convert(slice_body(service, endpoints, **rest), EndpointSlice)  # type: ignore[arg-type]

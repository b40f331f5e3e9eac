"""The cluster that benchmarks work on, as an API server shows it: Services with five endpoints each.

Documents carry what real ones do, managedFields and owners too: reading past those is part of the work.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Address

NODE = "node-x"
ENDPOINTS = 5
NODES = 100
_PODS_EACH = 103
"""Addresses that endpoints of a Service come from: one that still drains does not come again."""
SERVICE_CIDR = "10.96.0.0/12"
_FIRST_IP, _FIRST_POD = int(IPv4Address("10.96.1.0")), int(IPv4Address("10.128.0.0"))
_CREATED = "2026-01-01T00:00:00Z"
_SELECTS: dict[str, str] = {"app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "shop-production"}


def cluster_ip(number: int) -> str:
    """Address of a Service."""
    return str(IPv4Address(_FIRST_IP + number))


def pod_ip(number: int) -> str:
    """Address of a pod."""
    return str(IPv4Address(_FIRST_POD + number))


def name(number: int) -> str:
    """Name of a Service."""
    return f"shop-{number:05d}"


def service(number: int) -> dict[str, object]:
    """A Service of type ClusterIP with one port."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name(number),
            "namespace": "default",
            "uid": f"6f1c0000-0000-4000-8000-{number:012d}",
            "creationTimestamp": _CREATED,
            "labels": _SELECTS | {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "default"},
            "managedFields": _managed("helm", ["f:metadata", "f:spec", "f:internalTrafficPolicy", "f:ports"]),
        },
        "spec": {
            "clusterIP": cluster_ip(number),
            "clusterIPs": [cluster_ip(number)],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            "selector": _SELECTS,
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def piece(number: int, version: int = 0, *, on: str = "") -> dict[str, object]:
    """The EndpointSlice of a Service. In each version after the first one endpoint has a new address.

    on: the node of that endpoint, if it matters.
    """
    first = number * _PODS_EACH
    pods = [first + slot for slot in range(ENDPOINTS)]
    if version:
        pods[0] = _changed(number, version)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name(number)}-x7k2p",
            "generateName": f"{name(number)}-",
            "namespace": "default",
            "uid": f"7f1c0000-0000-4000-8000-{number:012d}",
            "creationTimestamp": _CREATED,
            "labels": _SELECTS
            | {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": name(number),
            },
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": _CREATED},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": name(number),
                    "uid": f"6f1c0000-0000-4000-8000-{number:012d}",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": _managed("kube-controller-manager", ["f:addressType", "f:endpoints", "f:ports"]),
        },
        "addressType": "IPv4",
        "endpoints": [_endpoint(number, pod, on if not slot else "") for slot, pod in enumerate(pods)],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def _changed(number: int, version: int) -> int:
    return number * _PODS_EACH + ENDPOINTS + version % (_PODS_EACH - ENDPOINTS)


def changed_ip(number: int, version: int) -> str:
    """Address of the endpoint that came with a version."""
    return pod_ip(_changed(number, version))


def _endpoint(number: int, pod: int, on: str) -> dict[str, object]:
    return {
        "addresses": [pod_ip(pod)],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": on or f"node-{pod % NODES}",
        "zone": f"zone-{pod % 3}",
        "targetRef": {
            "kind": "Pod",
            "name": f"{name(number)}-5d4f8c7b9-{pod:07d}",
            "namespace": "default",
            "uid": f"8f1c0000-0000-4000-8000-{pod:012d}",
        },
    }


def _managed(manager: str, fields: list[str]) -> list[dict[str, object]]:
    return [
        {
            "manager": manager,
            "operation": "Update",
            "apiVersion": "v1",
            "time": _CREATED,
            "fieldsType": "FieldsV1",
            "fieldsV1": {field: {".": {}, "f:name": {}} for field in fields},
        }
    ]


def page(documents: list[dict[str, object]], version: int = 1) -> bytes:
    """A page of a list, as the API server writes it."""
    for document in documents:
        metadata = document["metadata"]
        assert isinstance(metadata, dict)
        metadata["resourceVersion"] = str(version)
    return json.dumps({"metadata": {"resourceVersion": str(version)}, "items": documents}).encode()


def node() -> dict[str, object]:
    """The node that is served."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": NODE,
            "uid": "5f1c0000-0000-4000-8000-000000000001",
            "creationTimestamp": _CREATED,
        },
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    }

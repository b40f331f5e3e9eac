"""ServiceL2Status objects: which Services this node announces, as MetalLB's users look it up. Pure.

One object for a Service and node, in the speaker's namespace; its labels and status are MetalLB's. A status
names its node for good (the definition's CEL rule), so an address that moves gets another object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

from strictarp.kube.custom import SERVICEL2STATUSES
from strictarp.speaker import advertising
from strictarp.speaker.candidates import Verdict

NODE_LABEL = "metallb.io/node"
NAME_LABEL = "metallb.io/service-name"
NAMESPACE_LABEL = "metallb.io/service-namespace"
_LONGEST_LABEL = 63

Interfaces = tuple[str, ...]
"""Links that a Service is announced on; empty: all."""


def wanted(verdicts: Iterable[Verdict], owned: Collection[bytes], node: str) -> dict[str, Interfaces]:
    """Service → its interfaces, of those whose first address (that can be announced) this node owns."""
    found = {}
    for verdict in verdicts:
        first = next((each for each in verdict.addresses if verdict.order_of(each)), None)
        if first is not None and first.packed in owned:
            found[verdict.service] = tuple(sorted(advertising.interfaces_of(verdict.matching, node)))
    return found


def object_name(service: str, node: str) -> str:
    """Of the object for a Service (`namespace/name`) and a node: the same for every life of the speaker."""
    return "l2-" + hashlib.sha256(f"{service}#{node}".encode()).hexdigest()[:20]


def label_value(name: str) -> str:
    """A name as the value of a label, cut where a label ends (node names may be longer)."""
    return name[:_LONGEST_LABEL].rstrip("-._")


def selector_of_node(node: str) -> str:
    """All objects of a node."""
    return f"{NODE_LABEL}={label_value(node)}"


def selector_of_service(service: str) -> str:
    """All objects about a Service, of whatever node."""
    namespace, _, name = service.partition("/")
    return f"{NAME_LABEL}={name},{NAMESPACE_LABEL}={namespace}"


def body(service: str, node: str) -> dict[str, object]:
    """The object to create; its status is written apart."""
    namespace, _, name = service.partition("/")
    return {
        "apiVersion": SERVICEL2STATUSES.api_version,
        "kind": SERVICEL2STATUSES.kind,
        "metadata": {
            "name": object_name(service, node),
            "labels": {NODE_LABEL: label_value(node), NAME_LABEL: name, NAMESPACE_LABEL: namespace},
        },
        "spec": {},
    }


def status(service: str, node: str, interfaces: Interfaces) -> dict[str, object]:
    """What to merge into the object's status."""
    namespace, _, name = service.partition("/")
    return {
        "status": {
            "node": node,
            "serviceName": name,
            "serviceNamespace": namespace,
            "interfaces": [{"name": each} for each in interfaces],
        }
    }


def differences(
    wanted: Mapping[str, Interfaces], written: Mapping[str, Interfaces]
) -> tuple[list[str], list[str]]:
    """Services to write, and Services whose object is to be deleted."""
    return (
        [service for service, interfaces in wanted.items() if written.get(service) != interfaces],
        [service for service in written if service not in wanted],
    )

"""What the API says of the other nodes, for hearing them: members, cluster and keys. Pure."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterable

from strictarp.hello.auth import Keys
from strictarp.hello.ids import cluster_id, node_id
from strictarp.kube.objects import Namespace, Node, Secret
from strictarp.proxy.addresses import pack
from strictarp.proxy.liveness import Member

log = logging.getLogger(__name__)

SECRET = "strictarp-hello"  # noqa: S105 - the name of one


def members(nodes: Iterable[Node], own: str) -> dict[int, Member]:
    """Node id → the other nodes that have an IPv4 InternalIP."""
    found = {}
    for node in nodes:
        for entry in node.status.addresses or ():
            address = pack(entry.address) if entry.type == "InternalIP" else None
            if address is not None and len(address) == 4 and node.metadata.name != own:
                found[node_id(node.metadata.name)] = Member(node.metadata.name, address)
                break
    return found


def cluster(kube_system: Namespace | None) -> int | None:
    """The cluster's id on the wire, None while it is not known."""
    uid = kube_system.metadata.uid if kube_system else ""
    return cluster_id(uid) if uid else None


def keys(secret: Secret | None) -> Keys | None:
    """The keys of the Secret strictarp-hello; None without a usable one, which is logged."""
    if secret is None or not secret.data:
        return None
    try:
        current, previous = (
            base64.b64decode(secret.data.get(name) or "", validate=True) for name in ("key", "previous")
        )
        return Keys(current, previous)
    except (binascii.Error, ValueError) as error:
        log.error("Secret %s: data: %s; hellos are not read", secret.key, error)
        return None

"""What the API says of the other nodes, for hearing them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from strictarp.hello.ids import node_id
from strictarp.kube.objects import Node
from strictarp.proxy.addresses import pack
from strictarp.proxy.liveness import Member


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

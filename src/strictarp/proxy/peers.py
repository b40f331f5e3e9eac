"""What the API says of the other nodes, for hearing them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from strictarp.hello.ids import node_id
from strictarp.kube.objects import Node
from strictarp.proxy.addresses import pack
from strictarp.proxy.liveness import Member


def members(nodes: Iterable[Node], own: str) -> dict[int, Member]:
    """Node id → the other nodes that have an InternalIP, with the first one of each family."""
    found = {}
    for node in nodes:
        packed = [pack(entry.address) for entry in node.status.addresses or () if entry.type == "InternalIP"]
        four, six = (next((a for a in packed if a and len(a) == width), b"") for width in (4, 16))
        if (four or six) and node.metadata.name != own:
            found[node_id(node.metadata.name)] = Member(node.metadata.name, four, six)
    return found

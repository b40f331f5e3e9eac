"""What the doctor has seen: of the cluster, of its nodes, on the wire. Pure values.

A part that could not be looked at is None (or missing, for a node), and the reason stands in `blind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import msgspec

from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.node.scene import Scene
from strictarp.doctor.node.view import NodeView
from strictarp.doctor.wire_view import WireView

NODE = "node "
"""What the keys of `Evidence.blind` for a node begin with: `node n1`."""
VIP = "VIP "
"""What those for an address begin with that could not be asked for: `VIP 192.0.2.10`."""


class Evidence(msgspec.Struct, frozen=True, dict=True):
    """All of it.

    blind: what could not be looked at → why, and what is needed. Keys: a part (`cluster`, `nodes`, `wire`),
    one node (`node n1`), one address (`VIP 192.0.2.10`), or one kind of the API by its plural (`secrets`).
    """

    cluster: ClusterView | None = None
    nodes: Mapping[str, NodeView] = {}
    wire: WireView | None = None
    blind: Mapping[str, str] = {}

    @cached_property
    def scene(self) -> Scene:
        """What the nodes and the cluster amount to together."""
        return Scene(self.cluster, self.nodes)

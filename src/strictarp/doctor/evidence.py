"""What the doctor has seen: of the cluster, of its nodes, on the wire. Pure values.

A part that could not be looked at is None (or missing, for a node), and the reason stands in `blind`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.doctor.node.view import NodeView


class ClusterView(msgspec.Struct, frozen=True):
    """What the API shows."""


class WireView(msgspec.Struct, frozen=True):
    """What answered on the wire."""


class Evidence(msgspec.Struct, frozen=True):
    """All of it. blind: part or node → why it could not be looked at, and what is needed."""

    cluster: ClusterView | None = None
    nodes: Mapping[str, NodeView] = {}
    wire: WireView | None = None
    blind: Mapping[str, str] = {}

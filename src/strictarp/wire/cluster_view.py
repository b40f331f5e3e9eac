"""What the API shows of external addresses, nodes and announcers. Pure; read by `cluster_reading`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.kube.objects import Node
from strictarp.wire.announcers import Announcer
from strictarp.wire.vips import IpAddress


class ClusterView(msgspec.Struct, frozen=True):
    """vips: address → Services. unseen: what we were not allowed to read, and only names culprits better."""

    vips: Mapping[IpAddress, tuple[str, ...]] = {}
    nodes: tuple[Node, ...] = ()
    announcers: Mapping[IpAddress, tuple[Announcer, ...]] = {}
    unseen: tuple[str, ...] = ()

"""What was fetched from the API, and from the status pages of our daemons. Pure values."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.cluster.signs import Signs
from strictarp.doctor.kinds import (
    BGPAdvertisement,
    CiliumL2AnnouncementPolicy,
    DaemonSet,
    FelixConfiguration,
    Pod,
)
from strictarp.kube.custom import (
    AddressConflict,
    ConfigurationState,
    IPAddressPool,
    L2Advertisement,
)
from strictarp.kube.objects import (
    ConfigMap,
    EndpointSlice,
    Lease,
    Namespace,
    Node,
    Secret,
    Service,
)
from strictarp.wire import announcers as wire_announcers
from strictarp.wire.vips import IpAddress


class ProxyAnswer(msgspec.Struct, frozen=True):
    """What a node's proxy says at `/strictarp`. told: False for one that does not know the question."""

    node: str
    told: bool
    requested: bool = False
    in_force: bool = False
    reason: str = ""


class SpeakerAnswer(msgspec.Struct, frozen=True):
    """What the metrics of a node's speaker say, as far as they are read."""

    node: str
    has_key: bool = True
    members: int = 0
    reports: Mapping[str, int] = {}
    refused: Mapping[str, int] = {}


class Objects(msgspec.Struct, frozen=True):
    """The objects, by kind; a kind that is not installed, or may not be read, is empty.

    version: of the API server. signs: what tells who installed the cluster. configured_at: when the text of
    the proxies' ConfigMap was last written (RFC 3339), "" if it is not known. leases: those that have not run
    out. announced: VIP → the nodes that are said to announce it. secret: that of the speakers' hellos.
    """

    version: str = ""
    signs: Signs = Signs()
    nodes: tuple[Node, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    pods: tuple[Pod, ...] = ()
    daemonsets: tuple[DaemonSet, ...] = ()
    configmaps: tuple[ConfigMap, ...] = ()
    leases: tuple[Lease, ...] = ()
    pools: tuple[IPAddressPool, ...] = ()
    advertisements: tuple[L2Advertisement, ...] = ()
    bgp_advertisements: tuple[BGPAdvertisement, ...] = ()
    configuration_states: tuple[ConfigurationState, ...] = ()
    conflicts: tuple[AddressConflict, ...] = ()
    felix: tuple[FelixConfiguration, ...] = ()
    cilium_policies: tuple[CiliumL2AnnouncementPolicy, ...] = ()
    announced: Mapping[IpAddress, tuple[wire_announcers.Announcer, ...]] = {}
    secret: Secret | None = None
    configured_at: str = ""
    proxies: tuple[ProxyAnswer, ...] = ()
    speakers: tuple[SpeakerAnswer, ...] = ()

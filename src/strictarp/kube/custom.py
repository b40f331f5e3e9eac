"""Objects of custom kinds: MetalLB's, used as they are, and our own. Pure."""

from __future__ import annotations

import msgspec

from strictarp.kube.model import Condition, KubeObject, LabelSelector, Model, Resource

# --- metallb.io/v1beta1 ----------------------------------------------------------------------------------


class ServiceAllocation(Model, frozen=True):
    """Which Services a pool is for."""

    priority: int = 0
    namespaces: tuple[str, ...] | None = None
    namespace_selectors: tuple[LabelSelector, ...] | None = None
    service_selectors: tuple[LabelSelector, ...] | None = None


class IPAddressPoolSpec(Model, frozen=True):
    """IPAddressPool.spec."""

    addresses: tuple[str, ...] = ()
    auto_assign: bool | None = None
    avoid_buggy_ips: bool = msgspec.field(default=False, name="avoidBuggyIPs")
    service_allocation: ServiceAllocation | None = None


class IPAddressPoolStatus(Model, frozen=True):
    """IPAddressPool.status."""

    assigned_ipv4: int = msgspec.field(default=0, name="assignedIPv4")
    assigned_ipv6: int = msgspec.field(default=0, name="assignedIPv6")
    available_ipv4: int = msgspec.field(default=0, name="availableIPv4")
    available_ipv6: int = msgspec.field(default=0, name="availableIPv6")


class IPAddressPool(KubeObject, frozen=True):
    """metallb.io/v1beta1 IPAddressPool."""

    spec: IPAddressPoolSpec = IPAddressPoolSpec()
    status: IPAddressPoolStatus | None = None


class PreferredNodes(Model, frozen=True):
    """A weighted preference for nodes."""

    weight: int
    preference: LabelSelector = LabelSelector()


class L2AdvertisementSpec(Model, frozen=True):
    """L2Advertisement.spec."""

    ip_address_pools: tuple[str, ...] | None = msgspec.field(default=None, name="ipAddressPools")
    ip_address_pool_selectors: tuple[LabelSelector, ...] | None = msgspec.field(
        default=None, name="ipAddressPoolSelectors"
    )
    node_selectors: tuple[LabelSelector, ...] | None = None
    interfaces: tuple[str, ...] | None = None
    service_selectors: tuple[LabelSelector, ...] | None = None
    preferred_node_selectors: tuple[PreferredNodes, ...] | None = None


class L2Advertisement(KubeObject, frozen=True):
    """metallb.io/v1beta1 L2Advertisement."""

    spec: L2AdvertisementSpec = L2AdvertisementSpec()


class InterfaceName(Model, frozen=True):
    """A link of ServiceL2Status.status."""

    name: str = ""


class ServiceL2StatusStatus(Model, frozen=True):
    """ServiceL2Status.status."""

    node: str = ""
    service_name: str = ""
    service_namespace: str = ""
    interfaces: tuple[InterfaceName, ...] | None = None


class ServiceL2Status(KubeObject, frozen=True):
    """metallb.io/v1beta1 ServiceL2Status: the node that announces a Service."""

    status: ServiceL2StatusStatus = ServiceL2StatusStatus()


class ConfigurationStateStatus(Model, frozen=True):
    """ConfigurationState.status."""

    result: str = "Unknown"
    error_summary: str = ""
    conditions: tuple[Condition, ...] | None = None


class ConfigurationState(KubeObject, frozen=True):
    """metallb.io/v1beta1 ConfigurationState: whether a component could use the configuration."""

    status: ConfigurationStateStatus = ConfigurationStateStatus()


# --- strictarp.io/v1alpha1 -------------------------------------------------------------------------------


class AddressConflictSpec(Model, frozen=True):
    """AddressConflict.spec: who answers for an address, seen from which node, when (RFC 3339)."""

    address: str = ""
    mac: str = ""
    node: str = ""
    service: str = ""
    seen: str | None = None


class AddressConflict(KubeObject, frozen=True):
    """strictarp.io/v1alpha1 AddressConflict: an address found taken before it was ever announced."""

    spec: AddressConflictSpec = AddressConflictSpec()


class Audited(Model, frozen=True):
    """What the owner's questions on the wire found: MACs, and when that was found first (RFC 3339)."""

    answerers: tuple[str, ...] = ()
    at: str | None = None


class AnnouncedAddressSpec(Model, frozen=True):
    """AnnouncedAddress.spec."""

    address: str = ""


class AddressState(Model, frozen=True):
    """AnnouncedAddress.status: who answers for the address, by which MAC and link, since when (RFC 3339); who
    would go on; what the wire shows.
    """

    node: str | None = None
    mac: str | None = None
    interface: str | None = None
    since: str | None = None
    services: tuple[str, ...] | None = None
    runner_up: str | None = None
    audit: Audited | None = None


class AnnouncedAddress(KubeObject, frozen=True):
    """strictarp.io/v1alpha1 AnnouncedAddress: who answers for an address."""

    spec: AnnouncedAddressSpec = AnnouncedAddressSpec()
    status: AddressState = AddressState()


# --- resources -------------------------------------------------------------------------------------------


IPADDRESSPOOLS = Resource("metallb.io/v1beta1", "ipaddresspools", IPAddressPool)
L2ADVERTISEMENTS = Resource("metallb.io/v1beta1", "l2advertisements", L2Advertisement)
CONFIGURATIONSTATES = Resource("metallb.io/v1beta1", "configurationstates", ConfigurationState)
SERVICEL2STATUSES = Resource("metallb.io/v1beta1", "servicel2statuses", ServiceL2Status)
ANNOUNCEDADDRESSES = Resource("strictarp.io/v1alpha1", "announcedaddresses", AnnouncedAddress)
ADDRESSCONFLICTS = Resource("strictarp.io/v1alpha1", "addressconflicts", AddressConflict)

ANNOUNCE_AGAIN = "strictarp.io/announce-again"
"""Annotation of a Service: when its value changes, the owner announces the Service's addresses again."""

MOVE_TO = "strictarp.io/move-to"
"""Annotation of a Service: the node that its addresses are to be handed over to."""

DRAIN = "strictarp.io/drain"
"""Annotation of a Node: its speaker hands over what it owns, and owns nothing while another one can. Any
value but `false`; `strictarp drain` writes the time.
"""

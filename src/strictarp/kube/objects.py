"""Kubernetes objects, as the structs that hold only the fields in use.

Objects are decoded once, at the edge, straight into these structs; unknown fields are skipped while
decoding and never kept. So an object read through them must not be written back whole: writes are merge
patches, or replacements of the raw document. Names of fields are those of the API, in snake case.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from strictarp.kube.custom import (
    ADDRESSCONFLICTS,
    ANNOUNCEDADDRESSES,
    CONFIGURATIONSTATES,
    IPADDRESSPOOLS,
    L2ADVERTISEMENTS,
)
from strictarp.kube.model import Condition, KubeObject, Metadata, Model, Resource

# --- core/v1 ---------------------------------------------------------------------------------------------


class ServicePort(Model, frozen=True):
    """One port of a Service."""

    port: int
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    node_port: int = 0
    target_port: int | str | None = None


class ClientIPConfig(Model, frozen=True):
    """Time limit of a client's affinity, in seconds."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Model, frozen=True):
    """Settings of session affinity."""

    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Model, frozen=True):
    """Service.spec."""

    type: str = "ClusterIP"
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ip_families: tuple[str, ...] | None = None
    ip_family_policy: str | None = None
    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    external_name: str | None = None
    load_balancer_ip: str | None = msgspec.field(default=None, name="loadBalancerIP")
    load_balancer_class: str | None = None
    load_balancer_source_ranges: tuple[str, ...] | None = None
    external_traffic_policy: str | None = None
    internal_traffic_policy: str | None = None
    health_check_node_port: int = 0
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    publish_not_ready_addresses: bool = False
    allocate_load_balancer_node_ports: bool | None = None
    traffic_distribution: str | None = None


class Ingress(Model, frozen=True):
    """One entry of Service.status.loadBalancer.ingress."""

    ip: str | None = None
    hostname: str | None = None
    ip_mode: str | None = None


class LoadBalancerStatus(Model, frozen=True):
    """Service.status.loadBalancer."""

    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(Model, frozen=True):
    """Service.status."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] | None = None


class Service(KubeObject, frozen=True):
    """core/v1 Service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class NodeAddress(Model, frozen=True):
    """One entry of Node.status.addresses."""

    type: str
    address: str


class Taint(Model, frozen=True):
    """A taint of a Node."""

    key: str
    effect: str = ""
    value: str | None = None


class NodeSpec(Model, frozen=True):
    """Node.spec."""

    pod_cidr: str | None = msgspec.field(default=None, name="podCIDR")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")
    unschedulable: bool = False
    taints: tuple[Taint, ...] | None = None


class NodeStatus(Model, frozen=True):
    """Node.status."""

    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[Condition, ...] | None = None


class Node(KubeObject, frozen=True):
    """core/v1 Node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Namespace(KubeObject, frozen=True):
    """core/v1 Namespace."""


class ConfigMap(KubeObject, frozen=True):
    """core/v1 ConfigMap."""

    data: dict[str, str] | None = None


class Secret(KubeObject, frozen=True):
    """core/v1 Secret; values are base64 text as on the wire."""

    data: dict[str, str] | None = None
    type: str = "Opaque"


class PodIP(Model, frozen=True):
    """One entry of Pod.status.podIPs."""

    ip: str = ""


class PodSpec(Model, frozen=True):
    """Pod.spec."""

    node_name: str | None = None
    host_network: bool = False


class PodStatus(Model, frozen=True):
    """Pod.status."""

    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(default=None, name="podIPs")
    conditions: tuple[Condition, ...] | None = None
    start_time: str | None = None


class Pod(KubeObject, frozen=True):
    """core/v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ObjectReference(Model, frozen=True):
    """What an Event is about."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""


class EventSource(Model, frozen=True):
    """Who reports an Event."""

    component: str = ""
    host: str = ""


class Event(KubeObject, frozen=True):
    """core/v1 Event."""

    involved_object: ObjectReference = ObjectReference()
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    count: int | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    source: EventSource = EventSource()


# --- apps/v1, coordination/v1, discovery/v1 --------------------------------------------------------------


class PodTemplate(Model, frozen=True):
    """The parts of a PodTemplateSpec that a rollout depends on."""

    metadata: Metadata = Metadata()


class DaemonSetSpec(Model, frozen=True):
    """DaemonSet.spec."""

    template: PodTemplate = PodTemplate()


class DaemonSetStatus(Model, frozen=True):
    """DaemonSet.status."""

    observed_generation: int = 0
    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_ready: int = 0


class DaemonSet(KubeObject, frozen=True):
    """apps/v1 DaemonSet."""

    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()


class LeaseSpec(Model, frozen=True):
    """Lease.spec; times are RFC 3339 with microseconds."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(KubeObject, frozen=True):
    """coordination.k8s.io/v1 Lease."""

    spec: LeaseSpec = LeaseSpec()


class EndpointConditions(Model, frozen=True):
    """Conditions of an endpoint; absent means true, true, false (discovery/v1)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Model, frozen=True):
    """A zone or node that an endpoint is hinted for."""

    name: str


class EndpointHints(Model, frozen=True):
    """Topology hints of an endpoint."""

    for_zones: tuple[ForZone, ...] | None = None
    for_nodes: tuple[ForZone, ...] | None = None


class Endpoint(Model, frozen=True):
    """One endpoint of an EndpointSlice."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class EndpointPort(Model, frozen=True):
    """One port of an EndpointSlice."""

    name: str | None = None
    port: int | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None


class EndpointSlice(KubeObject, frozen=True):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


# --- resources -------------------------------------------------------------------------------------------


SERVICES = Resource("v1", "services", Service)
NODES = Resource("v1", "nodes", Node, namespaced=False)
NAMESPACES = Resource("v1", "namespaces", Namespace, namespaced=False)
CONFIGMAPS = Resource("v1", "configmaps", ConfigMap)
SECRETS = Resource("v1", "secrets", Secret)
PODS = Resource("v1", "pods", Pod)
EVENTS = Resource("v1", "events", Event)
DAEMONSETS = Resource("apps/v1", "daemonsets", DaemonSet)
LEASES = Resource("coordination.k8s.io/v1", "leases", Lease)
ENDPOINTSLICES = Resource("discovery.k8s.io/v1", "endpointslices", EndpointSlice)

RESOURCES: tuple[Resource[Any], ...] = (
    SERVICES,
    NODES,
    NAMESPACES,
    CONFIGMAPS,
    SECRETS,
    PODS,
    EVENTS,
    DAEMONSETS,
    LEASES,
    ENDPOINTSLICES,
    IPADDRESSPOOLS,
    L2ADVERTISEMENTS,
    CONFIGURATIONSTATES,
    ADDRESSCONFLICTS,
    ANNOUNCEDADDRESSES,
)

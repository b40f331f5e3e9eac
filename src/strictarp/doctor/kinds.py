"""Kubernetes objects as the doctor reads them: more of workloads than the daemons need, and other
products' kinds. Pure.

A kind that is not installed is simply not there; of the others only the fields that a check reads are kept.
"""

from __future__ import annotations

import msgspec

from strictarp.kube import objects
from strictarp.kube.model import Condition, KubeObject, Model, Resource

# --- workloads -------------------------------------------------------------------------------------------


class EnvVar(Model, frozen=True):
    """An environment variable of a container."""

    name: str = ""
    value: str | None = None


class Container(Model, frozen=True):
    """A container of a Pod."""

    name: str = ""
    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvVar, ...] | None = None


class PodSpec(Model, frozen=True):
    """Pod.spec."""

    node_name: str | None = None
    host_network: bool = False
    containers: tuple[Container, ...] | None = None


class Running(Model, frozen=True):
    """ContainerStatus.state.running."""

    started_at: str | None = None


class Waiting(Model, frozen=True):
    """ContainerStatus.state.waiting, and what .terminated has as well."""

    reason: str | None = None
    message: str | None = None


class ContainerState(Model, frozen=True):
    """ContainerStatus.state."""

    running: Running | None = None
    waiting: Waiting | None = None
    terminated: Waiting | None = None


class ContainerStatus(Model, frozen=True):
    """One entry of Pod.status.containerStatuses."""

    name: str = ""
    state: ContainerState = ContainerState()


class PodStatus(Model, frozen=True):
    """Pod.status."""

    phase: str | None = None
    start_time: str | None = None
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(KubeObject, frozen=True):
    """core/v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class PodTemplate(objects.PodTemplate, frozen=True):
    """PodTemplateSpec."""

    spec: PodSpec = PodSpec()


class DaemonSetSpec(objects.DaemonSetSpec, frozen=True):
    """DaemonSet.spec."""

    template: PodTemplate = PodTemplate()


class DaemonSet(objects.DaemonSet, frozen=True):
    """apps/v1 DaemonSet."""

    spec: DaemonSetSpec = DaemonSetSpec()


# --- other products --------------------------------------------------------------------------------------


class BGPAdvertisement(KubeObject, frozen=True):
    """metallb.io/v1beta1 BGPAdvertisement; that it is there is all that matters here."""


class FelixConfigurationSpec(Model, frozen=True):
    """FelixConfiguration.spec."""

    bpf_enabled: bool | None = None
    local_subnet_l2_reachability: str | None = msgspec.field(default=None, name="localSubnetL2Reachability")


class FelixConfiguration(KubeObject, frozen=True):
    """crd.projectcalico.org/v1 FelixConfiguration."""

    spec: FelixConfigurationSpec = FelixConfigurationSpec()


class CiliumL2AnnouncementPolicySpec(Model, frozen=True):
    """CiliumL2AnnouncementPolicy.spec."""

    external_ips: bool = msgspec.field(default=False, name="externalIPs")
    load_balancer_ips: bool = msgspec.field(default=False, name="loadBalancerIPs")


class CiliumL2AnnouncementPolicy(KubeObject, frozen=True):
    """cilium.io/v2alpha1 CiliumL2AnnouncementPolicy."""

    spec: CiliumL2AnnouncementPolicySpec = CiliumL2AnnouncementPolicySpec()


# --- resources -------------------------------------------------------------------------------------------

PODS = Resource("v1", "pods", Pod)
DAEMONSETS = Resource("apps/v1", "daemonsets", DaemonSet)
BGPADVERTISEMENTS = Resource("metallb.io/v1beta1", "bgpadvertisements", BGPAdvertisement)
FELIXCONFIGURATIONS = Resource(
    "crd.projectcalico.org/v1", "felixconfigurations", FelixConfiguration, namespaced=False
)
CILIUML2POLICIES = Resource(
    "cilium.io/v2alpha1", "ciliuml2announcementpolicies", CiliumL2AnnouncementPolicy, namespaced=False
)

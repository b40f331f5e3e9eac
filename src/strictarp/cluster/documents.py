"""The API's objects as far as they show who installed a cluster, and the signs in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from strictarp.cluster.signs import ConfigMapSigns, NodeSigns, WorkloadSigns
from strictarp.kube.model import KubeObject, Metadata, Model, Resource

MIRROR = "kubernetes.io/config.mirror"


class NodeInfo(Model, frozen=True):
    """Node.status.nodeInfo."""

    os_image: str = ""
    kubelet_version: str = ""


class NodeDocument(KubeObject, frozen=True):
    """A Node."""

    class Status(Model, frozen=True):
        """Node.status."""

        node_info: NodeInfo = NodeInfo()

    status: Status = Status()


class ConfigMapRef(Model, frozen=True):
    """A ConfigMap that a volume is made of."""

    name: str = ""


class Volume(Model, frozen=True):
    """A volume of a pod."""

    config_map: ConfigMapRef | None = None


class EnvVar(Model, frozen=True):
    """A variable of a container."""

    name: str = ""
    value: str = ""


class Container(Model, frozen=True):
    """A container of a pod."""

    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvVar, ...] | None = None


class PodSpecDocument(Model, frozen=True):
    """A pod's spec."""

    node_name: str = ""
    containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None


class Template(Model, frozen=True):
    """A pod template."""

    spec: PodSpecDocument = PodSpecDocument()


class DaemonSetDocument(KubeObject, frozen=True):
    """A DaemonSet."""

    class Spec(Model, frozen=True):
        """DaemonSet.spec."""

        template: Template = Template()

    class Status(Model, frozen=True):
        """DaemonSet.status."""

        desired_number_scheduled: int | None = None

    spec: Spec = Spec()
    status: Status = Status()


class PodDocument(KubeObject, frozen=True):
    """A Pod."""

    spec: PodSpecDocument = PodSpecDocument()


class ManagedFields(Model, frozen=True):
    """Who wrote some fields of an object."""

    manager: str = ""


class ConfigMapMetadata(Metadata, frozen=True):
    """With what shows who wrote a ConfigMap."""

    managed_fields: tuple[ManagedFields, ...] | None = None


class ConfigMapDocument(KubeObject, frozen=True):
    """A ConfigMap."""

    metadata: ConfigMapMetadata = ConfigMapMetadata()
    data: dict[str, str] | None = None


class FelixConfiguration(KubeObject, frozen=True):
    """crd.projectcalico.org/v1 FelixConfiguration."""

    class Spec(Model, frozen=True):
        """FelixConfiguration.spec."""

        bpf_enabled: bool | None = None

    spec: Spec = Spec()


NODE_DOCUMENTS = Resource("v1", "nodes", NodeDocument, namespaced=False)
CONFIGMAP_DOCUMENTS = Resource("v1", "configmaps", ConfigMapDocument)
DAEMONSET_DOCUMENTS = Resource("apps/v1", "daemonsets", DaemonSetDocument)
POD_DOCUMENTS = Resource("v1", "pods", PodDocument)
CALICO_GROUP = "crd.projectcalico.org"
FELIX = Resource(f"{CALICO_GROUP}/v1", "felixconfigurations", FelixConfiguration, namespaced=False)


def node_signs(node: NodeDocument) -> NodeSigns:
    """What a Node shows."""
    info, meta = node.status.node_info, node.metadata
    return NodeSigns(
        meta.name,
        meta.labels or {},
        meta.annotations or {},
        info.os_image,
        info.kubelet_version,
    )


def config_map_signs(config: ConfigMapDocument) -> ConfigMapSigns:
    """What a ConfigMap shows."""
    meta = config.metadata
    managers = tuple(dict.fromkeys(each.manager for each in meta.managed_fields or () if each.manager))
    return ConfigMapSigns(meta.name, config.data or {}, meta.labels or {}, meta.annotations or {}, managers)


def daemonset_signs(daemonset: DaemonSetDocument) -> WorkloadSigns:
    """What a DaemonSet shows."""
    signs = _workload(daemonset, daemonset.spec.template.spec)
    desired = daemonset.status.desired_number_scheduled
    return msgspec.structs.replace(signs, kind="DaemonSet", desired=desired)


def static_pods(pods: Iterable[PodDocument]) -> Iterator[WorkloadSigns]:
    """The mirror pods among them, by which a kubelet shows its static pods."""
    for pod in pods:
        if MIRROR in (pod.metadata.annotations or {}):
            signs = _workload(pod, pod.spec)
            yield msgspec.structs.replace(signs, kind="static pod", node=pod.spec.node_name)


def _workload(each: KubeObject, spec: PodSpecDocument) -> WorkloadSigns:
    containers, meta = spec.containers or (), each.metadata
    words = [word for one in containers for word in (*(one.command or ()), *(one.args or ()))]
    mounts = [volume.config_map.name for volume in spec.volumes or () if volume.config_map is not None]
    return WorkloadSigns(
        "DaemonSet",
        meta.namespace,
        meta.name,
        images=tuple(one.image for one in containers if one.image),
        command=tuple(words),
        env={var.name: var.value for one in containers for var in one.env or ()},
        config_maps=tuple(mounts),
        labels=meta.labels or {},
        annotations=meta.annotations or {},
    )

"""Reading the signs of a cluster from its API. Thin; what may not be read is told as unread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from strictarp.cluster.documents import (
    CALICO_GROUP,
    CONFIGMAP_DOCUMENTS,
    DAEMONSET_DOCUMENTS,
    FELIX,
    NODE_DOCUMENTS,
    POD_DOCUMENTS,
    config_map_signs,
    daemonset_signs,
    node_signs,
    static_pods,
)
from strictarp.cluster.signs import PROXY, SYSTEM, ConfigMapSigns, Signs, WorkloadSigns, is_proxy
from strictarp.kube.client import Client
from strictarp.kube.errors import ApiError, Forbidden, NotFound, Unauthorized
from strictarp.kube.model import KubeObject, Resource

T = TypeVar("T", bound=KubeObject)
TELLING = (PROXY, "kubeadm-config", "cilium-config")
"""ConfigMaps that are looked at by name, besides those that the proxies mount."""


class _Reader:
    """Asks, and notes what it may not have."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.unread: list[str] = []

    async def list(self, res: Resource[T], namespace: str = "") -> tuple[T, ...] | None:
        """All objects, None where that is not allowed. Raises KubeError for all else."""
        try:
            return (await self.client.list(res, namespace)).items
        except (Forbidden, NotFound) as error:
            self.unread.append(str(error))
            return None

    async def get(self, res: Resource[T], name: str, namespace: str = "") -> T | None:
        """One object, None where there is none or it is not shown."""
        try:
            return await self.client.get(res, name, namespace)
        except NotFound:
            return None
        except Forbidden as error:
            self.unread.append(str(error))
            return None


async def read_signs(client: Client) -> Signs:
    """All signs that there are. Raises KubeError when the API is away, or shows not even that."""
    reader = _Reader(client)
    nodes = await reader.list(NODE_DOCUMENTS)
    workloads = await _daemonsets(reader)
    if not any(is_proxy(each) for each in workloads):
        pods = await reader.list(POD_DOCUMENTS, SYSTEM)
        workloads += tuple(each for each in static_pods(pods or ()) if is_proxy(each))
    groups = await _groups(reader)
    felix = await reader.get(FELIX, "default") if CALICO_GROUP in groups else None
    return Signs(
        nodes=tuple(node_signs(node) for node in nodes or ()),
        workloads=workloads,
        config_maps=await _config_maps(reader, workloads),
        groups=groups,
        felix_bpf=felix.spec.bpf_enabled if felix else None,
        unread=tuple(reader.unread),
    )


async def _daemonsets(reader: _Reader) -> tuple[WorkloadSigns, ...]:
    """Those of all namespaces; where that is not allowed, those of kube-system, or at least the proxies'."""
    for namespace in ("", SYSTEM):
        found = await reader.list(DAEMONSET_DOCUMENTS, namespace)
        if found is not None:
            return tuple(daemonset_signs(each) for each in found)
    one = await reader.get(DAEMONSET_DOCUMENTS, PROXY, SYSTEM)
    return (daemonset_signs(one),) if one else ()


async def _config_maps(reader: _Reader, workloads: Iterable[WorkloadSigns]) -> tuple[ConfigMapSigns, ...]:
    mounted = [name for each in workloads if is_proxy(each) for name in each.config_maps]
    names = dict.fromkeys((*TELLING, *mounted))
    found = [await reader.get(CONFIGMAP_DOCUMENTS, name, SYSTEM) for name in names]
    return tuple(config_map_signs(each) for each in found if each is not None)


async def _groups(reader: _Reader) -> frozenset[str]:
    try:
        return await reader.client.groups()
    except Unauthorized:
        raise
    except ApiError as error:
        reader.unread.append(str(error))
        return frozenset()

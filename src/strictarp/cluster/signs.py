"""What a cluster shows of who installed it and who programs its Services. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

SYSTEM = "kube-system"
PROXY = "kube-proxy"
# What the file is called inside the ConfigMap: kubeadm, others, and managed clusters.
CONFIG_KEYS = ("config.conf", "kube-proxy.conf", "kube-proxy-config.yaml", "config.yaml", "config")


class NodeSigns(msgspec.Struct, frozen=True):
    """A Node; osImage and kubeletVersion are those of `status.nodeInfo`."""

    name: str
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    os_image: str = ""
    kubelet_version: str = ""


class WorkloadSigns(msgspec.Struct, frozen=True):
    """A DaemonSet, or a static pod (a mirror pod, owned by its Node).

    `command`: command and args of all containers, in order. `config_maps`: names of those it mounts.
    `desired`: how many pods a DaemonSet wants, None if it is not known. `managers`: managedFields.
    """

    kind: Literal["DaemonSet", "static pod"]
    namespace: str
    name: str
    images: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    config_maps: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    managers: tuple[str, ...] = ()
    node: str = ""
    desired: int | None = None

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.kind} {self.namespace}/{self.name}"


class ConfigMapSigns(msgspec.Struct, frozen=True):
    """A ConfigMap of kube-system. `data` may be left out where nobody needs it."""

    name: str
    data: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    managers: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """For people."""
        return f"ConfigMap {SYSTEM}/{self.name}"


class Signs(msgspec.Struct, frozen=True):
    """All that a look at the cluster shows.

    `workloads`: DaemonSets of all namespaces, static pods of kube-system. `groups`: API groups served.
    `felix_bpf`: `bpfEnabled` of Calico's FelixConfiguration, None where there is none. `unread`: what the
    look was not allowed to see, in words.
    """

    nodes: tuple[NodeSigns, ...] = ()
    workloads: tuple[WorkloadSigns, ...] = ()
    config_maps: tuple[ConfigMapSigns, ...] = ()
    groups: frozenset[str] = frozenset()
    felix_bpf: bool | None = None
    unread: tuple[str, ...] = ()

    def config_map(self, name: str) -> ConfigMapSigns | None:
        """The one of that name."""
        return next((each for each in self.config_maps if each.name == name), None)

    def daemonset(self, name: str, namespace: str = "") -> WorkloadSigns | None:
        """The DaemonSet of that name, in any namespace if none is given."""
        return next(
            (
                each
                for each in self.workloads
                if each.kind == "DaemonSet" and each.name == name and namespace in ("", each.namespace)
            ),
            None,
        )


class Holder(msgspec.Struct, frozen=True):
    """The ConfigMap and the key that the proxies of a DaemonSet read their configuration from.

    default_mode: what they take an empty `mode` for.
    """

    daemonset: str
    name: str
    key: str
    namespace: str = SYSTEM
    default_mode: str = "iptables"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.config_map}, key {self.key}"

    @property
    def config_map(self) -> str:
        """The ConfigMap alone, for people."""
        return f"ConfigMap {self.namespace}/{self.name}"

    @property
    def by_hand(self) -> str:
        """The command to edit it."""
        return f"kubectl -n {self.namespace} edit configmap {self.name}"

    @property
    def restart(self) -> str:
        """The command to have the proxies take it up."""
        return f"kubectl -n {self.namespace} rollout restart daemonset/{self.daemonset}"


KUBEADM = Holder(PROXY, PROXY, CONFIG_KEYS[0])
"""Where kubeadm has it."""


def proxies(signs: Signs) -> tuple[WorkloadSigns, ...]:
    """The DaemonSets and static pods that are a kube-proxy or our proxy."""
    return tuple(each for each in signs.workloads if is_proxy(each))


def is_proxy(workload: WorkloadSigns) -> bool:
    """By its name, its image or its program; pods of the same name on every node count one by one."""
    name = workload.name
    if workload.kind == "static pod":
        name = name.removesuffix(f"-{workload.node}")
    if workload.namespace == SYSTEM and name == PROXY:
        return True
    return is_ours(workload) or any(_program(image) == PROXY for image in workload.images)


def is_ours(workload: WorkloadSigns) -> bool:
    """`strictarp proxy`, by its image's name or its command."""
    named = any(_program(image) in {"strictarp", "strictarp-proxy"} for image in workload.images)
    words = [word.rpartition("/")[2] for word in workload.command]
    asked = any(pair == ("strictarp", "proxy") for pair in itertools.pairwise(words))
    return asked or (named and ("proxy" in words or workload.name.endswith("proxy")))


def _program(image: str) -> str:
    """`registry/path/name:tag@digest` → `name`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def holder(signs: Signs) -> Holder | None:
    """Where the proxies' DaemonSet has its configuration file from; None if there is none or it is not clear.

    By `--config` and the ConfigMaps that it mounts; a DaemonSet whose template was not seen has a ConfigMap
    of its own name. One that wants no pods, as kube-proxy's may be parked, comes last.
    """
    for each in sorted(proxies(signs), key=lambda proxy: (proxy.desired == 0, proxy.name != PROXY)):
        if each.kind != "DaemonSet" or each.namespace != SYSTEM:
            continue
        path = flag(each.command, "config")
        if each.command and path is None:
            continue  # by flags alone
        for name in each.config_maps or (each.name,):
            found = signs.config_map(name)
            key = found and config_key(found.data, path)
            if key:
                return Holder(each.name, name, key, default_mode="ipvs" if is_ours(each) else "iptables")
    return None


def config_key(data: Mapping[str, str], path: str | None = None) -> str | None:
    """The key with the configuration file: that of `path`'s name, or the one usual name that is there."""
    named = path.rpartition("/")[2] if path else ""
    if named in data:
        return named
    usual = [key for key in CONFIG_KEYS if key in data]
    return usual[0] if usual and (len(usual) == 1 or usual[0] == CONFIG_KEYS[0]) else None


def flag(words: Iterable[str], name: str) -> str | None:
    """The value of `--name=VALUE` or `--name VALUE` among arguments, the last one counting; bare means true.

    As a Go program reads it: one dash or two, and nothing after a boolean flag's name.
    """
    value: str | None = None
    for key, found in flags(words):
        if key == name:
            value = found
    return value


def flags(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """All flags among arguments and their values."""
    listed = list(words)
    for at, word in enumerate(listed):
        match = re.fullmatch(r"--?([A-Za-z][\w.-]*)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            continue
        name, value = match[1], match[2]
        if value is None:
            after = listed[at + 1] if at + 1 < len(listed) else "-"
            value = "true" if after.startswith("-") else after
        yield name, value

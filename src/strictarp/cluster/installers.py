"""Who installed this cluster, and where kube-proxy's configuration really stands. Pure.

Nothing is guessed: an answer names the signs that it rests on, signs of two installers make no answer, and
`unknown` lists what was seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from strictarp.cluster.recipes import RECIPES, Place
from strictarp.cluster.signs import (
    PROXY,
    SYSTEM,
    Holder,
    NodeSigns,
    Signs,
    WorkloadSigns,
    flag,
    holder,
    is_ours,
    proxies,
)

Confidence = Literal["certain", "likely", "unknown"]
NAMED = 3


class NodeFile(msgspec.Struct, frozen=True):
    """A node whose own file counts; `arguments`: what its k3s or RKE2 runs with, as far as it tells."""

    name: str
    arguments: tuple[str, ...] = ()


class Installer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer.

    name: a key of `recipes.RECIPES`. signs: what it rests on; for `unknown`, what was seen. place, where,
    edit, apply: the place that lasts, what has to stand there for strictARP to be as wanted, and the command
    that makes it take effect. holder: the ConfigMap that the running proxies read, None if there is none.
    overwritten: what renders that ConfigMap again; empty if nothing is known to. futile: at once, so that an
    edit has no effect. not_applicable: why there is nothing to set. nodes: whose files count, where `place`
    is a file on every node.
    """

    name: str
    title: str
    confidence: Confidence
    signs: tuple[str, ...]
    place: Place
    where: str = ""
    edit: str = ""
    apply: str = ""
    default: str = ""
    traps: tuple[str, ...] = ()
    holder: Holder | None = None
    overwritten: str = ""
    futile: bool = False
    not_applicable: str = ""
    nodes: tuple[NodeFile, ...] = ()

    @property
    def configmap_lasts(self) -> bool:
        """The ConfigMap is the place to edit, and nothing else writes it before the next upgrade."""
        return self.place is Place.CONFIGMAP and self.holder is not None

    @property
    def known(self) -> bool:
        """It was recognised."""
        return self.confidence != "unknown"


class _Found(msgspec.Struct, frozen=True):
    """An installer and the signs of it."""

    name: str
    confidence: Confidence
    signs: tuple[str, ...]


def recognise(signs: Signs, *, wanted: bool = True) -> Installer:
    """Where strictARP is set in this cluster; `edit` says how to switch it on, or off if not `wanted`."""
    dataplane = _first(signs, DATAPLANES)
    runs_proxy = _proxy_runs(signs)
    if dataplane is not None and not runs_proxy:
        return _answer(dataplane, signs, wanted)
    found = _installer(signs)
    if dataplane is None or found.name == "unknown":
        return _answer(found, signs, wanted)
    beside = f"{RECIPES[dataplane.name].title} is here as well ({', '.join(dataplane.signs)})"
    answer = _answer(found, signs, wanted)
    return msgspec.structs.replace(answer, traps=(*answer.traps, beside))


def _answer(found: _Found, signs: Signs, wanted: bool) -> Installer:
    recipe = RECIPES[found.name]
    held = holder(signs)
    cluster, namespace = _managed(signs)
    words = {
        "value": "true" if wanted else "false",
        "ignore": "1" if wanted else "0",
        "announce": "2" if wanted else "0",
        "cluster": cluster,
        "namespace": namespace,
    }
    in_configmap = recipe.place is Place.CONFIGMAP and held is not None
    return Installer(
        name=found.name,
        title=recipe.title,
        confidence=found.confidence,
        signs=found.signs,
        place=recipe.place,
        where=held.title if in_configmap and held else recipe.where.format(**words),
        edit=recipe.edit.format(**words),
        apply=held.restart if in_configmap and held else recipe.apply.format(**words),
        default=recipe.default,
        traps=recipe.traps,
        holder=held,
        overwritten=recipe.overwritten,
        futile=recipe.futile,
        not_applicable=recipe.not_applicable,
        nodes=tuple(NodeFile(each.name, node_args(each)) for each in signs.nodes) if recipe.files else (),
    )


def _managed(signs: Signs) -> tuple[str, str]:
    """Name and namespace of the object that Cluster API or Rancher made this cluster from."""
    for node in signs.nodes:
        if name := node.annotations.get("cluster.x-k8s.io/cluster-name"):
            return name, node.annotations.get("cluster.x-k8s.io/cluster-namespace", "NAMESPACE")
    return "CLUSTER", "fleet-default"


# --- is there a kube-proxy at all? -------------------------------------------------------------------------


def _proxy_runs(signs: Signs) -> bool:
    """A proxy of kube-proxy's kind is wanted somewhere, as far as it can be seen from here."""
    if any(each.desired != 0 for each in proxies(signs)):
        return True
    # In-process proxies have no pods; k3s says in its servers' arguments whether they are off.
    inside = [node for node in signs.nodes if "+k3s" in node.kubelet_version or _microk8s(node)]
    return bool(inside) and all(flag(node_args(node), "disable-kube-proxy") != "true" for node in inside)


def node_args(node: NodeSigns) -> tuple[str, ...]:
    """The arguments that k3s or RKE2 runs with there, from its annotation; empty where it has none."""
    for name in ("rke2.io/node-args", "k3s.io/node-args"):
        try:
            words = json.loads(node.annotations.get(name, ""))
        except ValueError:
            continue
        if isinstance(words, list):
            return tuple(word for word in words if isinstance(word, str))
    return ()


def _cilium(signs: Signs) -> Iterator[str]:
    config = signs.config_map("cilium-config")
    value = config.data.get("kube-proxy-replacement", "") if config else ""
    if value in {"true", "strict"}:
        yield f"ConfigMap {SYSTEM}/cilium-config says kube-proxy-replacement: {value}"


def _calico_ebpf(signs: Signs) -> Iterator[str]:
    if signs.felix_bpf:
        yield "FelixConfiguration default says bpfEnabled: true"
    for each in _named(signs, "calico-node"):
        if each.env.get("FELIX_BPFENABLED", "").lower() == "true":
            yield f"{each.title} has FELIX_BPFENABLED=true"


def _ovn(signs: Signs) -> Iterator[str]:
    for name in ("ovnkube-node", "ovnkube-node-dpu-host"):
        for each in _named(signs, name):
            yield f"{each.title} is there"


def _kube_router(signs: Signs) -> Iterator[str]:
    for each in _named(signs, "kube-router"):
        # Its default is true, but every manifest that uses it as a mere network plugin says false.
        if flag(each.command, "run-service-proxy") == "true":
            yield f"{each.title} runs with --run-service-proxy=true"


def _named(signs: Signs, name: str) -> Iterator[WorkloadSigns]:
    return (each for each in signs.workloads if each.kind == "DaemonSet" and each.name == name)


Look = Callable[[Signs], Iterator[str]]
DATAPLANES: tuple[tuple[str, Look], ...] = (
    ("cilium", _cilium),
    ("calico-ebpf", _calico_ebpf),
    ("ovn-kubernetes", _ovn),
    ("kube-router", _kube_router),
)


def _first(signs: Signs, looks: tuple[tuple[str, Look], ...]) -> _Found | None:
    for name, look in looks:
        if seen := tuple(look(signs)):
            return _Found(name, "certain", seen)
    return None


# --- who installed it? -------------------------------------------------------------------------------------


def _installer(signs: Signs) -> _Found:
    """Distributions exclude each other; then what is built on kubeadm, the most particular first."""
    found = [_Found(name, "certain", seen) for name, look in DISTRIBUTIONS if (seen := tuple(look(signs)))]
    if len(found) > 1:
        return _Found("unknown", "unknown", tuple(sign for each in found for sign in each.signs))
    if found:
        return _refined(found[0], signs)
    ours = tuple(f"{each.title} runs strictarp proxy" for each in proxies(signs) if is_ours(each))
    for name, confidence, look in ON_KUBEADM:
        if seen := tuple(look(signs)):
            return _Found(name, confidence, (*seen, *ours))
    if ours:
        return _Found("strictarp", "certain", ours)
    return _Found("unknown", "unknown", tuple(_seen(signs)))


def _refined(found: _Found, signs: Signs) -> _Found:
    """Rancher provisions RKE2 and k3s; Talos has two ways to configure kube-proxy."""
    if found.name in {"k3s", "rke2"}:
        marks = _nodes(signs, lambda node: "rke.cattle.io/machine" in node.labels)
        if marks:
            return _Found("rancher", "certain", (f"label rke.cattle.io/machine on {marks}", *found.signs))
    if found.name == "talos":
        proxy = signs.daemonset(PROXY, SYSTEM)
        if proxy is None:
            return msgspec.structs.replace(found, confidence="likely")
        if proxy.command and flag(proxy.command, "config") is None:
            return _Found("talos-legacy", "certain", (*found.signs, f"{proxy.title} is run by flags alone"))
    return found


def _nodes(signs: Signs, test: Callable[[NodeSigns], bool]) -> str:
    """Some names of the nodes that pass the test, in words; empty if none does."""
    names = [node.name for node in signs.nodes if test(node)]
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _by_version(mark: str) -> Look:
    def look(signs: Signs) -> Iterator[str]:
        if names := _nodes(signs, lambda node: mark in node.kubelet_version):
            yield f"kubelet version has {mark} on {names}"

    return look


def _microk8s(node: NodeSigns) -> bool:
    return node.labels.get("microk8s.io/cluster") == "true"


def _microk8s_signs(signs: Signs) -> Iterator[str]:
    if names := _nodes(signs, _microk8s):
        yield f"label microk8s.io/cluster on {names}"


def _talos(signs: Signs) -> Iterator[str]:
    if names := _nodes(signs, lambda node: node.os_image.startswith("Talos ")):
        yield f"OS image is Talos on {names}"


def _rke1(signs: Signs) -> Iterator[str]:
    if names := _nodes(signs, lambda node: "rke.cattle.io/internal-ip" in node.annotations):
        yield f"annotation rke.cattle.io/internal-ip on {names}"


def _kops(signs: Signs) -> Iterator[str]:
    if names := _nodes(signs, lambda node: "kops.k8s.io/instancegroup" in node.labels):
        yield f"label kops.k8s.io/instancegroup on {names}"


def _kkp(signs: Signs) -> Iterator[str]:
    for each in (signs.config_map(PROXY), signs.daemonset(PROXY, SYSTEM)):
        if each is not None and "kubermatic-addon" in each.labels:
            yield f"label kubermatic-addon on {each.title}"
    if "apps.kubermatic.k8c.io" in signs.groups:
        yield "API group apps.kubermatic.k8c.io is served"


DISTRIBUTIONS: tuple[tuple[str, Look], ...] = (
    ("k3s", _by_version("+k3s")),
    ("rke2", _by_version("+rke2")),
    ("k0s", _by_version("+k0s")),
    ("microk8s", _microk8s_signs),
    ("talos", _talos),
    ("rke1", _rke1),
    ("kops", _kops),
    ("kkp", _kkp),
)


# --- built on kubeadm --------------------------------------------------------------------------------------


def _cluster_configuration(signs: Signs) -> str:
    config = signs.config_map("kubeadm-config")
    return config.data.get("ClusterConfiguration", "") if config else ""


def _eks_anywhere(signs: Signs) -> Iterator[str]:
    if "anywhere.eks.amazonaws.com" in signs.groups:
        yield "API group anywhere.eks.amazonaws.com is served"
    if "eks-distro" in _cluster_configuration(signs):
        yield f"ConfigMap {SYSTEM}/kubeadm-config names images of eks-distro"


def _kubespray(signs: Signs) -> Iterator[str]:
    # Its role moves kubeadm's certificates; nobody else is known to use this folder.
    if "certificatesDir: /etc/kubernetes/ssl" in _cluster_configuration(signs):
        yield f"ConfigMap {SYSTEM}/kubeadm-config has certificatesDir: /etc/kubernetes/ssl"


def _kubekey(signs: Signs) -> Iterator[str]:
    if "lb.kubesphere.local" in _cluster_configuration(signs):
        yield f"ConfigMap {SYSTEM}/kubeadm-config names lb.kubesphere.local"


def _kubeone(signs: Signs) -> Iterator[str]:
    if names := _nodes(signs, lambda node: "v1.kubeone.io/operating-system" in node.labels):
        yield f"label v1.kubeone.io/operating-system on {names}"


def _cluster_api(signs: Signs) -> Iterator[str]:
    if not _cluster_configuration(signs):
        return
    if names := _nodes(signs, lambda node: "cluster.x-k8s.io/machine" in node.annotations):
        yield f"annotation cluster.x-k8s.io/machine on {names}"


def _kubeadm(signs: Signs) -> Iterator[str]:
    if signs.config_map("kubeadm-config") is not None:
        yield f"ConfigMap {SYSTEM}/kubeadm-config is there"


def _kubeadm_traces(signs: Signs) -> Iterator[str]:
    config = signs.config_map(PROXY)
    if config is not None and "kubeadm.kubernetes.io/component-config.hash" in config.annotations:
        yield f"annotation kubeadm.kubernetes.io/component-config.hash on {config.title}"
    if config is not None and "kubeadm" in config.managers:
        yield f"{config.title} was written by kubeadm"
    names = _nodes(signs, lambda node: "kubeadm.alpha.kubernetes.io/cri-socket" in node.annotations)
    if names and config is not None:
        yield f"annotation kubeadm.alpha.kubernetes.io/cri-socket on {names}"


ON_KUBEADM: tuple[tuple[str, Confidence, Look], ...] = (
    ("eks-anywhere", "certain", _eks_anywhere),
    ("kubeone", "certain", _kubeone),
    ("kubespray", "likely", _kubespray),
    ("kubekey", "likely", _kubekey),
    ("cluster-api", "certain", _cluster_api),
    ("kubeadm", "certain", _kubeadm),
    ("kubeadm", "likely", _kubeadm_traces),
)


def _seen(signs: Signs) -> Iterator[str]:
    """For an installer that nobody knows: what there is, so that people can tell."""
    for each in proxies(signs):
        how = f" with {' '.join(each.command)}" if each.command else ""
        yield f"{each.title} runs {', '.join(each.images) or 'an image that was not seen'}{how}"
    for config in signs.config_maps:
        if PROXY in config.name:
            yield f"{config.title} has the keys {', '.join(config.data) or '(none)'}"
    for version in sorted({node.kubelet_version for node in signs.nodes if node.kubelet_version}):
        yield f"kubelet {version}"
    for image in sorted({node.os_image for node in signs.nodes if node.os_image}):
        yield f"OS image {image}"
    yield from (f"not seen: {each}" for each in signs.unread)

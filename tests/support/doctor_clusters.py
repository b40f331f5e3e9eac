"""Clusters for the doctor's tests: a sound one, and what is changed in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from strictarp.arp.probing import Answerer, Form, Verdict, judge
from strictarp.cluster.signs import ConfigMapSigns, NodeSigns, Signs, WorkloadSigns
from strictarp.doctor.check import Part
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.diagnosis import Diagnosis, diagnose
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.kinds import DaemonSet, Pod
from strictarp.doctor.objects import Objects, SpeakerAnswer
from strictarp.doctor.registry import CHECKS
from strictarp.doctor.wire_view import WireView
from strictarp.kube.custom import IPAddressPool, L2Advertisement
from strictarp.kube.objects import EndpointSlice, Lease, Node, Secret, Service
from strictarp.wire.culprits import Culprit
from strictarp.wire.naming import Name, Who
from strictarp.wire.reporting import Report

T = TypeVar("T")
NODES = ("node1", "node2", "node3")
VIP = "192.0.2.100"
CONFIG = "kind: KubeProxyConfiguration\nmode: ipvs\nipvs:\n  strictARP: true\n"
WRITTEN = "2026-05-01T12:00:00Z"
SPACE = "metallb-system"


def made(kind: type[T], document: Mapping[str, object]) -> T:
    return msgspec.convert(document, kind)


def node(name: str, address: str = "", **spec: object) -> Node:
    index = NODES.index(name) if name in NODES else 8
    addresses = [{"type": "InternalIP", "address": address or f"192.0.2.{11 + index}"}]
    document = {"metadata": {"name": name, "labels": {"host": name}}, "spec": spec}
    return made(Node, {**document, "status": {"addresses": addresses}})


def service(
    name: str = "web",
    *ips: str,
    annotations: Mapping[str, str] | None = None,
    ports: Iterable[int] = (80,),
    **spec: object,
) -> Service:
    """A LoadBalancer with these addresses in its status."""
    return made(
        Service,
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "annotations": dict(annotations or {}),
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {
                "type": "LoadBalancer",
                "clusterIPs": ["203.0.113.10"],
                "ports": [{"port": port} for port in ports],
                **spec,
            },
            "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}},
        },
    )


def slice_of(name: str = "web", nodes: Iterable[str] = NODES, *, ready: bool = True) -> EndpointSlice:
    return made(
        EndpointSlice,
        {
            "metadata": {
                "name": f"{name}-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "endpoints": [
                {"addresses": ["198.51.100.9"], "nodeName": each, "conditions": {"ready": ready}}
                for each in nodes
            ],
        },
    )


def pool(name: str = "main", *addresses: str, namespace: str = SPACE, **spec: object) -> IPAddressPool:
    items = list(addresses or ("192.0.2.100-192.0.2.119",))
    return made(
        IPAddressPool,
        {"metadata": {"name": name, "namespace": namespace}, "spec": {"addresses": items, **spec}},
    )


def advertisement(name: str = "main", namespace: str = SPACE, **spec: object) -> L2Advertisement:
    return made(L2Advertisement, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def daemonset(
    name: str,
    image: str,
    *args: str,
    namespace: str = SPACE,
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    ready: int = 3,
    updated: int = 3,
    desired: int = 3,
) -> DaemonSet:
    container = {
        "name": name,
        "image": image,
        "args": list(args),
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
    }
    return made(
        DaemonSet,
        {
            "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {}), "generation": 1},
            "spec": {"template": {"spec": {"containers": [container]}}},
            "status": {
                "observedGeneration": 1,
                "desiredNumberScheduled": desired,
                "numberReady": ready,
                "numberAvailable": ready,
                "updatedNumberScheduled": updated,
            },
        },
    )


ML = {"METALLB_ML_BIND_ADDR": "0.0.0.0", "METALLB_ML_SECRET_KEY_PATH": "/etc/ml"}


def metallb(*args: str, env: Mapping[str, str] = ML, ready: int = 3) -> DaemonSet:
    return daemonset("speaker", "quay.io/metallb/speaker:v0.16.1", *args, env=env, ready=ready)


def kube_proxy(*, updated: int = 3) -> DaemonSet:
    image = "registry/kube-proxy:v1.34.0"
    return daemonset("kube-proxy", image, namespace="kube-system", updated=updated)


def ours(*args: str) -> DaemonSet:
    return daemonset("strictarp-speaker", "registry/strictarp:1", "speaker", *args)


def kube_vip(**env: str) -> DaemonSet:
    given = {"svc_enable": "true", "vip_arp": "true", **env}
    return daemonset("kube-vip", "ghcr.io/kube-vip/kube-vip:v1.0", namespace="kube-system", env=given)


def proxy_pod(name: str, started: str, **status: object) -> Pod:
    return made(
        Pod,
        {
            "metadata": {
                "name": f"kube-proxy-{name}",
                "namespace": "kube-system",
                "ownerReferences": [{"kind": "DaemonSet", "name": "kube-proxy"}],
            },
            "spec": {"nodeName": name},
            "status": {"phase": "Running", "startTime": started, **status},
        },
    )


def lease(
    name: str, links: str = '{"eth0":{"mac":"02:00:00:00:00:01","addresses":["192.0.2.11/24"]}}'
) -> Lease:
    return made(
        Lease,
        {
            "metadata": {
                "name": f"strictarp-speaker-{name}",
                "namespace": SPACE,
                "annotations": {"strictarp.io/links": links},
            },
            "spec": {"holderIdentity": name},
        },
    )


def workload_signs(
    name: str = "kube-proxy",
    image: str = "registry/kube-proxy:v1.34.0",
    *command: str,
    config_maps: tuple[str, ...] | None = None,
    desired: int = 3,
) -> WorkloadSigns:
    return WorkloadSigns(
        "DaemonSet",
        "kube-system",
        name,
        (image,),
        command or ("kube-proxy", "--config=/var/lib/kube-proxy/config.conf"),
        config_maps=(name,) if config_maps is None else config_maps,
        desired=desired,
    )


OUR_PROXY = workload_signs("strictarp-proxy", "registry/strictarp:1", "strictarp", "proxy")


def signs(
    text: str | None = CONFIG,
    *,
    workloads: Iterable[WorkloadSigns] | None = None,
    managers: tuple[str, ...] = ("kubeadm",),
    os_image: str = "Debian",
    kubelet: str = "v1.34.0",
    maps: Iterable[ConfigMapSigns] = (),
) -> Signs:
    """Of a cluster of kubeadm, with this text in the proxies' ConfigMap."""
    given = [ConfigMapSigns("kubeadm-config", {"ClusterConfiguration": "{}"})]
    if text is not None:
        given.append(ConfigMapSigns("kube-proxy", {"config.conf": text}, managers=managers))
    return Signs(
        nodes=tuple(NodeSigns(name, os_image=os_image, kubelet_version=kubelet) for name in NODES),
        workloads=tuple(workloads) if workloads is not None else (workload_signs(),),
        config_maps=(*given, *maps),
    )


def objects(**changed: object) -> Objects:
    """A sound cluster: kubeadm, mode ipvs with strictARP, MetalLB, one Service with an address."""
    sound: dict[str, Any] = {
        "version": "v1.34.1",
        "signs": signs(),
        "nodes": tuple(map(node, NODES)),
        "services": (service("web", VIP),),
        "slices": (slice_of(),),
        "daemonsets": (kube_proxy(), metallb()),
        "pools": (pool(),),
        "advertisements": (advertisement(),),
        "configured_at": WRITTEN,
        "pods": tuple(proxy_pod(name, "2026-05-01T12:00:30Z") for name in NODES),
    }
    return Objects(**(sound | changed))


def with_our_speakers(**changed: object) -> Objects:
    """The same with strictarp's speakers, which hear each other."""
    sound: dict[str, Any] = {
        "daemonsets": (kube_proxy(), ours()),
        "leases": tuple(map(lease, NODES)),
        "secret": made(Secret, {"data": {"key": "a2V5" * 12}}),
        "speakers": tuple(SpeakerAnswer(name, members=3, reports={"PeerHeard": 2}) for name in NODES),
    }
    return objects(**(sound | changed))


def answer(mac: str, *forms: Form, answers: int = 0) -> Answerer:
    given = forms or ("probe", "request")
    return Answerer(mac, answers or len(given), 0.5, None, given)


def name_of(mac: str, node_name: str = "", who: Who = Who.NODE) -> Name:
    return Name(mac, who, node_name, "eth0" if node_name else "")


def report(
    *answerers: Answerer,
    names: Iterable[Name] = (),
    verdict: Verdict | None = None,
    own_address: bool = False,
    culprits: tuple[Culprit, ...] = (),
) -> Report:
    """What asking for VIP showed."""
    return Report(
        ip=VIP,
        interface="eth0",
        form="both",
        sender="192.0.2.1",
        verdict=verdict or judge(answerers),
        answerers=answerers,
        own_address=own_address,
        seconds=1.2,
        services=("default/web",),
        names={each.mac: each for each in names},
        culprits=culprits,
    )


def evidence(given: Objects, *reports: Report) -> Evidence:
    return Evidence(ClusterView(given), wire=WireView(reports) if reports else None)


def looked(seen: Evidence) -> Diagnosis:
    """All checks applied; the cluster was asked for."""
    return diagnose(seen, CHECKS, frozenset({Part.CLUSTER}))


def codes(seen: Evidence) -> list[str]:
    """Of what is reported."""
    return [each.code for each in looked(seen).findings]


def sighted(code: str, seen: Evidence) -> list[tuple[str, str]]:
    """Subject and words of one check, whatever else explains it."""
    check = next(check for check in CHECKS if check.code == code)
    return [(each.subject, each.seen) for each in check.look(seen)]

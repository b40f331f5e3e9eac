"""The Kubernetes objects of a lab cluster, as a kubeadm cluster would have them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from strictarp.lab import layout

Document: TypeAlias = dict[str, object]

NAMESPACE = "metallb-system"
WEB = "web"
WEB_PORT = 80
BACKEND_PORT = 8080
CONFIG_KEY = "config.conf"

# kubeadm writes every field, with zero values; people add comments. `enable` has to keep both.
KUBE_PROXY_CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: {kubeconfig}
  qps: 0
clusterCIDR: {pods}
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
# The network team asked for IPVS: least surprise with our appliances.
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false  # MetalLB's documentation says true
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
metricsBindAddress: ""
mode: ipvs
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  networkName: ""
  sourceVip: ""
"""


def document(
    api_version: str,
    kind: str,
    name: str,
    namespace: str = "",
    *,
    spec: Document | None = None,
    labels: dict[str, str] | None = None,
    **rest: object,
) -> Document:
    """One API object; what is empty is left out."""
    metadata: Document = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    made: Document = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
    if spec is not None:
        made["spec"] = spec
    return {**made, **rest}


def cluster(nodes: Iterable[layout.Host], kubeconfig: str) -> list[Document]:
    """What is there before anybody applies anything: namespaces, nodes, kube-proxy's objects."""
    labels = {"k8s-app": "kube-proxy"}
    made = [document("v1", "Namespace", name) for name in ("default", "kube-system", NAMESPACE)]
    config = KUBE_PROXY_CONFIG.format(kubeconfig=kubeconfig, pods=layout.PODS)
    made += [
        document("v1", "ConfigMap", "kube-proxy", "kube-system", labels=labels, data={CONFIG_KEY: config}),
        document(
            "apps/v1",
            "DaemonSet",
            "kube-proxy",
            "kube-system",
            labels=labels,
            spec={
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _proxy_pod()},
            },
        ),
        document(
            "v1",
            "Service",
            "kubernetes",
            "default",
            spec={
                "clusterIP": str(layout.SERVICES[1]),
                "ports": [{"name": "https", "port": 443, "targetPort": 6443, "protocol": "TCP"}],
            },
        ),
        document(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "kubernetes",
            "default",
            labels={"kubernetes.io/service-name": "kubernetes"},
            addressType="IPv4",
            endpoints=[{"addresses": [layout.CONTROL_PLANE_ADDRESS], "conditions": {"ready": True}}],
            ports=[{"name": "https", "port": 6443, "protocol": "TCP"}],
        ),
    ]
    return made + [node_object(node) for node in nodes]


def _proxy_pod() -> Document:
    """What the lab's kubelet runs, as a pod would say it: by this the proxies' file is recognised."""
    folder = "/var/lib/kube-proxy"
    container = {
        "name": "kube-proxy",
        "image": "strictarp",
        "command": ["strictarp", "proxy", f"--config={folder}/{CONFIG_KEY}"],
        "volumeMounts": [{"name": "config", "mountPath": folder}],
    }
    volume = {"name": "config", "configMap": {"name": "kube-proxy"}}
    return {"hostNetwork": True, "containers": [container], "volumes": [volume]}


def node_object(node: layout.Host) -> Document:
    """A Node, ready."""
    return document(
        "v1",
        "Node",
        node.name,
        labels={"kubernetes.io/hostname": node.name},
        spec={"podCIDR": node.pod_subnet, "podCIDRs": [node.pod_subnet]},
        status={
            "addresses": [
                {"type": "InternalIP", "address": node.address},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    )


def pod_object(name: str, namespace: str, node: str, *, ip: str, labels: dict[str, str]) -> Document:
    """A running Pod."""
    return document(
        "v1",
        "Pod",
        name,
        namespace,
        labels=labels,
        spec={"nodeName": node, "containers": []},
        status={
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    )


def story(nodes: Iterable[layout.Host]) -> list[Document]:
    """What the story's user applies: a pool, its advertisement, a Service and its endpoints, one a node."""
    selector = {"app": WEB}
    return [
        document("metallb.io/v1beta1", "IPAddressPool", "lab", NAMESPACE, spec={"addresses": [layout.POOL]}),
        document("metallb.io/v1beta1", "L2Advertisement", "lab", NAMESPACE, spec={"ipAddressPools": ["lab"]}),
        document(
            "v1",
            "Service",
            WEB,
            "default",
            spec={
                "type": "LoadBalancer",
                "selector": selector,
                "ports": [{"name": "http", "port": WEB_PORT, "targetPort": BACKEND_PORT, "protocol": "TCP"}],
            },
        ),
        document(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            f"{WEB}-lab",
            "default",
            labels={"kubernetes.io/service-name": WEB},
            addressType="IPv4",
            endpoints=[
                {
                    "addresses": [node.pod_address],
                    "nodeName": node.name,
                    "conditions": {"ready": True, "serving": True, "terminating": False},
                }
                for node in nodes
            ],
            ports=[{"name": "http", "port": BACKEND_PORT, "protocol": "TCP"}],
        ),
    ]


def kubeconfig(server: str) -> Document:
    """A kubeconfig for a server without authentication."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server}}],
        "users": [{"name": "lab", "user": {}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }

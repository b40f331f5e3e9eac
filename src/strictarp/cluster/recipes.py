"""Where each installer has kube-proxy's configuration, and how strictARP is set there. Pure; a table.

`{value}` stands for true or false, `{cluster}` and `{namespace}` for what a node's annotations name. Sources:
the installers' documentation and sources as of Kubernetes 1.35.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Place(StrEnum):
    """The kind of place that lasts."""

    CONFIGMAP = "ConfigMap"
    NODE_FILES = "a file on every node"
    SOURCE = "the installer's own configuration"
    NONE = "nowhere"


class Recipe(msgspec.Struct, frozen=True):
    """One installer.

    where: the place that lasts, in words. edit: what has to stand there. apply: the command that makes it
    take effect. default: mode and strictARP of a cluster that nobody configured. overwritten: what renders
    the ConfigMap again, empty if nothing does; futile: at once. traps: what goes wrong in practice.
    not_applicable: why there is nothing to silence. files: the files of `Place.NODE_FILES`.
    """

    title: str
    place: Place
    where: str = ""
    edit: str = ""
    apply: str = ""
    default: str = ""
    overwritten: str = ""
    futile: bool = False
    traps: tuple[str, ...] = ()
    not_applicable: str = ""
    files: tuple[str, ...] = ()


_KUBEADM_WHERE = "ConfigMap kube-system/kube-proxy, key config.conf"
_CONFIGMAP_EDIT = "ipvs.strictARP: {value}"
_RESTART = "kubectl -n kube-system rollout restart daemonset/kube-proxy"
_IPTABLES = "mode iptables, strictARP false"
_NODE_ARGS = 'kube-proxy-arg: ["proxy-mode=ipvs", "ipvs-strict-arp={value}"]'
_MODULES = "the modules ip_vs, ip_vs_rr and nf_conntrack must be loaded before, or the proxy does not start"
_NOT_LOCAL = "Service IPs are bound to no interface of the nodes, so no kernel answers ARP for them"

RECIPES: dict[str, Recipe] = {
    "strictarp": Recipe(
        "strictarp's proxy",
        Place.CONFIGMAP,
        _KUBEADM_WHERE,
        _CONFIGMAP_EDIT,
        _RESTART,
        "strictARP false",
        traps=("the proxy follows the file: it takes the change up within a minute without a restart",),
    ),
    "kubeadm": Recipe(
        "kubeadm",
        Place.CONFIGMAP,
        _KUBEADM_WHERE,
        _CONFIGMAP_EDIT,
        _RESTART,
        _IPTABLES,
        traps=(
            "kube-proxy reads the value only when it starts",
            "`kubeadm upgrade` renders the file again from this ConfigMap; look at it afterwards, as 1.30.0 "
            "lost what had been changed",
        ),
    ),
    "cluster-api": Recipe(
        "Cluster API with kubeadm",
        Place.CONFIGMAP,
        _KUBEADM_WHERE,
        _CONFIGMAP_EDIT,
        _RESTART,
        _IPTABLES,
        traps=(
            "there is no field for it: a new cluster has it from a KubeProxyConfiguration in "
            "kubeadmConfigSpec.files that preKubeadmCommands appends to /run/kubeadm/kubeadm.yaml",
            "look at the ConfigMap after an upgrade of the control plane",
        ),
    ),
    "eks-anywhere": Recipe(
        "EKS Anywhere",
        Place.CONFIGMAP,
        _KUBEADM_WHERE,
        _CONFIGMAP_EDIT,
        _RESTART,
        _IPTABLES,
        overwritten="an upgrade of the cluster",
        traps=("save this ConfigMap before etcd is restored; a restore brings the old one back",),
    ),
    "kubekey": Recipe(
        "KubeKey",
        Place.CONFIGMAP,
        _KUBEADM_WHERE,
        _CONFIGMAP_EDIT,
        _RESTART,
        "mode ipvs, strictARP false",
        overwritten="`kk upgrade`",
        traps=("KubeKey has no option for it; run this again after each upgrade",),
    ),
    "kubespray": Recipe(
        "kubespray",
        Place.SOURCE,
        "the inventory, group_vars/k8s_cluster/k8s-cluster.yml",
        "kube_proxy_strict_arp: {value}",
        "ansible-playbook -i INVENTORY --become upgrade-cluster.yml",
        "mode ipvs, strictARP false",
        overwritten="the next run of cluster.yml or upgrade-cluster.yml",
        traps=(
            "its MetalLB and kube-vip roles refuse to deploy while the value is false",
            "the next run of a playbook has the last word: set it in the inventory in any case",
        ),
    ),
    "k3s": Recipe(
        "k3s",
        Place.NODE_FILES,
        "/etc/rancher/k3s/config.yaml on every node, servers and agents",
        _NODE_ARGS,
        "systemctl restart k3s (servers), systemctl restart k3s-agent (agents)",
        _IPTABLES,
        traps=(
            "kube-proxy runs inside k3s: there is no ConfigMap, DaemonSet or pod of it",
            _MODULES,
            "MetalLB needs ServiceLB off: `disable: [servicelb]` on the servers",
        ),
        files=("/etc/rancher/k3s/config.yaml",),
    ),
    "rke2": Recipe(
        "RKE2",
        Place.NODE_FILES,
        "/etc/rancher/rke2/config.yaml on every node, servers and agents",
        _NODE_ARGS,
        "systemctl restart rke2-server (servers), systemctl restart rke2-agent (agents)",
        _IPTABLES,
        traps=(
            "never edit /var/lib/rancher/rke2/agent/pod-manifests/kube-proxy.yaml: it is written again",
            _MODULES,
        ),
        files=("/etc/rancher/rke2/config.yaml",),
    ),
    "rke1": Recipe(
        "Rancher RKE1",
        Place.SOURCE,
        "cluster.yml, or the cluster's YAML in Rancher, services.kubeproxy",
        "services.kubeproxy.extra_args: {{proxy-mode: ipvs, ipvs-strict-arp: '{value}'}}",
        "rke up --config cluster.yml, or save the YAML in Rancher",
        _IPTABLES,
        traps=("only the YAML has it, no form of Rancher does", _MODULES),
    ),
    "rancher": Recipe(
        "Rancher, provisioning RKE2 or k3s",
        Place.SOURCE,
        "in Rancher's own cluster: clusters.provisioning.cattle.io {namespace}/{cluster}, "
        "spec.rkeConfig.machineGlobalConfig",
        _NODE_ARGS,
        "kubectl -n {namespace} edit clusters.provisioning.cattle.io {cluster} (with Rancher's kubeconfig)",
        _IPTABLES,
        traps=(
            "config.yaml on the nodes is written by Rancher: an edit there is lost",
            "machineSelectorConfig may set other values for some nodes",
            _MODULES,
        ),
    ),
    "talos": Recipe(
        "Talos",
        Place.SOURCE,
        "the machine configuration of the control plane nodes, a document of kind KubeProxyConfig",
        "{{apiVersion: v1alpha1, kind: KubeProxyConfig, mode: ipvs, "
        "config: {{ipvs: {{strictARP: {value}}}}}}}",
        "talosctl patch machineconfig --nodes CONTROL-PLANE-NODES --patch @kube-proxy.yaml",
        "mode nftables, strictARP false",
        overwritten="Talos, at once: the ConfigMap is rendered anew under another hashed name",
        futile=True,
        traps=(
            "flags in cluster.proxy.extraArgs are ignored when the document is used",
            "ip_vs is not loaded by itself: name ip_vs, ip_vs_rr in machine.kernel.modules",
            "the file system is read-only: sysctls of nodes are set in machine.sysctls",
        ),
    ),
    "talos-legacy": Recipe(
        "Talos, kube-proxy by flags",
        Place.SOURCE,
        "the machine configuration of the control plane nodes, cluster.proxy",
        'cluster: {{proxy: {{mode: ipvs, extraArgs: {{ipvs-strict-arp: "{value}"}}}}}}',
        "talosctl patch machineconfig --nodes CONTROL-PLANE-NODES --patch @kube-proxy.yaml",
        _IPTABLES,
        overwritten="Talos, when it applies its manifests again",
        traps=(
            "if DaemonSet kube-proxy does not change, `talosctl upgrade-k8s --to VERSION` applies it",
            "values of extraArgs are text: write them in quotes",
            "the file system is read-only: sysctls of nodes are set in machine.sysctls",
        ),
    ),
    "k0s": Recipe(
        "k0s",
        Place.SOURCE,
        "/etc/k0s/k0s.yaml on every controller, or with dynamic configuration ClusterConfig kube-system/k0s; "
        "spec.network.kubeProxy",
        "kubeProxy: {{mode: ipvs, ipvs: {{strictARP: {value}}}}}",
        "k0s stop && k0s start (on each controller), or kubectl -n kube-system edit clusterconfig k0s",
        _IPTABLES,
        overwritten="the k0s controllers, within a minute",
        traps=("k0s' kube-router is a network plugin only; Services are kube-proxy's",),
    ),
    "microk8s": Recipe(
        "MicroK8s",
        Place.NODE_FILES,
        "/var/snap/microk8s/current/args/kube-proxy on every node",
        "--proxy-mode=ipvs\n--ipvs-strict-arp={value}",
        "snap restart microk8s.daemon-kubelite (on each node)",
        _IPTABLES,
        traps=(
            "kube-proxy runs inside kubelite: there is no ConfigMap, DaemonSet or pod of it",
            _MODULES,
        ),
        files=("/var/snap/microk8s/current/args/kube-proxy",),
    ),
    "kops": Recipe(
        "kOps",
        Place.SOURCE,
        "the cluster's spec, sysctlParameters (kOps has no field for strictARP)",
        "sysctlParameters: [net.ipv4.conf.all.arp_ignore={ignore}, "
        "net.ipv4.conf.all.arp_announce={announce}]",
        "kops edit cluster && kops update cluster --yes && kops rolling-update cluster --yes",
        _IPTABLES,
        traps=("/etc/kubernetes/manifests/kube-proxy.manifest is written by nodeup: an edit there is lost",),
    ),
    "kkp": Recipe(
        "Kubermatic (KKP)",
        Place.SOURCE,
        "in the seed or master cluster: Cluster object, spec.clusterNetwork.ipvs.strictArp (so spelled)",
        "clusterNetwork: {{proxyMode: ipvs, ipvs: {{strictArp: {value}}}}}",
        "kubectl edit clusters.kubermatic.k8c.io CLUSTER (with the seed's kubeconfig)",
        "strictARP true; mode nftables from 1.35 on, ipvs or iptables before",
        overwritten="KKP's controller, within minutes",
    ),
    "kubeone": Recipe(
        "KubeOne",
        Place.SOURCE,
        "kubeone.yaml, clusterNetwork.kubeProxy.ipvs.strictArp (so spelled)",
        "clusterNetwork: {{kubeProxy: {{ipvs: {{strictArp: {value}}}}}}}",
        "kubeone apply --manifest kubeone.yaml",
        _IPTABLES,
        overwritten="`kubeone apply`",
        traps=("look at the ConfigMap afterwards: older versions only use the value for new clusters",),
    ),
    "kube-router": Recipe(
        "kube-router as the proxy",
        Place.NONE,
        default="always on",
        traps=("it cannot be turned off",),
        not_applicable="kube-router always sets arp_ignore=1 and arp_announce=2 on every node when it starts",
    ),
    "cilium": Recipe(
        "Cilium in place of kube-proxy",
        Place.NONE,
        not_applicable=f"Cilium's eBPF programs serve the Services: {_NOT_LOCAL}",
    ),
    "calico-ebpf": Recipe(
        "Calico's eBPF data plane in place of kube-proxy",
        Place.NONE,
        not_applicable=f"Calico's eBPF programs serve the Services: {_NOT_LOCAL}",
    ),
    "ovn-kubernetes": Recipe(
        "OVN-Kubernetes in place of kube-proxy",
        Place.NONE,
        not_applicable=f"OVN serves the Services: {_NOT_LOCAL}",
    ),
    "unknown": Recipe(
        "not known",
        Place.NONE,
    ),
}

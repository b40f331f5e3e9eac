"""SA50x to SA51x: who announces Service IPs, and who else does. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from strictarp.doctor import announcers as products
from strictarp.doctor.announcers import ANY, METALLB, OURS, SERVICELB, Announcer
from strictarp.doctor.check import CLUSTER, Check, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.proxying import IPVS
from strictarp.doctor.wording import WHOLE, on_cluster, some, vip
from strictarp.doctor.workloads import is_true

_READS = frozenset({"daemonsets", "pods"})
_CRDS = frozenset({"ipaddresspools", "l2advertisements", "bgpadvertisements"})
_STOP = {
    SERVICELB: "switch ServiceLB off: `disable: [servicelb]` in /etc/rancher/k3s/config.yaml on the servers",
    products.CILIUM: "delete the CiliumL2AnnouncementPolicies",
    products.CALICO: "set localSubnetL2Reachability to None in FelixConfiguration default",
}


def _both(view: ClusterView) -> Iterator[Sighting]:
    """Two readers of the same L2Advertisements that know nothing of each other."""
    theirs, ours = view.announcer(METALLB), view.announcer(OURS)
    if theirs is None or ours is None or theirs.serves != ours.serves or not theirs.layer2:
        return
    yield Sighting(
        WHOLE,
        f"{theirs.where} and {ours.where} both answer ARP for {_what(ours.serves)}",
        f"stop one of them: kubectl -n {theirs.namespace} delete daemonset {theirs.workload}; or give them "
        "different classes with --lb-class",
        _affected(view, ours.serves),
    )


def _several(view: ClusterView) -> Iterator[Sighting]:
    for one, other in combinations(view.announcers, 2):
        if {one.name, other.name} == {METALLB, OURS} or one.name == other.name:
            continue
        both = _common(one, other)
        if both is None or not (one.layer2 or other.layer2):
            continue
        loser = other if one.name in (METALLB, OURS) else one
        yield Sighting(
            WHOLE,
            f"{one.name} ({one.where}) and {other.name} ({other.where}) both take {_what(both)}",
            _STOP.get(loser.name, f"keep one; or give {loser.name} a loadBalancerClass of its own"),
            _affected(view, both),
        )


def _common(one: Announcer, other: Announcer) -> str | None:
    """The class that both serve; None without one."""
    if one.serves == ANY:
        return other.serves
    return one.serves if other.takes(one.serves) else None


def _what(lb_class: str) -> str:
    if lb_class == ANY:
        return "all Services"
    return f"Services of class {lb_class}" if lb_class else "Services without a loadBalancerClass"


def _affected(view: ClusterView, lb_class: str) -> tuple[str, ...]:
    """The VIPs of the Services of a class."""
    classes = {each.key: each.spec.load_balancer_class or "" for each in view.objects.services}
    return tuple(
        vip(address)
        for address, keys in view.vips.items()
        if lb_class == ANY or any(classes.get(key) == lb_class for key in keys)
    )


def _no_speaker(view: ClusterView) -> Iterator[Sighting]:
    if view.objects.pools and not any(each.name in (METALLB, OURS) for each in view.announcers):
        names = some(sorted(each.metadata.name for each in view.objects.pools))
        yield Sighting(
            WHOLE,
            f"there are IPAddressPools ({names}), and no speaker of MetalLB or strictarp was found",
            "kubectl get daemonsets --all-namespaces; deploy the speakers again (deploy/, docs/speaker.md)",
            view.vip_subjects,
        )


def _bgp_only(view: ClusterView) -> Iterator[Sighting]:
    metallb = view.announcer(METALLB)
    if metallb is not None and metallb.way == "bgp":
        yield Sighting(
            WHOLE,
            f"there are {len(view.objects.bgp_advertisements)} BGPAdvertisements and no L2Advertisement",
            "nothing has to be mended: routers learn the VIPs by BGP, and strictARP matters to them only "
            "where "
            "they share a segment with the nodes",
        )


def _kube_vip_bgp(view: ClusterView) -> Iterator[Sighting]:
    """kube-vip/kube-vip#1114: the VIP is on lo, and arp_ignore=1 silences it there."""
    for each in view.announcers:
        if each.name != products.KUBE_VIP or each.way != "bgp":
            continue
        if view.proxying.mode == IPVS and view.proxying.strict and each.settings.get("interface") == "lo":
            yield Sighting(
                each.where,
                "kube-vip announces by BGP with its addresses on lo, and strictARP is on",
                f"kubectl -n {each.namespace} edit daemonset {each.workload}: set vip_interface to the NIC, "
                "or see that every router has a route and none asks by ARP",
            )


def _no_memberlist(view: ClusterView) -> Iterator[Sighting]:
    for each in view.announcers:
        if each.name == METALLB and each.way == "speaker" and not each.settings.get("memberlist"):
            yield Sighting(
                each.where,
                "METALLB_ML_BIND_ADDR is not set, so its speakers do not watch each other",
                f"kubectl -n {each.namespace} set env daemonset/{each.workload} "
                "METALLB_ML_BIND_ADDR=0.0.0.0 METALLB_ML_LABELS=app=metallb,component=speaker",
                _affected(view, each.serves),
            )


def _no_ml_secret(view: ClusterView) -> Iterator[Sighting]:
    for each in view.announcers:
        if each.name != METALLB or each.way != "speaker" or not each.settings.get("memberlist"):
            continue
        if not each.settings.get("secret"):
            yield Sighting(
                each.where,
                "memberlist runs without a key (METALLB_ML_SECRET_KEY_PATH is not set)",
                f"mount Secret memberlist into {each.where} and set METALLB_ML_SECRET_KEY_PATH, as MetalLB's "
                "own manifests do",
            )


def _cilium_half(view: ClusterView) -> Iterator[Sighting]:
    config = view.config_map("kube-system", "cilium-config")
    data = (config.data or {}) if config else {}
    wanted = is_true(data.get("enable-l2-announcements"))
    replaced = data.get("kube-proxy-replacement", "false") in {"true", "strict"}
    if wanted and not replaced:
        yield Sighting(
            "ConfigMap kube-system/cilium-config",
            "enable-l2-announcements is true and kube-proxy-replacement is not",
            "set kubeProxyReplacement=true in Cilium's Helm values, or switch l2announcements off and keep "
            "another announcer",
        )


def _calico_slow(view: ClusterView) -> Iterator[Sighting]:
    calico = view.announcer(products.CALICO)
    if calico is not None:
        yield Sighting(
            calico.where,
            "Calico answers ARP for Service IPs (localSubnetL2Reachability: PodsAndLoadBalancers)",
            "use it for addresses only that may be away until the Node object is deleted; else set it to "
            "Pods "
            "or None and let a speaker announce",
            view.vip_subjects,
        )


def _keepalived(view: ClusterView) -> Iterator[Sighting]:
    for each in products.keepalived(view.workloads):
        yield Sighting(
            each.title,
            "keepalived runs on nodes of this cluster",
            "see that none of its virtual addresses is in an IPAddressPool; with use_vmac it sets "
            "arp_ignore=1 "
            "on the parent interface and puts back a value of its own: look at the nodes (--on-this-node)",
        )


def _not_everywhere(view: ClusterView) -> Iterator[Sighting]:
    named = {each.where: each for each in view.announcers}
    for daemonset in view.objects.daemonsets:
        each = named.get(f"DaemonSet {daemonset.key}")
        status = daemonset.status
        if each is not None and status.number_ready < status.desired_number_scheduled:
            yield Sighting(
                each.where,
                f"{status.number_ready} of {status.desired_number_scheduled} pods are ready",
                f"kubectl -n {each.namespace} get pods -o wide | grep {each.workload}; kubectl -n "
                f"{each.namespace} describe daemonset {each.workload}",
            )


def _refused_configuration(view: ClusterView) -> Iterator[Sighting]:
    for each in view.objects.configuration_states:
        if each.status.result == "Invalid":
            why = " ".join(each.status.error_summary.split()) or "it does not say why"
            yield Sighting(
                f"ConfigurationState {each.key}",
                f"it could not use the configuration: {why}",
                "mend the object that it names; until then what was good last stays in force",
            )


CHECKS = (
    Check(
        "SA501",
        "MetalLB and strictarp announce the same Services",
        Severity.ERROR,
        "Neither knows the other: each elects an owner of its own, and two nodes answer for one address.",
        CLUSTER,
        on_cluster(_both),
        reads=_READS | {"leases"},
    ),
    Check(
        "SA502",
        "Two announcers serve the same Services",
        Severity.WARNING,
        "Both give addresses to a Service and announce them; the last one to write wins, and sometimes "
        "both answer.",
        CLUSTER,
        on_cluster(_several),
        reads=_READS,
    ),
    Check(
        "SA503",
        "There are pools, and no speaker",
        Severity.ERROR,
        "Addresses are given out, and nobody answers ARP for them.",
        CLUSTER,
        on_cluster(_no_speaker),
        reads=_READS | _CRDS | {"leases"},
    ),
    Check(
        "SA504",
        "MetalLB works by BGP only",
        Severity.INFO,
        "No speaker answers ARP, so what this program looks for in Layer 2 mode does not apply to these "
        "VIPs.",
        CLUSTER,
        on_cluster(_bgp_only),
        reads=_CRDS | {"daemonsets"},
    ),
    Check(
        "SA505",
        "kube-vip's addresses on lo are silenced by strictARP",
        Severity.WARNING,
        "With arp_ignore=1 a kernel does not answer on a NIC for an address of lo: hosts of the same "
        "segment do "
        "not reach it (kube-vip/kube-vip#1114).",
        CLUSTER,
        on_cluster(_kube_vip_bgp),
        reads=_READS,
    ),
    Check(
        "SA506",
        "MetalLB's speakers do not watch each other",
        Severity.WARNING,
        "Without memberlist the IPs of a node that died stay with it until its Node object is deleted.",
        CLUSTER,
        on_cluster(_no_memberlist),
        reads=_READS,
    ),
    Check(
        "SA507",
        "MetalLB's memberlist has no key",
        Severity.WARNING,
        "Any host that reaches port 7946 can join, and tell the speakers that nodes have died.",
        CLUSTER,
        on_cluster(_no_ml_secret),
        reads=_READS,
    ),
    Check(
        "SA508",
        "Cilium's L2 announcements need its kube-proxy replacement",
        Severity.WARNING,
        "Without it Cilium leases the addresses and does not serve them: whether packets arrive is luck.",
        CLUSTER,
        on_cluster(_cilium_half),
        reads=frozenset({"configmaps"}),
    ),
    Check(
        "SA509",
        "Calico announces Service IPs, and does not move them",
        Severity.WARNING,
        "The addresses of a node that died stay with it until its Node object is deleted.",
        CLUSTER,
        on_cluster(_calico_slow),
        reads=frozenset({"felixconfigurations"}),
    ),
    Check(
        "SA510",
        "keepalived runs in this cluster",
        Severity.INFO,
        "It puts addresses on interfaces and changes ARP sysctls by itself; both may work against strictARP.",
        CLUSTER,
        on_cluster(_keepalived),
        reads=_READS,
    ),
    Check(
        "SA511",
        "Announcers are not ready on all their nodes",
        Severity.WARNING,
        "A node without its announcer owns nothing: with the next failure there are fewer to take over.",
        CLUSTER,
        on_cluster(_not_everywhere),
        reads=frozenset({"daemonsets"}),
    ),
    Check(
        "SA512",
        "A component could not use its configuration",
        Severity.ERROR,
        "It works on with what was good last: what you have changed since has no effect.",
        CLUSTER,
        on_cluster(_refused_configuration),
        causes=("SA601",),
        explains=lambda _, own: own.subject.startswith("ConfigurationState "),
        reads=frozenset({"configurationstates"}),
    ),
)

"""SA0xx: which service proxy, in which mode. Pure.

strictARP is a matter of mode ipvs alone; for the others that is said, not left to be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from strictarp.cluster.installers import DATAPLANES
from strictarp.cluster.recipes import RECIPES
from strictarp.cluster.signs import is_ours, proxies
from strictarp.doctor.check import CLUSTER, Check, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.proxying import EBPF, IPTABLES, IPVS, KUBE_ROUTER, NFTABLES, OVN
from strictarp.doctor.wording import PROXY, on_cluster, some

_READS = frozenset({"daemonsets", "configmaps", "nodes"})
_WITHOUT = {IPTABLES, NFTABLES, EBPF, OVN}
_TAG = re.compile(r":v?1\.(\d{1,4})(?!\d)")
_VERSION = re.compile(r"v?1\.(\d{1,4})\..*\+k3s")
DEPRECATED, OFF, GONE = 35, 40, 43
"""Minor versions: kube-proxy's mode ipvs is deprecated, needs a feature gate, is removed (KEP-5495)."""
_MOVE = (
    "keep IPVS with strictarp's proxy, which reads the same configuration (docs/proxy.md), or move to "
    "nftables: "
    "set `mode: nftables` in kube-proxy's configuration and restart it"
)


def _not_applicable(view: ClusterView) -> Iterator[Sighting]:
    proxying = view.proxying
    if proxying.mode in _WITHOUT:
        yield Sighting(
            PROXY,
            f"mode is {proxying.mode}: {proxying.evidence}",
            "nothing has to be mended; leave strictARP as it is, and let an announcer answer for the VIPs",
        )


def _unknown(view: ClusterView) -> Iterator[Sighting]:
    proxying = view.proxying
    if not proxying.mode and not any(each.fault for each in proxying.settings):
        yield Sighting(
            PROXY,
            f"the mode cannot be found out: {proxying.evidence}",
            "ask a node: curl -s http://127.0.0.1:10249/proxyMode; or give the doctor reports of the nodes "
            "(--print-manifest, --node-reports)",
        )


def _mixed(view: ClusterView) -> Iterator[Sighting]:
    if view.proxying.mode == "mixed":
        yield Sighting(
            PROXY,
            view.proxying.evidence,
            "give all nodes the same mode; " + _place(view),
            view.vip_subjects,
        )


def _unreadable(view: ClusterView) -> Iterator[Sighting]:
    for each in view.proxying.settings:
        if each.fault:
            yield Sighting(PROXY, f"{each.where}: {each.fault}", _place(view))


def _place(view: ClusterView) -> str:
    installer = view.installer
    if installer.where:
        return f"it is set in {installer.where}"
    return "it is set where the cluster was installed from"


def _minor(view: ClusterView) -> int | None:
    """Of kube-proxy by its image's tag, in k3s of the kubelet it is one program with, else of the API."""
    for each in proxies(view.objects.signs):
        if is_ours(each):
            continue
        for image in each.images:
            if match := _TAG.search(image):
                return int(match[1])
    versions = (_VERSION.match(node.kubelet_version) for node in view.objects.signs.nodes)
    return max((int(found[1]) for found in versions if found), default=view.minor)


def _has_kube_ipvs(view: ClusterView) -> bool:
    return view.proxying.mode == IPVS and not (view.proxying.ours and not view.proxying.kubes)


def _deprecated(view: ClusterView) -> Iterator[Sighting]:
    minor = _minor(view)
    if _has_kube_ipvs(view) and minor is not None and DEPRECATED <= minor < OFF:
        yield Sighting(
            PROXY,
            f"kube-proxy 1.{minor} runs in mode ipvs, which is deprecated since 1.{DEPRECATED}, off by "
            "default "
            f"in 1.{OFF} and gone in 1.{GONE}",
            f"before the upgrade to 1.{OFF}: {_MOVE}",
        )


def _removed(view: ClusterView) -> Iterator[Sighting]:
    minor = _minor(view)
    if not _has_kube_ipvs(view) or minor is None or minor < OFF:
        return
    told = (
        f"kube-proxy 1.{minor} has no mode ipvs any more"
        if minor >= GONE
        else f"kube-proxy 1.{minor} starts in mode ipvs only with the feature gate KubeProxyIPVS=true"
    )
    yield Sighting(PROXY, told, _MOVE, view.vip_subjects)


def _several(view: ClusterView) -> Iterator[Sighting]:
    running = [*view.proxying.kubes[:1], *view.proxying.ours[:1]]
    running += [f"kube-router ({each})" for each in _dataplane(view, "kube-router")]
    if len(running) > 1:
        yield Sighting(
            PROXY,
            f"at work at the same time: {' and '.join(running)}",
            "keep one of them on each node: stop kube-proxy with `kubectl -n kube-system patch daemonset "
            "kube-proxy -p "
            '\'{"spec":{"template":{"spec":{"nodeSelector":{"strictarp.io/no":"such-node"}}}}}\'`, '
            "or the other one",
            view.vip_subjects,
        )


def _beside_ebpf(view: ClusterView) -> Iterator[Sighting]:
    running = (*view.proxying.kubes, *view.proxying.ours)
    if not running:
        return
    for name in ("cilium", "calico-ebpf", "ovn-kubernetes"):
        if signs := _dataplane(view, name):
            yield Sighting(
                PROXY,
                f"{some(running)} runs beside {RECIPES[name].title.partition(' in place')[0]} "
                f"({some(signs)})",
                "stop the one that is not wanted, and remove what it leaves: `kube-proxy --cleanup` or "
                "`strictarp proxy --cleanup` on each node",
                view.vip_subjects,
            )


def _dataplane(view: ClusterView, name: str) -> tuple[str, ...]:
    look = dict(DATAPLANES)[name]
    return tuple(look(view.objects.signs))


def _kube_router(view: ClusterView) -> Iterator[Sighting]:
    if view.proxying.mode == KUBE_ROUTER:
        yield Sighting(
            PROXY,
            f"kube-router is the proxy ({view.proxying.evidence}): arp_ignore=1 and arp_announce=2 on "
            "every node",
            "nothing has to be mended; it cannot be switched off there",
        )


CHECKS = (
    Check(
        "SA001",
        "strictARP is not applicable",
        Severity.INFO,
        "Only a proxy in mode ipvs binds Service IPs on the nodes; without that no kernel answers for "
        "them, and "
        "strictARP changes nothing but the nodes' own addresses.",
        CLUSTER,
        on_cluster(_not_applicable),
        reads=_READS,
    ),
    Check(
        "SA002",
        "The proxy's mode cannot be found out",
        Severity.WARNING,
        "Whether kernels answer for Service IPs depends on the mode, so this cluster cannot be judged "
        "from here.",
        CLUSTER,
        on_cluster(_unknown),
        reads=_READS,
    ),
    Check(
        "SA003",
        "kube-proxy's mode ipvs is deprecated",
        Severity.WARNING,
        "An upgrade will take the mode away, and with it every Service of the cluster.",
        CLUSTER,
        on_cluster(_deprecated),
        reads=_READS,
    ),
    Check(
        "SA004",
        "This kube-proxy does not start in mode ipvs",
        Severity.ERROR,
        "A proxy that does not start programs no Service on its node after the next restart.",
        CLUSTER,
        on_cluster(_removed),
        reads=_READS,
    ),
    Check(
        "SA005",
        "Several service proxies at once",
        Severity.ERROR,
        "Each takes away what the other one has programmed: connections break, and Service IPs come and "
        "go on "
        "the nodes.",
        CLUSTER,
        on_cluster(_several),
        reads=_READS,
    ),
    Check(
        "SA006",
        "A service proxy beside an eBPF data plane",
        Severity.WARNING,
        "Both serve the same Services; which one a packet meets depends on the interface it comes in by.",
        CLUSTER,
        on_cluster(_beside_ebpf),
        reads=_READS,
    ),
    Check(
        "SA007",
        "The proxy's configuration cannot be read",
        Severity.WARNING,
        "Proxies that start with it fail, or run with other settings than you think.",
        CLUSTER,
        on_cluster(_unreadable),
        reads=_READS,
    ),
    Check(
        "SA008",
        "kube-router always sets strictARP",
        Severity.INFO,
        "The sysctls are set on all interfaces whether anybody wants them or not.",
        CLUSTER,
        on_cluster(_kube_router),
        reads=_READS,
    ),
    Check(
        "SA009",
        "Nodes differ in the proxy's mode",
        Severity.WARNING,
        "The nodes in mode ipvs answer ARP for Service IPs while the others do not, so who answers "
        "changes with "
        "the node that owns an address.",
        CLUSTER,
        on_cluster(_mixed),
        reads=_READS,
    ),
)

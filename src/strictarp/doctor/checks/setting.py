"""SA1xx: strictARP as it is configured, and whether the proxies run with that. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.cluster.recipes import Place
from strictarp.cluster.rollout import rollout
from strictarp.doctor.check import CLUSTER, Check, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.kinds import DaemonSet, Pod
from strictarp.doctor.proxying import IPVS
from strictarp.doctor.wording import PROXY, node, on_cluster, some

_READS = frozenset({"daemonsets", "configmaps", "nodes"})
BY_HAND = ("kubectl", "k9s", "lens", "Lens", "strictarp")
"""Field managers of people and of `strictarp enable`, by how their names begin."""


def _off(view: ClusterView) -> Iterator[Sighting]:
    """Off, and somebody answers ARP for Service IPs in user space or on one node."""
    layer2 = [each for each in view.announcers if each.layer2]
    if layer2:
        yield from _off_sightings(
            view, f"; Service IPs are announced by {some(each.name for each in layer2)}"
        )


def _off_alone(view: ClusterView) -> Iterator[Sighting]:
    if not any(each.layer2 for each in view.announcers):
        yield from _off_sightings(view, "; no Layer 2 announcer was found")


def _off_sightings(view: ClusterView, more: str) -> Iterator[Sighting]:
    if view.proxying.mode != IPVS or view.guards:
        return
    for each in view.proxying.settings:
        if not each.strict and not each.fault:
            yield Sighting(PROXY, f"{each.where}: {each.said}{more}", how_to_set(view), view.vip_subjects)


def how_to_set(view: ClusterView) -> str:
    """The command that switches strictARP on in this cluster, in the place that lasts."""
    installer = view.installer
    if installer.configmap_lasts:
        return "strictarp enable"
    if not installer.known or not installer.edit:
        return "strictarp enable --dry-run says whether it can be switched on from here"
    return f"in {installer.where}: {installer.edit}; then: {installer.apply}"


def _overwritten(view: ClusterView) -> Iterator[Sighting]:
    """strictARP is on in a ConfigMap that something renders again, and people have written to it."""
    installer = view.installer
    setting = view.proxying.setting
    if setting is None or not setting.strict or installer.holder is None or not installer.overwritten:
        return
    config = view.objects.signs.config_map(installer.holder.name)
    hands = [each for each in (config.managers if config else ()) if each.startswith(BY_HAND)]
    if hands and installer.place is not Place.NONE:
        yield Sighting(
            installer.holder.title,
            f"strictARP was set there by {some(hands)}; {installer.overwritten} writes it anew "
            f"({installer.title})",
            f"set it where it lasts as well, {installer.where}: {installer.edit}; then: {installer.apply}",
            (PROXY,),
        )


def _older(view: ClusterView) -> Iterator[Sighting]:
    """kube-proxy reads its configuration when it starts; our proxy follows it."""
    written, holder = view.objects.configured_at, view.installer.holder
    if not written or holder is None or view.proxying.ours:
        return
    old = [
        (pod.spec.node_name or pod.metadata.name, since)
        for pod in _pods_of(view, holder.daemonset, holder.namespace)
        if (since := _started(pod)) and since < written
    ]
    if old:
        told = some(f"{name} since {since}" for name, since in sorted(old))
        yield Sighting(
            f"DaemonSet {holder.namespace}/{holder.daemonset}",
            f"{len(old)} proxies run longer than since {written}, when {holder.title} was last written: "
            f"{told}",
            f"kubectl -n {holder.namespace} rollout restart daemonset/{holder.daemonset}",
            tuple(node(name) for name, _ in sorted(old)),
        )


def _pods_of(view: ClusterView, daemonset: str, namespace: str) -> Iterator[Pod]:
    for pod in view.objects.pods:
        owners = pod.metadata.owner_references or ()
        owned = any(each.kind == "DaemonSet" and each.name == daemonset for each in owners)
        if owned and pod.metadata.namespace == namespace and pod.status.phase == "Running":
            yield pod


def _started(pod: Pod) -> str:
    """When the youngest of its containers started: one that was restarted has read the file again."""
    running = [each.state.running for each in pod.status.container_statuses or ()]
    times = [each.started_at for each in running if each is not None and each.started_at]
    return max(times, default=pod.status.start_time or "")


def _unfinished(view: ClusterView) -> Iterator[Sighting]:
    for each in _proxy_daemonsets(view):
        if not each.status.observed_generation and not each.status.desired_number_scheduled:
            continue  # nobody counts here
        state = rollout(each)
        if not state.done:
            yield Sighting(
                f"DaemonSet {each.key}",
                state.text,
                f"kubectl -n {each.metadata.namespace} rollout status daemonset/{each.metadata.name}; "
                f"kubectl -n {each.metadata.namespace} get pods -o wide shows the pods that are not ready",
                (PROXY,),
            )


def _proxy_daemonsets(view: ClusterView) -> Iterator[DaemonSet]:
    titles = {*view.proxying.kubes, *view.proxying.ours}
    return (each for each in view.objects.daemonsets if f"DaemonSet {each.key}" in titles)


def _disagreeing(view: ClusterView) -> Iterator[Sighting]:
    wanted = view.proxying.strict
    for each in view.objects.proxies:
        if not each.told or (each.requested == wanted and (each.in_force or not wanted)):
            continue
        if each.requested != wanted:
            does = (
                "asks for strictARP, the configuration does not"
                if each.requested
                else ("does not ask for strictARP, the configuration does")
            )
            seen, mend = f"its proxy {does}", _restart(view)
        else:
            seen = f"strictARP is asked for and not in force: {each.reason}"
            mend = f"strictarp guard on {each.node}, or restart its proxy: {_restart(view)}"
        yield Sighting(node(each.node), seen, mend, view.vip_subjects)


def _restart(view: ClusterView) -> str:
    holder = view.installer.holder
    if holder is None:
        return view.installer.apply or "restart the proxy of this node"
    return f"kubectl -n {holder.namespace} rollout restart daemonset/{holder.daemonset}"


def _unproved(evidence: Evidence) -> Iterator[Sighting]:
    view = evidence.cluster
    if view is None or evidence.nodes or view.proxying.mode != IPVS or not view.proxying.strict:
        return
    silent = [each.node for each in view.objects.proxies if not each.told]
    if silent:
        yield Sighting(
            PROXY,
            f"strictARP is set, and the proxies of {some(sorted(silent))} do not tell whether it is in force",
            "strictarp doctor --print-manifest | kubectl apply -f -, and give the reports with "
            "--node-reports; "
            "or ask the wire: strictarp doctor --wire",
        )


def _idle(view: ClusterView) -> Iterator[Sighting]:
    for each in view.proxying.settings:
        if each.strict and each.mode and each.mode != IPVS:
            yield Sighting(
                PROXY,
                f"{each.where}: strictARP is true and the mode is {each.mode}",
                "leave it, or take it out; if mode ipvs was meant, set `mode: ipvs` there",
            )


def _guarded(view: ClusterView) -> Iterator[Sighting]:
    setting = view.proxying.setting
    if view.proxying.mode == IPVS and view.guards and setting is not None and not view.proxying.strict:
        yield Sighting(
            PROXY,
            f"{setting.where}: {setting.said}; {some(view.guards)} keeps strictARP in force instead",
            "nothing has to be mended; the nodes tell whether it is so: strictarp guard --status there",
        )


CHECKS = (
    Check(
        "SA101",
        "strictARP is off",
        Severity.ERROR,
        "Every node has every Service IP, and without strictARP every kernel answers ARP for it beside the "
        "announcer: the router's entry flaps, and connections break.",
        CLUSTER,
        on_cluster(_off),
        reads=_READS,
    ),
    Check(
        "SA102",
        "strictARP is off, and nobody announces Service IPs yet",
        Severity.WARNING,
        "As soon as an address is in the nodes' segment (an announcer, an externalIP), all nodes answer "
        "for it.",
        CLUSTER,
        on_cluster(_off_alone),
        reads=_READS,
    ),
    Check(
        "SA103",
        "strictARP is set in a place that is written anew",
        Severity.WARNING,
        "It works until the installer renders the ConfigMap again, and then stops without a word.",
        CLUSTER,
        on_cluster(_overwritten),
        reads=_READS,
    ),
    Check(
        "SA104",
        "Proxies are older than their configuration",
        Severity.WARNING,
        "kube-proxy reads strictARP when it starts: what runs now may still work with what was written "
        "before.",
        CLUSTER,
        on_cluster(_older),
        reads=_READS | {"pods"},
    ),
    Check(
        "SA105",
        "The rollout of the proxies is not finished",
        Severity.WARNING,
        "Nodes with an old proxy and nodes with a new one work by different settings.",
        CLUSTER,
        on_cluster(_unfinished),
        reads=frozenset({"daemonsets"}),
    ),
    Check(
        "SA106",
        "A node's proxy says otherwise",
        Severity.ERROR,
        "On that node the kernel answers ARP for Service IPs that another node owns.",
        CLUSTER,
        on_cluster(_disagreeing),
        causes=("SA101", "SA201", "SA202"),
        explains=lambda cause, own: cause.subject.startswith(f"{own.subject} "),
        reads=_READS,
    ),
    Check(
        "SA107",
        "strictARP is set, and no node has proved it",
        Severity.INFO,
        "kube-proxy writes the sysctls once and never looks again: only the node or the wire shows what "
        "is so.",
        CLUSTER,
        _unproved,
        reads=_READS,
    ),
    Check(
        "SA108",
        "strictARP is set for a proxy that does not use it",
        Severity.INFO,
        "In another mode than ipvs the setting does nothing, and may hide that another mode was meant.",
        CLUSTER,
        on_cluster(_idle),
        reads=_READS,
    ),
    Check(
        "SA109",
        "A guard holds strictARP where the proxy does not",
        Severity.INFO,
        "It is in force on the nodes that the guard runs on, and only as long as it runs there.",
        CLUSTER,
        on_cluster(_guarded),
        reads=_READS,
    ),
)

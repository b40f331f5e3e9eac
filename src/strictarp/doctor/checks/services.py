"""SA61x: Services without an address, and addresses without an announcement. Pure.

The verdicts are those of our speakers, which are MetalLB's in Layer 2 mode.
"""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.doctor.announcers import METALLB, OURS
from strictarp.doctor.check import CLUSTER, Check, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.services import waiting
from strictarp.doctor.wording import on_cluster, service, some, vip
from strictarp.speaker.candidates import EXCLUDE_LABEL, Verdict, Why
from strictarp.speaker.silence import sentence

_READS = frozenset({"services", "endpointslices", "nodes", "ipaddresspools", "l2advertisements", "leases"})


def _pending(view: ClusterView) -> Iterator[Sighting]:
    for key, lb_class in waiting(view).items():
        if lb_class and not any(each.takes(lb_class) for each in view.announcers):
            continue  # SA612
        yield Sighting(service(key), *_why_pending(view, key, lb_class))


def _why_pending(view: ClusterView, key: str, lb_class: str) -> tuple[str, str]:
    """What is seen, and how to mend it."""
    namespace, _, name = key.partition("/")
    describe = f"kubectl -n {namespace} describe service {name}"
    if view.uses_pools and lb_class == view.lb_class and (decision := view.plan.services.get(key)):
        if decision.reason:
            return f"it has no address: {decision.reason}", f"{describe} shows the same as Events"
        if decision.ips:
            return (
                f"it has no address, though {' and '.join(decision.ips)} would do",
                f"see that the controller runs: kubectl -n {view.namespace} get pods",
            )
    served = [each.name for each in view.announcers if each.takes(lb_class)]
    if served:
        return f"it has no address; {some(served)} should give one", describe
    return (
        "it has no address, and nothing in this cluster was recognised that gives one",
        "deploy a controller with pools (docs/controller.md), or make it a NodePort or ClusterIP Service",
    )


def _foreign_class(view: ClusterView) -> Iterator[Sighting]:
    for key, lb_class in waiting(view).items():
        if lb_class and not any(each.takes(lb_class) for each in view.announcers):
            served = sorted({each.serves or "Services without a class" for each in view.announcers})
            yield Sighting(
                service(key),
                f"spec.loadBalancerClass is {lb_class}; what is served: {some(served) or 'nothing'}",
                "delete and create it with another class (the field cannot be changed): kubectl -n "
                f"{key.partition('/')[0]} get service {key.partition('/')[2]} -o yaml",
            )


def _silent(view: ClusterView, *whys: Why) -> Iterator[tuple[str, Verdict]]:
    """The Services that nobody may announce for one of these reasons, where speakers are to announce."""
    if not any(each.name in (METALLB, OURS) for each in view.announcers) or view.objects.bgp_advertisements:
        return
    for key, verdict in view.verdicts.items():
        if verdict.why in whys:
            yield key, verdict


def _vips(verdict: Verdict) -> tuple[str, ...]:
    return tuple(map(vip, verdict.addresses))


def _unadvertised(view: ClusterView) -> Iterator[Sighting]:
    for key, verdict in _silent(view, Why.NO_ADVERTISEMENT, Why.SHARED_WITH_SELECTOR):
        mend = (
            "printf 'apiVersion: metallb.io/v1beta1\\nkind: L2Advertisement\\nmetadata: "
            "{name: all, namespace: "
            f"{view.namespace}}}\\n' | kubectl apply -f -, which announces all pools; or one with selectors"
        )
        if verdict.why is Why.SHARED_WITH_SELECTOR:
            mend = "take serviceSelectors out of the L2Advertisement, or allow-shared-ip off the Service"
        yield Sighting(service(key), sentence(verdict), mend, _vips(verdict))


def _no_node(view: ClusterView) -> Iterator[Sighting]:
    for key, verdict in _silent(view, Why.NO_NODE):
        yield Sighting(service(key), sentence(verdict), _let_a_node(view, verdict, key), _vips(verdict))


def _let_a_node(view: ClusterView, verdict: Verdict, key: str) -> str:
    """By the most frequent reason."""
    namespace, _, name = key.partition("/")
    reasons = list(verdict.reasons.values())
    leading = max(sorted(set(reasons)), key=reasons.count, default="")
    if "externalTrafficPolicy" in leading:
        return (
            "run a Pod of it on a node that may announce, or: kubectl -n "
            f'{namespace} patch service {name} -p \'{{"spec":{{"externalTrafficPolicy":"Cluster"}}}}\''
        )
    if EXCLUDE_LABEL in leading:
        return f"kubectl label node NODE {EXCLUDE_LABEL}-"
    if "no link" in leading:
        return "give a node an address in the VIP's subnet, or the pool addresses of the nodes' segment"
    if "NetworkUnavailable" in leading:
        return "kubectl describe node NODE: the network plugin has not set it up"
    named = " ".join(each.name for each in verdict.matching)
    return f"widen nodeSelectors: kubectl -n {view.namespace} edit l2advertisements {named}; or label a node"


def _no_endpoint(view: ClusterView) -> Iterator[Sighting]:
    for key, verdict in _silent(view, Why.NO_ENDPOINT):
        namespace, _, name = key.partition("/")
        yield Sighting(
            service(key),
            sentence(verdict),
            f"kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}; see that Pods "
            "match the selector and are ready",
            _vips(verdict),
        )


def _outside(view: ClusterView) -> Iterator[Sighting]:
    if not view.objects.pools or view.objects.bgp_advertisements:
        return
    others = [each for each in view.announcers if each.name not in (METALLB, OURS)]
    for key, verdict in view.verdicts.items():
        if verdict.why is Why.NOT_IN_POOL and not others:
            yield Sighting(
                service(key),
                f"{', '.join(map(str, verdict.addresses))} is in no IPAddressPool (or in more than one)",
                f"add it to a pool: kubectl -n {view.namespace} edit ipaddresspools; or let the Service get "
                "another address",
                _vips(verdict),
            )


def _one_candidate(view: ClusterView) -> Iterator[Sighting]:
    if not any(each.name in (METALLB, OURS) for each in view.announcers) or len(view.objects.nodes) < 2:
        return
    for key, verdict in view.verdicts.items():
        if verdict.why is None and len(verdict.order) == 1:
            reasons = sorted(set(verdict.reasons.values()))
            yield Sighting(
                service(key),
                f"only {verdict.order[0].node} may announce {', '.join(map(str, verdict.addresses))}: "
                + (f"the others: {some(reasons)}" if reasons else "no other node has a living speaker"),
                "let a second node be a candidate: a second Pod with externalTrafficPolicy Local, wider "
                "nodeSelectors, or speakers on more nodes",
                _vips(verdict),
            )


CHECKS = (
    Check(
        "SA611",
        "A Service waits for its address",
        Severity.ERROR,
        "Without an address nobody outside reaches it.",
        CLUSTER,
        on_cluster(_pending),
        causes=("SA601", "SA602"),
        reads=frozenset({"services", "ipaddresspools", "daemonsets"}),
    ),
    Check(
        "SA612",
        "Nobody serves the Service's class",
        Severity.ERROR,
        "A controller leaves Services of another loadBalancerClass alone, without a word.",
        CLUSTER,
        on_cluster(_foreign_class),
        reads=frozenset({"services", "daemonsets"}),
    ),
    Check(
        "SA613",
        "An address is given out and not announced",
        Severity.ERROR,
        "The Service shows an address that nobody answers for: the most common mistake with MetalLB.",
        CLUSTER,
        on_cluster(_unadvertised),
        causes=("SA503",),
        reads=_READS,
    ),
    Check(
        "SA614",
        "No node may announce a Service",
        Severity.ERROR,
        "Every candidate is excluded by a rule of its own; together they leave nobody to answer.",
        CLUSTER,
        on_cluster(_no_node),
        causes=("SA503", "SA607"),
        reads=_READS,
    ),
    Check(
        "SA615",
        "A Service has no endpoint that can serve",
        Severity.WARNING,
        "Speakers stop announcing the address of a Service that could not answer anyway.",
        CLUSTER,
        on_cluster(_no_endpoint),
        causes=("SA503",),
        reads=_READS,
    ),
    Check(
        "SA616",
        "An address is in no pool",
        Severity.WARNING,
        "Speakers announce addresses of pools only, and the controller takes this one away at its next "
        "restart.",
        CLUSTER,
        on_cluster(_outside),
        causes=("SA601",),
        explains=lambda _, __: True,
        reads=_READS,
    ),
    Check(
        "SA617",
        "One node alone may announce a Service",
        Severity.WARNING,
        "When that node fails, nobody takes over.",
        CLUSTER,
        on_cluster(_one_candidate),
        causes=("SA511",),
        reads=_READS,
    ),
)

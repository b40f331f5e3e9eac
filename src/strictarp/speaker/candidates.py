"""Who may announce a Service's addresses, and why the others may not. Pure.

The set is MetalLB's Layer 2 mode (evaluated identically on each node), plus: a node that the API calls not
ready, or that is out of service, comes behind all others but is never left out: after an outage of the API
every node may look not ready. A node needs a link in the address's segment; one whose links are not known
counts as having one.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from strictarp.kube.objects import EndpointConditions, EndpointSlice, Node, Service
from strictarp.netlink.rtnl import covers
from strictarp.speaker import advertising, election, view
from strictarp.speaker.advertising import Advertising
from strictarp.speaker.links import Subnet
from strictarp.speaker.pools import Address, Pool, pool_of

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
SHARING_ANNOTATIONS = ("metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip")


class Why(enum.StrEnum):
    """Why nobody announces a Service."""

    NOT_LOAD_BALANCER = "it is not of type LoadBalancer"
    OTHER_CLASS = "its loadBalancerClass is not ours"
    NO_ADDRESS = "it has no address yet"
    INVALID_ADDRESS = "an address in its status cannot be read"
    NOT_IN_POOL = "its addresses are not in one IPAddressPool"
    NO_ENDPOINT = "it has no endpoint that can serve"
    NO_ADVERTISEMENT = "no L2Advertisement selects its pool and the Service"
    SHARED_WITH_SELECTOR = "it shares its address and an L2Advertisement has serviceSelectors"
    NO_NODE = "no node may announce it"


class Options(msgspec.Struct, frozen=True):
    """Flags of the daemon that decide about candidates."""

    lb_class: str = ""
    ignore_exclude_label: bool = False
    cordoned_last: bool = False


class Facts(msgspec.Struct, frozen=True):
    """What the API says and that is the same for all Services.

    members: nodes with a living speaker. subnets: of the nodes whose links are known.
    """

    pools: tuple[Pool, ...] = ()
    advertising: tuple[Advertising, ...] = ()
    nodes: Mapping[str, Node] = {}
    members: frozenset[str] = frozenset()
    subnets: Mapping[str, tuple[Subnet, ...]] = {}
    options: Options = Options()


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A node that may announce. `score`: sum of preferences; `behind`: only after all that are not."""

    node: str
    score: int = 0
    behind: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """What holds for one Service.

    addresses: of its status, all of one owner. why: set when nobody may announce it; `candidates` is empty
    then. reasons: node → why it may not. matching: the advertisements that count, for `interfaces_of`.
    """

    service: str
    addresses: tuple[Address, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    why: Why | None = None
    reasons: Mapping[str, str] = msgspec.field(default_factory=dict)
    matching: tuple[Advertising, ...] = ()

    @property
    def order(self) -> tuple[view.Candidate, ...]:
        """The candidates, first choice first: always by the Service's first address."""
        scores = {each.node: each.score for each in self.candidates}
        behind = {each.node for each in self.candidates if each.behind}
        return election.order(scores, str(self.addresses[0]), behind) if scores else ()


def evaluate(service: Service, slices: Sequence[EndpointSlice], facts: Facts) -> Verdict:
    """Judge one Service; `slices` are its own."""
    key = service.key
    why = _not_ours(service, facts.options)
    if why:
        return Verdict(key, why=why)
    try:
        addresses = tuple(ipaddress.ip_address(text) for text in _ingress(service))
    except ValueError:
        return Verdict(key, why=Why.INVALID_ADDRESS)
    if not addresses:
        return Verdict(key, why=Why.NO_ADDRESS)
    pool = pool_of(facts.pools, addresses[0])
    if pool is None or not all(pool.holds(address) for address in addresses):
        return Verdict(key, addresses, why=Why.NOT_IN_POOL)
    matching = advertising.matching(facts.advertising, pool.name, service.metadata.labels)
    serving = _serving_nodes(slices)
    why = _nobody(service, matching, anyone_serves=serving is not None)
    if why:
        return Verdict(key, addresses, why=why)
    local = service.spec.external_traffic_policy == "Local"
    candidates, reasons = [], {}
    for node in sorted(facts.members):
        against = _against(node, matching, facts) or _off_segment(node, addresses, facts)
        if against is None and local and node not in (serving or ()):
            against = "externalTrafficPolicy is Local and no endpoint that can serve is on this node"
        if against:
            reasons[node] = against
            continue
        score = sum(each.weights.get(node, 0) for each in matching)
        candidates.append(Candidate(node, score, is_behind(facts.nodes.get(node), facts.options)))
    return Verdict(key, addresses, tuple(candidates), None if candidates else Why.NO_NODE, reasons, matching)


def _ingress(service: Service) -> list[str]:
    return [entry.ip for entry in service.status.load_balancer.ingress or () if entry.ip]


def _not_ours(service: Service, options: Options) -> Why | None:
    if service.spec.type != "LoadBalancer":
        return Why.NOT_LOAD_BALANCER
    if (service.spec.load_balancer_class or "") != options.lb_class:
        return Why.OTHER_CLASS
    return None


def _nobody(service: Service, matching: tuple[Advertising, ...], *, anyone_serves: bool) -> Why | None:
    if not anyone_serves:
        return Why.NO_ENDPOINT
    if not matching:
        return Why.NO_ADVERTISEMENT
    annotations = service.metadata.annotations or {}
    if any(name in annotations for name in SHARING_ANNOTATIONS) and any(each.services for each in matching):
        return Why.SHARED_WITH_SELECTOR
    return None


def can_serve(conditions: EndpointConditions) -> bool:
    """Ready or not told: yes, even if not serving; else only if serving (a terminating one may be)."""
    return conditions.ready is None or conditions.ready or bool(conditions.serving)


def _serving_nodes(slices: Iterable[EndpointSlice]) -> set[str] | None:
    """The nodes with an endpoint that can serve; None when there is no such endpoint anywhere."""
    nodes, found = set(), False
    for each in slices:
        for endpoint in each.endpoints or ():
            if can_serve(endpoint.conditions):
                found = True
                if endpoint.node_name:
                    nodes.add(endpoint.node_name)
    return nodes if found else None


def _against(name: str, matching: tuple[Advertising, ...], facts: Facts) -> str | None:
    """Why this node may not announce; a node whose object is not known yet counts as fine."""
    node = facts.nodes.get(name)
    if node is not None:
        if _condition(node, "NetworkUnavailable") == "True":
            return "condition NetworkUnavailable is True"
        labels = node.metadata.labels or {}
        if EXCLUDE_LABEL in labels and not facts.options.ignore_exclude_label:
            return f"label {EXCLUDE_LABEL} is set"
    if not any(each.covers(name) for each in matching):
        return "no L2Advertisement of the pool selects this node"
    return None


def _off_segment(name: str, addresses: Iterable[Address], facts: Facts) -> str | None:
    """Why this node cannot be heard where the addresses are: none of them is in a subnet of its links."""
    subnets = facts.subnets.get(name)
    if subnets is None:
        return None
    packed = [address.packed for address in addresses]
    if any(covers(own, prefix, each) for own, prefix in subnets for each in packed):
        return None
    return f"no link in the segment of {', '.join(str(address) for address in addresses)}"


def is_behind(node: Node | None, options: Options) -> bool:
    """The node comes after all others: not Ready, out of service, or (by option) cordoned."""
    if node is None:
        return False
    if is_not_ready(node):
        return True
    if any(taint.key == OUT_OF_SERVICE_TAINT for taint in node.spec.taints or ()):
        return True
    return options.cordoned_last and node.spec.unschedulable


def is_not_ready(node: Node | None) -> bool:
    """The API calls the node not ready, or knows nothing of it any more."""
    return node is not None and _condition(node, "Ready") in ("False", "Unknown")


def _condition(node: Node, kind: str) -> str | None:
    return next((each.status for each in node.status.conditions or () if each.type == kind), None)

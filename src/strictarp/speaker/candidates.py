"""Who may announce a Service's addresses, and why the others may not. Pure.

The set is MetalLB's Layer 2 mode (evaluated identically on each node), plus: a node that the API calls not
ready, or that is out of service, comes behind all others but is never left out: after an outage of the API
every node may look not ready. A node needs a link in the address's segment; one whose links are not known
counts as having one.
"""

from __future__ import annotations

import contextlib
import enum
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from strictarp.kube.custom import ANNOUNCE_AGAIN, DRAIN, MOVE_TO
from strictarp.kube.objects import EndpointConditions, EndpointSlice, Node, Service
from strictarp.speaker import advertising, election
from strictarp.speaker.advertising import Advertising
from strictarp.speaker.links import Subnet
from strictarp.speaker.pools import Address, Pool, pool_of
from strictarp.speaker.view import Candidate

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
OUT_OF_SERVICE_TAINT = "node.kubernetes.io/out-of-service"
NO_LINK = ""
"""In `Verdict.against`: the sentence names the Service's addresses."""
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


class Standing(msgspec.Struct, frozen=True):
    """What holds for a node whatever the Service.

    against: why it may not announce. behind: it comes after all that are not. drained: it comes last, and
    gives away what it owns. segments: where it has a link, as (bits of the address, bits that vary, number
    of the network); None: not known, then anywhere.
    """

    against: str | None = None
    behind: bool = False
    drained: bool = False
    segments: frozenset[tuple[int, int, int]] | None = None

    def out_of_reach(self, addresses: Iterable[Address]) -> frozenset[Address]:
        """Those of the addresses that lie in no segment of this node."""
        segments = self.segments
        if segments is None:
            return frozenset()
        return frozenset(
            each
            for each in addresses
            if not any(
                bits == each.max_prefixlen and int(each) >> varying == network
                for bits, varying, network in segments
            )
        )


class Facts(msgspec.Struct, frozen=True):
    """What the API says and that is the same for all Services. standings: of nodes with a living speaker."""

    pools: tuple[Pool, ...] = ()
    advertising: tuple[Advertising, ...] = ()
    standings: Mapping[str, Standing] = {}
    options: Options = Options()


def standings(
    members: Iterable[str],
    nodes: Mapping[str, Node],
    subnets: Mapping[str, tuple[Subnet, ...]],
    options: Options,
) -> dict[str, Standing]:
    """The standing of each member, by name. A node whose object is not known yet counts as fine."""
    return {
        name: Standing(
            _against(nodes.get(name), options),
            is_behind(nodes.get(name), options),
            is_drained(nodes.get(name)),
            frozenset(map(_segment, subnets[name])) if name in subnets else None,
        )
        for name in sorted(members)
    }


def _segment(subnet: Subnet) -> tuple[int, int, int]:
    own, prefix = subnet
    bits = 8 * len(own)
    return bits, bits - prefix, int.from_bytes(own, "big") >> (bits - prefix)


class Verdict(msgspec.Struct, frozen=True):
    """What holds for one Service.

    addresses: of its status, all of one owner. order: the candidates, first choice first, always by the
    Service's first address; those that reach only some of the addresses come behind. why: set when nobody may
    announce it; `order` is empty then. against: node → why it may not, empty for want of a link; Services
    share one mapping. matching: the advertisements that count, for `interfaces_of`. out_of_reach: of
    candidates that reach only some of the addresses, the others. again: value of the annotation that asks for
    an announcement, empty without. wish: the node that its annotation names as the next owner, empty without.
    pool: the one that the addresses are of, or were of, empty without.
    """

    service: str
    addresses: tuple[Address, ...] = ()
    order: tuple[Candidate, ...] = ()
    why: Why | None = None
    against: Mapping[str, str] = {}
    matching: tuple[Advertising, ...] = ()
    out_of_reach: Mapping[str, frozenset[Address]] = {}
    again: str = ""
    wish: str = ""
    pool: str = ""

    @property
    def reasons(self) -> dict[str, str]:
        """Node → why it may not announce the Service."""
        return {node: why or no_link(*self.addresses) for node, why in self.against.items()}

    def order_of(self, address: Address) -> tuple[Candidate, ...]:
        """The candidates that have a link in this address's segment."""
        if not self.out_of_reach:
            return self.order
        return tuple(each for each in self.order if address not in self.out_of_reach.get(each.node, ()))

    @property
    def unreached(self) -> tuple[Address, ...]:
        """Addresses that no node can announce."""
        return tuple(each for each in self.addresses if not self.order_of(each))


def evaluate(
    service: Service, slices: Sequence[EndpointSlice], facts: Facts, before: Verdict | None = None
) -> Verdict:
    """Judge one Service; `slices` are its own, `before` is the last verdict on it.

    Addresses that were of a pool count as its own until the Service has others, also when pools no longer
    hold them: the controller says what becomes of them (MetalLB: the speaker refuses such pools meanwhile).
    """
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
    pool = _pool_name(facts.pools, addresses, before)
    if not pool:
        return Verdict(key, addresses, why=Why.NOT_IN_POOL)
    matching = advertising.matching(facts.advertising, pool, service.metadata.labels)
    serving = _serving_nodes(slices)
    why = _nobody(service, matching, anyone_serves=serving is not None)
    if why:
        return Verdict(key, addresses, why=why, pool=pool)
    local = serving if service.spec.external_traffic_policy == "Local" else None
    scores: dict[str, int] = {}
    reasons: dict[str, str] = {}
    partial: dict[str, frozenset[Address]] = {}
    for node, standing in facts.standings.items():
        against = standing.against or _against_here(node, matching, local)
        missing = standing.out_of_reach(addresses)
        if against is None and len(missing) == len(set(addresses)):
            against = NO_LINK
        if against is None:
            if missing:
                partial[node] = missing
            scores[node] = sum(each.weights.get(node, 0) for each in matching)
        else:
            reasons[node] = against
    behind = {node for node in scores if facts.standings[node].behind or node in partial}
    drained = {node for node in scores if facts.standings[node].drained}
    order = election.order(scores, str(addresses[0]), behind, drained)
    annotations = service.metadata.annotations or {}
    return Verdict(
        key,
        addresses,
        order,
        None if order else Why.NO_NODE,
        _shared(tuple(reasons.items())),
        matching,
        partial,
        annotations.get(ANNOUNCE_AGAIN, ""),
        annotations.get(MOVE_TO, "").strip(),
        pool,
    )


def _pool_name(pools: Iterable[Pool], addresses: tuple[Address, ...], before: Verdict | None) -> str:
    """The pool that all of the addresses are of, or were of when they were judged last; empty without."""
    pool = pool_of(pools, addresses[0])
    if pool is not None and all(pool.holds(address) for address in addresses):
        return pool.name
    return before.pool if before is not None and set(addresses) <= set(before.addresses) else ""


@lru_cache(maxsize=1024)
def _shared(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """One mapping for all Services that have the same nodes out: there may be thousands."""
    return dict(items)


def no_link(*addresses: Address) -> str:
    """Why a node may not announce addresses that it does not reach."""
    return f"no link in the segment of {', '.join(map(str, addresses))}"


def addresses_of(service: Service) -> tuple[Address, ...]:
    """The addresses in its status, without those that cannot be read."""
    found = []
    for text in _ingress(service):
        with contextlib.suppress(ValueError):
            found.append(ipaddress.ip_address(text))
    return tuple(found)


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


def _against(node: Node | None, options: Options) -> str | None:
    """Why this node may not announce anything."""
    if node is None:
        return None
    if _condition(node, "NetworkUnavailable") == "True":
        return "condition NetworkUnavailable is True"
    if EXCLUDE_LABEL in (node.metadata.labels or {}) and not options.ignore_exclude_label:
        return f"label {EXCLUDE_LABEL} is set"
    return None


def _against_here(name: str, matching: tuple[Advertising, ...], serving: set[str] | None) -> str | None:
    """Why this node may not announce this Service. serving: the nodes that policy Local leaves, or None."""
    if not any(each.covers(name) for each in matching):
        return "no L2Advertisement of the pool selects this node"
    if serving is not None and name not in serving:
        return "externalTrafficPolicy is Local and no endpoint that can serve is on this node"
    return None


def is_behind(node: Node | None, options: Options) -> bool:
    """The node comes after all others: not Ready, out of service, or (by option) cordoned."""
    if node is None:
        return False
    if is_not_ready(node):
        return True
    if any(taint.key == OUT_OF_SERVICE_TAINT for taint in node.spec.taints or ()):
        return True
    return options.cordoned_last and node.spec.unschedulable


def is_drained(node: Node | None) -> bool:
    """Its annotation says so, by any value but `false`."""
    value = (node.metadata.annotations or {}).get(DRAIN, "") if node is not None else ""
    return value.strip().lower() not in ("", "false")


def is_not_ready(node: Node | None) -> bool:
    """The API calls the node not ready, or knows nothing of it any more."""
    return node is not None and _condition(node, "Ready") in ("False", "Unknown")


def _condition(node: Node, kind: str) -> str | None:
    return next((each.status for each in node.status.conditions or () if each.type == kind), None)

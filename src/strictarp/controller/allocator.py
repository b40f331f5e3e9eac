"""The allocator: a value, and functions from one value to the next. Pure; knows nothing of Kubernetes.

Addresses of a Service come from one pool: at most one of each family, IPv4 first. Within a pool the items go
in the order listed, the lowest usable address first; the cost does not depend on a pool's size.
Sharing follows MetalLB (internal/allocator): two Services may hold one address if both name the same sharing
key, agree on the backend key, and use no port twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from strictarp.controller.addresses import Runs, added, is_buggy, next_free, removed
from strictarp.controller.pools import Pool, pool_of, pools_text
from strictarp.controller.shelves import Shelves
from strictarp.kube.ranges import Ip, Range, ip_text

Ports: TypeAlias = frozenset[tuple[str, int]]


class Sharing(msgspec.Struct, frozen=True, gc=False):
    """What decides whether an address may be shared.

    `key` is the annotation allow-shared-ip, empty for no sharing; `backend` is empty for policy Cluster, else
    the selector as text; `ports` are (protocol, port).
    """

    key: str = ""
    backend: str = ""
    ports: Ports = frozenset()


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a Service asks for.

    `families`: those of its ClusterIPs, the primary one first. `prefer_dual`: one family will do when two
    are not to be had. `ips`: the addresses asked for, `pool`: the pool asked for; both may be empty.
    """

    key: str
    namespace: str
    families: tuple[int, ...]
    labels: Mapping[str, str] = {}
    prefer_dual: bool = False
    ips: tuple[Ip, ...] = ()
    pool: str = ""
    sharing: Sharing = Sharing()


class Holding(msgspec.Struct, frozen=True, gc=False):
    """What a Service has."""

    ips: tuple[Ip, ...]
    pool: str
    sharing: Sharing = Sharing()


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Why a request cannot be met, for people."""

    reason: str


class State(msgspec.Struct, frozen=True, gc=False):
    """Who holds what: by Service, by address, and the used addresses of each family as runs.

    `shared`: sharing key → the addresses that are held under it.
    """

    holdings: Shelves[str, Holding] = msgspec.field(default_factory=Shelves)
    users: Shelves[Ip, tuple[str, ...]] = msgspec.field(default_factory=Shelves)
    shared: Shelves[str, frozenset[Ip]] = msgspec.field(default_factory=Shelves)
    runs: Mapping[int, Runs] = msgspec.field(default_factory=lambda: {4: (), 6: ()})


def release(state: State, key: str) -> State:
    """The state without what a Service holds."""
    held = state.holdings.get(key)
    if held is None:
        return state
    users, runs, free = state.users, dict(state.runs), set()
    for ip in held.ips:
        others = tuple(each for each in users[ip] if each != key)
        if others:
            users = users.put(ip, others)
        else:
            users = users.without(ip)
            runs[ip[0]] = removed(runs[ip[0]], ip[1])
            free.add(ip)
    shared = _share(state, held.sharing.key, state.shared.get(held.sharing.key, frozenset()) - free)
    return State(state.holdings.without(key), users, shared, runs)


def _share(state: State, sharing_key: str, ips: frozenset[Ip]) -> Shelves[str, frozenset[Ip]]:
    """What is shared, with these addresses under this key; an empty key shares nothing."""
    if ips:
        return state.shared.put(sharing_key, ips) if sharing_key else state.shared
    return state.shared.without(sharing_key) if sharing_key in state.shared else state.shared


def _hold(state: State, key: str, holding: Holding) -> State:
    state = release(state, key)
    users, runs = state.users, dict(state.runs)
    for ip in holding.ips:
        # In order, so that after a restart a Service that waits is told the same.
        users = users.put(ip, tuple(sorted((*users.get(ip, ()), key))))
        runs[ip[0]] = added(runs[ip[0]], ip[1])
    sharing_key = holding.sharing.key
    shared = _share(state, sharing_key, state.shared.get(sharing_key, frozenset()).union(holding.ips))
    return State(state.holdings.put(key, holding), users, shared, runs)


def assign(
    state: State, pools: Iterable[Pool], request: Request, ips: tuple[Ip, ...]
) -> tuple[State, Holding | Refused]:
    """Give exactly these addresses, or refuse and change nothing. What is held already is held again."""
    choice = tuple(pools)
    reason = _refusal(state, choice, request, ips)
    pool = pool_of(choice, ips[0])
    if reason is not None or pool is None:
        return state, Refused(reason or "")
    holding = Holding(ips, pool.name, request.sharing)
    if state.holdings.get(request.key) == holding:
        return state, holding
    return _hold(state, request.key, holding), holding


def _refusal(state: State, pools: tuple[Pool, ...], request: Request, ips: tuple[Ip, ...]) -> str | None:
    """Why these addresses cannot be given; None if they can. What the pools forbid comes before what other
    Services have: it stays, whatever those do.
    """
    told = " and ".join(map(ip_text, ips))
    owners = {ip: pool_of(pools, ip) for ip in ips}
    for ip, owner in owners.items():
        if owner is None:
            return f"{ip_text(ip)} lies in no IPAddressPool; the pools are: {pools_text(pools)}"
        if request.pool and request.pool != owner.name:
            return f"{told} is of IPAddressPool {owner.name}, not of {request.pool} as asked for"
        if not owner.suits(request.namespace, request.labels):
            return _unsuitable(owner)
    if len({owner.name for owner in owners.values() if owner is not None}) > 1:
        return f"{told} are not of one IPAddressPool"
    return next((reason for ip in ips if (reason := _taken(state, request, ip)) is not None), None)


def allocate(state: State, pools: Iterable[Pool], request: Request) -> tuple[State, Holding | Refused]:
    """Give what is asked for: the addresses named, else from the pool named, else from the pools in order.

    With a refusal the state is unchanged.
    """
    choice = tuple(pools)
    if request.ips:
        if {ip[0] for ip in request.ips} != set(request.families):
            told, theirs = " and ".join(map(ip_text, request.ips)), _families_text(request.families)
            return state, Refused(f"{told} is asked for, but the Service is of {theirs}")
        return assign(state, choice, request, request.ips)
    if not request.pool:
        stages: tuple[tuple[Pool, ...], ...] = _automatic(choice, request)
        nothing = "no available IPs"
        if not any(stages):
            nothing += ": no IPAddressPool is open to this Service (autoAssign, serviceAllocation)"
    else:
        named = next((pool for pool in choice if pool.name == request.pool), None)
        if named is None:
            return state, Refused(f"unknown IPAddressPool {request.pool}")
        if not named.suits(request.namespace, request.labels):
            return state, Refused(_unsuitable(named))
        stages, nothing = ((named,),), f"no available IPs in IPAddressPool {named.name}"
    for stage in stages:
        for families in _wanted(request):
            for pool in stage:
                ips = tuple(_lowest(state, pool, request, version) for version in sorted(families))
                found = tuple(ip for ip in ips if ip is not None)
                if len(found) == len(ips):
                    holding = Holding(found, pool.name, request.sharing)
                    return _hold(state, request.key, holding), holding
    return state, Refused(nothing)


def extend(state: State, pools: Iterable[Pool], request: Request) -> tuple[State, Holding | Refused]:
    """Add the family that a Service with one address still lacks, from the pool it has that one from."""
    held = state.holdings[request.key]
    pool = next((each for each in pools if each.name == held.pool), None)
    missing = [version for version in request.families if all(version != ip[0] for ip in held.ips)]
    ip = _lowest(state, pool, request, missing[0]) if pool and missing else None
    if ip is None:
        return state, Refused(f"no available IPs of the second family in IPAddressPool {held.pool}")
    holding = Holding((*held.ips, ip), held.pool, request.sharing)
    return _hold(state, request.key, holding), holding


def _automatic(pools: tuple[Pool, ...], request: Request) -> tuple[tuple[Pool, ...], tuple[Pool, ...]]:
    """Pools reserved for such Services by priority, then those without a serviceAllocation; then by name.

    MetalLB takes equal ones in random order.
    """
    open_pools = [pool for pool in pools if pool.auto_assign]
    mine = [pool for pool in open_pools if pool.reserved and pool.invites(request.namespace, request.labels)]
    mine.sort(key=lambda pool: (pool.priority == 0, pool.priority, pool.name))
    general = sorted((pool for pool in open_pools if not pool.reserved), key=lambda pool: pool.name)
    return tuple(mine), tuple(general)


def _wanted(request: Request) -> tuple[tuple[int, ...], ...]:
    """The sets of families that will do, the best first."""
    if len(request.families) == 2 and request.prefer_dual:
        return request.families, request.families[:1], request.families[1:]
    return (request.families,)


def _lowest(state: State, pool: Pool, request: Request, version: int) -> Ip | None:
    """The first usable address of a family: items as listed, the lowest free or sharable one of the item."""
    shared = sorted(_sharable(state, request)) if request.sharing.key else []
    for item in pool.ranges:
        if item.version != version:
            continue
        free = _free_in(state.runs[version], item, pool)
        joined = next((ip for ip in shared if item.holds(ip) and _gives(pool, ip)), None)
        candidates = [ip for ip in (free, joined) if ip is not None]
        if candidates:
            return min(candidates)
    return None


def _free_in(runs: Runs, item: Range, pool: Pool) -> Ip | None:
    number = next_free(runs, item.first)
    while number <= item.last and not _gives(pool, (item.version, number)):
        number = next_free(runs, number + 1)
    return (item.version, number) if number <= item.last else None


def _gives(pool: Pool, ip: Ip) -> bool:
    """An address of one of its items may be given without having been asked for."""
    return ip not in pool.taken and not (pool.avoid_buggy and is_buggy(ip))


def _sharable(state: State, request: Request) -> Iterator[Ip]:
    """Addresses in use that this Service may join."""
    ips = state.shared.get(request.sharing.key, ())
    return (ip for ip in ips if _obstacle(state, request, ip) is None)


def _taken(state: State, request: Request, ip: Ip) -> str | None:
    """Why others keep this Service from an address, for people; None if it may have it."""
    key = _obstacle(state, request, ip)
    if key is None:
        return None
    theirs, ours = state.holdings[key].sharing, request.sharing
    address = f"{ip_text(ip)} is in use by Service {key}"
    if not ours.key or theirs.key != ours.key:
        return f"{address}, and both do not name the same metallb.io/allow-shared-ip"
    if theirs.backend != ours.backend:
        return f"{address}, and their externalTrafficPolicy or selectors differ"
    protocol, port = min(theirs.ports & ours.ports)
    return f"{address}, which has port {protocol.lower()}/{port} already"


def _obstacle(state: State, request: Request, ip: Ip) -> str | None:
    """The first Service that keeps this one from an address."""
    ours = request.sharing
    for key in state.users.get(ip, ()):
        if key == request.key:
            continue
        theirs = state.holdings[key].sharing
        alike = ours.key and theirs.key == ours.key and theirs.backend == ours.backend
        if not alike or not theirs.ports.isdisjoint(ours.ports):
            return key
    return None


def _families_text(versions: Iterable[int]) -> str:
    return " and ".join(f"IPv{version}" for version in sorted(versions))


def _unsuitable(pool: Pool) -> str:
    return f"IPAddressPool {pool.name} is not for this Service: see its spec.serviceAllocation"

"""Whether a Service may keep the addresses it has. Pure.

The steps are those of MetalLB's convergence, in its order: families, pools and sharing, the pool asked for,
the addresses asked for. Only what a Service loses without having asked for a change is told by an Event.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from strictarp.controller.allocator import Refused, Request, State, assign
from strictarp.controller.pools import Pool
from strictarp.controller.requests import BadRequest, Unservable, read_request, with_named
from strictarp.kube.objects import Service
from strictarp.kube.ranges import Ip, ip_text

Severity: TypeAlias = Literal["Normal", "Warning"]


NO_POOL = "there is no IPAddressPool"


class Lost(msgspec.Struct, frozen=True, gc=False):
    """A Service does not keep what it has. Without `event` nothing is said: what follows tells it."""

    message: str = ""
    event: str = ""
    kind: Severity = "Normal"


def take_again(
    state: State, pools: tuple[Pool, ...], service: Service, ips: tuple[Ip, ...]
) -> tuple[State, Lost | None]:
    """Hold these addresses again, with the Service's present ports and keys; else the state as it was."""
    request = _possible(pools, service, ips)
    if isinstance(request, Lost):
        return state, request
    after, outcome = assign(state, pools, msgspec.structs.replace(request, pool=""), ips)
    if isinstance(outcome, Refused):
        return state, Lost(outcome.reason, "ClearAssignment")
    try:
        named = set(with_named(service, request).ips)
    except BadRequest:
        named = set()  # told when it is served; meanwhile it keeps what it has
    if (named and named != set(ips)) or (request.pool and request.pool != outcome.pool):
        return state, Lost()
    taken = [ip_text(ip) for ip in ips if ip not in named and any(ip in pool.taken for pool in pools)]
    if taken:
        return state, Lost(f"somebody else answers for {' and '.join(taken)}", "AddressTaken", "Warning")
    return after, None


def _possible(pools: tuple[Pool, ...], service: Service, ips: tuple[Ip, ...]) -> Request | Lost:
    """The request of a Service that may have such addresses at all."""
    if not pools:
        return Lost(NO_POOL, "ClearAssignment")
    try:
        request = read_request(service)
    except Unservable:
        return Lost()  # told when it is served
    families = {ip[0] for ip in ips}
    if len(families) != len(ips):
        return Lost("two addresses of one family", "nolbIPsIPFamily", "Warning")
    return request if _fit(request, families) else Lost()


def _fit(request: Request, families: set[int]) -> bool:
    """They are the Service's families; one of two will do where dual stack is only preferred."""
    wanted = set(request.families)
    return families == wanted or (request.prefer_dual and families < wanted)

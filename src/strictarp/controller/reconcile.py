"""From Services, pools and what is held to decisions: who has which addresses, what is to be written. Pure.

One Service converges as in MetalLB's controller: what it has is kept while pools and request allow it, else
it is cleared and gets anew. `settle` does that for many in a stated order: first everybody keeps or adopts
from status what he has, the oldest first; only then those who wait are served, the oldest first, then by
namespace and name. So an address in a status is never given to somebody else after a restart, and of two
Services with one address the older keeps it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from strictarp.controller.addresses import Ip, ip_text
from strictarp.controller.allocator import (
    Holding,
    Refused,
    Request,
    State,
    allocate,
    assign,
    extend,
    release,
)
from strictarp.controller.pools import Pool
from strictarp.controller.requests import (
    FROM_POOL,
    TYPE,
    BadRequest,
    Unservable,
    current,
    ours,
    read_request,
    with_named,
)
from strictarp.kube.objects import Service

Patch: TypeAlias = dict[str, object]


class Notice(msgspec.Struct, frozen=True, gc=False):
    """An Event to write about a Service; `reason` is one of MetalLB's."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What is decided for one Service. `reason` says why it has less than it asks for, empty if it has all.

    `patch` is a merge patch of the status subresource, None when nothing is to be written.
    """

    key: str
    ips: tuple[str, ...] = ()
    pool: str = ""
    reason: str = ""
    events: tuple[Notice, ...] = ()
    patch: Patch | None = None


class Book(msgspec.Struct, frozen=True, gc=False):
    """What the controller remembers: the allocator's state, and why a Service waits (told once)."""

    state: State = State()
    waiting: Mapping[str, str] = {}


def age(service: Service) -> tuple[str, str, str]:
    """Sort key: the oldest first, then namespace and name. Times of the API sort as text."""
    meta = service.metadata
    return meta.creation_timestamp, meta.namespace, meta.name


def settle(
    book: Book,
    pools: tuple[Pool, ...],
    services: Mapping[str, Service],
    changed: Collection[str] | None = None,
    *,
    lb_class: str = "",
) -> tuple[Book, dict[str, Decision]]:
    """Serve the Services whose keys are in `changed` (None: all), and those who wait if something got free.

    `services` are all there are, `changed` may name some that are gone. Returns a decision for each one that
    was looked at and is, or was until now, ours. The result does not depend on the order of the mappings.
    """
    looked = set(services) | set(book.state.holdings) if changed is None else set(changed)
    turn = _Turn(book, pools, lb_class)
    for key in looked - {key for key in looked if key in services and ours(services[key], lb_class)}:
        turn.let_go(key, services.get(key))
    mine = sorted((services[key] for key in looked if key not in turn.gone), key=age)
    for service in mine:
        turn.keep(service)
    hungry = {service.key for service in mine}
    if turn.freed:
        hungry |= {key for key in book.waiting if key in services and key not in turn.gone}
    for service in sorted((services[key] for key in hungry), key=age):
        turn.serve(service)
    return turn.book(), turn.decisions


class _Turn:
    """One turn of `settle`: the state as it goes, and the decisions so far."""

    def __init__(self, book: Book, pools: tuple[Pool, ...], lb_class: str) -> None:
        self.state = book.state
        self.decisions: dict[str, Decision] = {}
        self.gone: set[str] = set()
        self.freed = False
        self._before = book.state
        self._waiting = dict(book.waiting)
        self._pools = pools
        self._lb_class = lb_class
        self._events: dict[str, list[Notice]] = {}

    def book(self) -> Book:
        return Book(self.state, self._waiting)

    def let_go(self, key: str, service: Service | None) -> None:
        """It is gone, or no longer ours: what it held is free, and our marks on it are removed."""
        self.gone.add(key)
        held = key in self.state.holdings
        self._release(key)
        self._waiting.pop(key, None)
        if service is not None and service.spec.type != TYPE:
            marked = FROM_POOL in (service.metadata.annotations or {})
            if held or marked:
                self.decisions[key] = Decision(key, patch=status_patch(service, (), ""))

    def keep(self, service: Service) -> None:
        """Hold again what it holds, or what its status says, if pools and request still allow that."""
        key = service.key
        held = self.state.holdings.get(key)
        ips = held.ips if held else current(service)
        if not ips:
            return
        fault = self._keep_fault(service, ips)
        if fault is None:
            return
        self._release(key)
        if fault:
            told = ", ".join(map(ip_text, ips))
            self._say(service, "Normal", "ClearAssignment", f"{told} is given up: {fault}")

    def _keep_fault(self, service: Service, ips: tuple[Ip, ...]) -> str | None:
        """Take the addresses again. Else why not; empty if that is no news (nothing can be given at all)."""
        if not self._pools:
            return "there is no IPAddressPool"
        try:
            request = read_request(service)
        except Unservable as error:
            return str(error)
        if not _families_fit(request, ips):
            return "its families are not those of the clusterIPs"
        try:
            named = with_named(service, request).ips
        except BadRequest:
            named = ()  # told when it is served; what it has it keeps
        if named and set(named) != set(ips):
            return f"{', '.join(map(ip_text, named))} is asked for"
        before = self.state.holdings.get(service.key)
        self.state, outcome = assign(self.state, self._pools, request, ips)
        if isinstance(outcome, Refused):
            return outcome.reason
        if before is not None and before.sharing != outcome.sharing:
            self.freed = True  # others may join now
        return None

    def serve(self, service: Service) -> None:
        """Give it what it lacks, and decide what is to be written."""
        key = service.key
        held = self.state.holdings.get(key)
        reason, warning = "", ""
        try:
            request = read_request(service)
            if not self._pools:
                raise Unservable("there is no IPAddressPool")
            request = with_named(service, request)
        except Unservable as error:
            reason = str(error)
        except BadRequest as error:
            reason, warning = f"invalid requested loadbalancer IPs: {error}", "LoadBalancerFailed"
        else:
            reason, warning = self._give(service, request, held)
        if reason and self._waiting.get(key) != reason and warning:
            kind: Literal["Normal", "Warning"] = "Normal" if warning.startswith("Additional") else "Warning"
            told = reason
            if warning == "AllocationFailed":
                told = f'Failed to allocate IP for "{key}": {reason}'
            self._say(service, kind, warning, told)
        if reason:
            self._waiting[key] = reason
        else:
            self._waiting.pop(key, None)
        self._decide(service, reason)

    def _give(self, service: Service, request: Request, held: Holding | None) -> tuple[str, str]:
        """Allocate, or add the second family. Returns why not, and the event that tells it."""
        if held is None:
            self.state, outcome = allocate(self.state, self._pools, request)
            if isinstance(outcome, Refused):
                return outcome.reason, "AllocationFailed"
            self._say(service, "Normal", "IPAllocated", f"Assigned IP [{_quoted(outcome.ips)}]")
            return "", ""
        lacks = len(held.ips) < len(request.families) and not request.ips
        if not lacks:
            return "", ""
        self.state, outcome = extend(self.state, self._pools, request)
        if isinstance(outcome, Refused):
            return outcome.reason, "AdditionalAssignFailed"
        self._say(service, "Normal", "IPAllocated", f"Assigned additional IP [{_quoted(outcome.ips[-1:])}]")
        return "", ""

    def _decide(self, service: Service, reason: str) -> None:
        held = self.state.holdings.get(service.key)
        ips, pool = (held.ips, held.pool) if held else ((), "")
        texts = tuple(map(ip_text, ips))
        self.decisions[service.key] = Decision(
            service.key,
            texts,
            pool,
            reason,
            tuple(self._events.get(service.key, ())),
            status_patch(service, texts, pool),
        )

    def _release(self, key: str) -> None:
        state = release(self.state, key)
        self.freed = self.freed or state is not self.state
        self.state = state

    def _say(self, service: Service, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._events.setdefault(service.key, []).append(Notice(kind, reason, message))


def _families_fit(request: Request, ips: tuple[Ip, ...]) -> bool:
    """The addresses are of the Service's families; one of two will do where dual stack is only preferred."""
    have = [ip[0] for ip in ips]
    if len(set(have)) != len(have):
        return False
    return set(have) == set(request.families) or (request.prefer_dual and set(have) < set(request.families))


def _quoted(ips: Iterable[Ip]) -> str:
    return " ".join(f'"{ip_text(ip)}"' for ip in ips)


def status_patch(service: Service, ips: tuple[str, ...], pool: str) -> Patch | None:
    """What makes status and annotation say this; None if they do already.

    An entry without ipMode counts as VIP (KEP-1860: that is what it means), so an API server that does not
    keep the field is not written to again and again. The resourceVersion guards against a newer Service.
    """
    meta = service.metadata
    have = tuple((entry.ip, entry.ip_mode or "VIP") for entry in service.status.load_balancer.ingress or ())
    marked = (meta.annotations or {}).get(FROM_POOL)
    if have == tuple((ip, "VIP") for ip in ips) and marked == (pool or None):
        return None
    patch: Patch = {"status": {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"} for ip in ips]}}}
    if not ips:
        patch = {"status": {"loadBalancer": {"ingress": None}}}
    metadata: dict[str, object] = {"resourceVersion": meta.resource_version} if meta.resource_version else {}
    if marked != (pool or None):
        metadata["annotations"] = {FROM_POOL: pool or None}
    return {"metadata": metadata, **patch} if metadata else patch

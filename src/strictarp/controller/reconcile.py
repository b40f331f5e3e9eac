"""From Services, pools and what is held to decisions: who has which addresses, what is to be written. Pure.

One Service converges as in MetalLB's controller: what it has is kept while pools and request allow it, else
it is cleared and gets anew. `settle` does that for many in a stated order: first everybody keeps or adopts
from status what he has, the oldest first; only then those who wait are served, the oldest first, then by
namespace and name. So an address in a status is never given to somebody else after a restart, and of two
Services with one address the older keeps it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from strictarp.controller.allocator import (
    Refused,
    Request,
    State,
    allocate,
    extend,
    release,
)
from strictarp.controller.keeping import NO_POOL, Severity, take_again
from strictarp.controller.pools import Pool
from strictarp.controller.requests import (
    FROM_POOL,
    PREFIXES,
    TYPE,
    BadRequest,
    Unservable,
    current,
    deprecated,
    ours,
    read_request,
    with_named,
)
from strictarp.controller.writing import Patch, Wait, status_patch, waits
from strictarp.kube.objects import Service
from strictarp.kube.ranges import Ip, ip_text


class Notice(msgspec.Struct, frozen=True, gc=False):
    """An Event to write about a Service; `reason` is one of MetalLB's."""

    type: Severity
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


def age(service: Service) -> tuple[bool, str, str, str]:
    """Sort key: the oldest first, then namespace and name. Times of the API sort as text.

    Without a time, in a file, it is yet to be created and so the youngest.
    """
    meta = service.metadata
    return not meta.creation_timestamp, meta.creation_timestamp, meta.namespace, meta.name


def settle(
    book: Book,
    pools: tuple[Pool, ...],
    services: Mapping[str, Service],
    changed: Collection[str] | None = None,
    *,
    lb_class: str = "",
    now: str = "",
) -> tuple[Book, dict[str, Decision]]:
    """Serve the Services whose keys are in `changed` (None: all), and those who wait if something got free.

    `services` are all there are, `changed` may name some that are gone. `now` is the time for conditions, RFC
    3339. Returns a decision for each one that was looked at and is, or was until now, ours. The result does
    not depend on the order of the mappings.
    """
    looked = set(services) | set(book.state.holdings) if changed is None else set(changed)
    turn = _Turn(book, pools, now)
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


def refusal(faults: tuple[str, ...]) -> str:
    """Why a Service waits while there are no pools to be used."""
    if not faults:
        return NO_POOL
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"the IPAddressPools are refused: {faults[0]}{more}"


def stand_still(
    book: Book, services: Mapping[str, Service], *, why: str, lb_class: str = "", now: str = ""
) -> tuple[Book, dict[str, Decision]]:
    """While no pools may be used, wrong or not there yet: everybody keeps what he has, nobody gets anything.

    `why` is the condition of those who have nothing. No Event: nothing changes for a Service, and what is
    wrong is told about the pools.
    """
    decisions, waiting = {}, {}
    for service in services.values():
        if not ours(service, lb_class):
            continue
        ips = tuple(map(ip_text, current(service)))
        pool = (service.metadata.annotations or {}).get(FROM_POOL, "")
        if ips:
            decisions[service.key] = Decision(service.key, ips, pool)
            continue
        waiting[service.key] = why
        patch = status_patch(service, (), pool, wait=Wait("NoPoolInForce", why), now=now)
        decisions[service.key] = Decision(service.key, (), "", why, patch=patch)
    return Book(book.state, waiting), decisions


def _told(service: Service, waiting: Mapping[str, str], wait: Wait) -> bool:
    """It was said before, by this controller or by one before it: then it is no news."""
    return wait.message == waiting.get(service.key) or wait == waits(service)


def _failed(key: str, reason: str) -> Notice:
    return Notice("Warning", "AllocationFailed", f'Failed to allocate IP for "{key}": {reason}')


class _Turn:
    """One turn of `settle`: the state as it goes, and the decisions so far."""

    def __init__(self, book: Book, pools: tuple[Pool, ...], now: str) -> None:
        self.state = book.state
        self.decisions: dict[str, Decision] = {}
        self.gone: set[str] = set()
        self.freed = False
        self._before = book.state
        self._waiting = dict(book.waiting)
        self._pools = pools
        self._now = now
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
            if held or marked or waits(service) is not None:
                self.decisions[key] = Decision(key, patch=status_patch(service, (), ""))

    def keep(self, service: Service) -> None:
        """Hold again what it holds, or what its status says, if pools and request still allow that."""
        key = service.key
        held = self.state.holdings.get(key)
        ips = held.ips if held else current(service)
        if not ips:
            return
        state, lost = take_again(self.state, self._pools, service, ips)
        if lost is None:
            self.freed = self.freed or (held is not None and held.sharing != state.holdings[key].sharing)
            self.state = state
            return
        self._release(key)
        if lost.event:
            told = ", ".join(map(ip_text, ips))
            self._say(key, Notice(lost.kind, lost.event, f"{told} is given up: {lost.message}"))

    def serve(self, service: Service) -> None:
        """Give it what it lacks, and decide what is to be written."""
        key = service.key
        reason, event = self._give(service)
        if not reason:
            self._waiting.pop(key, None)
            self._decide(service, None)
            return
        # Words of conditions have no blanks.
        wait = Wait("NotEnoughClusterIPs" if " " in event else event or "Unservable", reason)
        if event and not _told(service, self._waiting, wait):
            self._tell(key, event, reason)
        self._waiting[key] = reason
        self._decide(service, wait)

    def _tell(self, key: str, event: str, reason: str) -> None:
        if event == "AllocationFailed":
            self._say(key, _failed(key, reason))
        elif event != "AdditionalAssignFailed":
            self._say(key, Notice("Warning", event, reason))
        elif key in self._before.holdings:
            # Else it has just been given, or adopted, without the second address: nothing has changed.
            self._say(key, Notice("Normal", event, reason))

    def _give(self, service: Service) -> tuple[str, str]:
        """Give it what it lacks. Returns why that is not possible, and the event that tells it, or blanks."""
        try:
            request = read_request(service)
            if not self._pools:
                raise Unservable(NO_POOL)
            request = with_named(service, request)
        except Unservable as error:
            return str(error), error.event
        except BadRequest as error:
            return f"invalid requested loadbalancer IPs: {error}", "LoadBalancerFailed"
        if request.key not in self.state.holdings:
            self.state, outcome = allocate(self.state, self._pools, request)
            if isinstance(outcome, Refused):
                return outcome.reason, "AllocationFailed"
            self._say(request.key, Notice("Normal", "IPAllocated", f"Assigned IP [{_quoted(outcome.ips)}]"))
        return self._complete(request)

    def _complete(self, request: Request) -> tuple[str, str]:
        """Add the second family. Without a second clusterIP there is none, whatever the policy prefers."""
        held = self.state.holdings[request.key]
        if len(held.ips) == len(request.families) or request.ips:
            return "", ""
        self.state, outcome = extend(self.state, self._pools, request)
        if isinstance(outcome, Refused):
            return outcome.reason, "AdditionalAssignFailed"
        told = f"Assigned additional IP [{_quoted(outcome.ips[-1:])}]"
        self._say(request.key, Notice("Normal", "IPAllocated", told))
        return "", ""

    def _decide(self, service: Service, wait: Wait | None) -> None:
        key = service.key
        held = self.state.holdings.get(key)
        ips, pool = (held.ips, held.pool) if held else ((), "")
        texts = tuple(map(ip_text, ips))
        patch = status_patch(service, texts, pool, wait=wait, now=self._now)
        if ips != current(service) and (old := deprecated(service)):
            message = f"{old} is deprecated; write {PREFIXES[0]} instead of {PREFIXES[1]}"
            self._say(key, Notice("Warning", "deprecatedAnnotation", message))
        events = tuple(self._events.get(key, ()))
        self.decisions[key] = Decision(key, texts, pool, wait.message if wait else "", events, patch)

    def _release(self, key: str) -> None:
        state = release(self.state, key)
        self.freed = self.freed or state is not self.state
        self.state = state

    def _say(self, key: str, notice: Notice) -> None:
        self._events.setdefault(key, []).append(notice)


def _quoted(ips: Iterable[Ip]) -> str:
    return " ".join(f'"{ip_text(ip)}"' for ip in ips)

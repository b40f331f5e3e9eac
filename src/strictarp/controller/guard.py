"""What an edit of the pools would take away, and what the pools must not overlap. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from strictarp.controller.allocator import Request
from strictarp.controller.pools import Pool, pool_of
from strictarp.controller.requests import (
    FROM_POOL,
    FROM_POOL_BEFORE,
    BadRequest,
    Unservable,
    current,
    ours,
    read_request,
    with_named,
)
from strictarp.errors import UserError
from strictarp.kube.objects import Node, Service
from strictarp.kube.ranges import Ip, Range, RangeFault, ip_text, parse_ip, parse_range


class Surroundings(msgspec.Struct, frozen=True):
    """Addresses that others give out or have: they belong in no pool."""

    service_ranges: tuple[Range, ...] = ()
    dhcp_ranges: tuple[Range, ...] = ()


def read_ranges(texts: Iterable[str], option: str) -> tuple[Range, ...]:
    """CIDRs or FIRST-LAST as given to an option; raises UserError naming it."""
    found = []
    for text in texts:
        try:
            found.append(parse_range(text.strip()))
        except RangeFault as error:
            raise UserError(f"{option}: {error}", exit_code=64) from None
    return tuple(found)


def losses(
    pools: tuple[Pool, ...],
    services: Iterable[Service],
    lb_class: str,
    before: tuple[Pool, ...] = (),
) -> tuple[str, ...]:
    """What these pools would take from Services, as faults of those pools.

    Counted are addresses with the mark of a pool, and those of a pool that was in force before, as far as
    that is known. A Service that asks for another address or pool itself loses nothing by surprise.
    """
    found = []
    for service in services:
        if not ours(service, lb_class):
            continue
        try:
            request = with_named(service, read_request(service))
        except (Unservable, BadRequest):
            continue
        gone = [ip for ip in current(service) if not _covered(pools, request, ip)]
        if not gone or request.ips:
            continue
        source = _source(service, gone[0], before)
        if source and request.pool in ("", source):
            told = " and ".join(map(ip_text, gone))
            found.append(
                f"IPAddressPool {source}: spec: no longer gives {told} to Service {service.key}, which has "
                "it; put that back, or let the Service ask for another address or pool first"
            )
    return tuple(sorted(found))


def _source(service: Service, gone: Ip, before: tuple[Pool, ...]) -> str | None:
    """The pool that a Service has its address from: by its mark, else by what was in force."""
    annotations = service.metadata.annotations or {}
    if mark := annotations.get(FROM_POOL) or annotations.get(FROM_POOL_BEFORE):
        return mark
    owner = pool_of(before, gone)
    return owner.name if owner is not None else None


def _covered(pools: tuple[Pool, ...], request: Request, ip: Ip) -> bool:
    owner = pool_of(pools, ip)
    return owner is not None and owner.suits(request.namespace, request.labels)


def overlaps(
    pools: Iterable[Pool],
    nodes: Iterable[Node] = (),
    services: Iterable[Service] = (),
    surroundings: Surroundings = Surroundings(),  # noqa: B008 - a frozen value
) -> tuple[tuple[str, str], ...]:
    """What is in a pool and belongs to somebody else: (name of the pool, sentence), in order.

    Node addresses, the Service range (as configured, and as the clusterIPs show it), and the DHCP ranges that
    are configured. The pools stay in force: what to do about it is for people to say.
    """
    mine = tuple(pools)
    return tuple(sorted({*_node_overlaps(mine, nodes), *_range_overlaps(mine, services, surroundings)}))


def _node_overlaps(pools: tuple[Pool, ...], nodes: Iterable[Node]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        for entry in node.status.addresses or ():
            if (found := _holder(pools, entry.address)) is not None:
                pool, item = found
                yield (
                    pool.name,
                    f"{item.text} holds {entry.address}, the address of Node {node.metadata.name}; "
                    "leave the nodes' own addresses out",
                )


def _range_overlaps(
    pools: tuple[Pool, ...], services: Iterable[Service], surroundings: Surroundings
) -> Iterator[tuple[str, str]]:
    for what, ranges in (
        ("the Service range", surroundings.service_ranges),
        ("the DHCP range", surroundings.dhcp_ranges),
    ):
        for other in ranges:
            for pool in pools:
                for item in pool.ranges:
                    if item.overlaps(other):
                        yield (
                            pool.name,
                            f"{item.text} overlaps {what} {other.text}; give it addresses of its own",
                        )
    shown: set[tuple[str, str]] = set()
    for service in sorted(services, key=lambda each: each.key):
        for text in service.spec.cluster_ips or ():
            found = _holder(pools, text)
            if found is not None and (found[0].name, found[1].text) not in shown:
                pool, item = found
                shown.add((pool.name, item.text))
                yield (
                    pool.name,
                    f"{item.text} holds {text}, the clusterIP of Service {service.key}: it overlaps the "
                    "Service range; give it addresses of its own",
                )


def _holder(pools: tuple[Pool, ...], text: str) -> tuple[Pool, Range] | None:
    """The pool, and its item, that an address lies in; None also for what is no address (a host name)."""
    try:
        ip = parse_ip(text)
    except ValueError:
        return None
    return next(((pool, item) for pool in pools for item in pool.ranges if item.holds(ip)), None)

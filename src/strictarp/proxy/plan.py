"""The whole plan of a node as a document for people and programs, sorted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strictarp.guard.settings import Settings as Guard
from strictarp.kube.objects import EndpointSlice, Service
from strictarp.netlink.ipvs import FLAG_PERSISTENT, FLAG_SCHED1, FLAG_SCHED2, Key, VirtualServer
from strictarp.proxy.addresses import show
from strictarp.proxy.config import Config
from strictarp.proxy.nftables import IMPLIED, SETS
from strictarp.proxy.services import PROTOCOLS, Exposure, is_ours, plan_service
from strictarp.proxy.situation import Situation
from strictarp.proxy.state import Desired
from strictarp.proxy.store import Store
from strictarp.proxy.sysctls import conntrack_sysctls, wanted_sysctls

_NAMES = {number: name for name, number in PROTOCOLS.items()}


def plan_objects(
    services: Iterable[Service], slices: Iterable[EndpointSlice], facts: Situation
) -> tuple[Desired, list[str]]:
    """What must exist for these objects, and warnings; by the same functions as in the daemon."""
    store, desired = Store(), Desired()
    for piece in slices:
        if is_ours(piece.metadata.labels):
            store.slice(piece.key, None, piece)
    for service in services:
        store.service(service.key, service)
    warnings: list[str] = []
    for key, service in store.services.items():
        contribution = plan_service(service, store.slices(key), facts)
        desired.put(key, contribution)
        warnings += contribution.warnings
    return desired, warnings + sorted(set(desired.conflicts(desired.keys())))


def document(
    desired: Desired, config: Config, warnings: Iterable[str], *, guard: Guard | None = None
) -> dict[str, object]:
    """The plan as JSON values. Addresses are sorted by value, everything else by text.

    `guard`: how strictARP is kept, where that is not in scope `all`.
    """
    exposures = [desired.exposure(key) for key in sorted(desired.keys(), key=_by_address)]
    sets: dict[str, list[str]] = {name: [] for name in sorted(SETS.keys() - IMPLIED)}
    for name, element in sorted(desired.elements):
        if name in sets:
            sets[name].append(element)
    return {
        "virtualServers": [_virtual_server(exposure) for exposure in exposures if exposure is not None],
        "addresses": [show(address) for address in sorted(desired.bound, key=_width_first)],
        "sets": sets,
        "sysctls": dict(
            sorted({**wanted_sysctls(config, guard), **conntrack_sysctls(config.conntrack)}.items())
        ),
        "healthCheckNodePorts": _health(desired),
        "warnings": list(dict.fromkeys(map(_one_line, (*config.warnings, *warnings)))),
    }


def _one_line(text: str) -> str:
    """Names may hold anything."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _by_address(key: Key) -> tuple[int, bytes, Key]:
    return *_width_first(key[1]), key


def _width_first(address: bytes) -> tuple[int, bytes]:
    """IPv4 before IPv6, each by value."""
    return len(address), address


def _virtual_server(exposure: Exposure) -> dict[str, object]:
    server = exposure.server
    return {
        "address": show(server.address),
        "port": server.port,
        "protocol": _NAMES[server.protocol],
        "scheduler": server.scheduler,
        "flags": flag_names(server),
        "timeout": server.timeout,
        "realServers": [
            {"address": show(real.address), "port": real.port, "weight": real.weight}
            for real in exposure.reals
        ],
    }


def flag_names(server: VirtualServer) -> list[str]:
    """Names of a virtual server's flags, sorted; the two of the scheduler are named for it."""
    names = ["persistent"] if server.flags & FLAG_PERSISTENT else []
    if server.scheduler in ("mh", "sh"):
        names += [f"{server.scheduler}-fallback"] if server.flags & FLAG_SCHED1 else []
        names += [f"{server.scheduler}-port"] if server.flags & FLAG_SCHED2 else []
    return sorted(names)


def _health(desired: Desired) -> Mapping[str, object]:
    return {
        key: {"port": contribution.health[0], "localEndpoints": contribution.health[1]}
        for key, contribution in sorted(desired.contributions.items())
        if contribution.health is not None
    }

"""Virtual servers that no Service wants any more, while connections through them go on. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.netlink.ipvs import Key
from strictarp.proxy.addresses import show
from strictarp.proxy.mirror import Mirror
from strictarp.proxy.operations import Element
from strictarp.proxy.seam import HeldServer, KernelView
from strictarp.proxy.services import Exposure, place_of
from strictarp.proxy.state import Desired

_TCP = 6
_BALANCER = "loadBalancer"


def may_linger(exposure: Exposure) -> bool:
    """By its kind: TCP, and not on an address of a load balancer: that may be given to another at once."""
    return exposure.server.protocol == _TCP and all(name != _BALANCER for name, _ in exposure.elements)


def leftovers(view: KernelView, mirror: Mirror, desired: Desired) -> Iterator[Exposure]:
    """What an earlier process has left, or its deletion was not seen, and connections still go through."""
    busy = [
        key for key in mirror.servers if desired.exposure(key) is None and _connections(view.servers[key]) > 0
    ]
    if not busy:
        return
    by_place: dict[str, list[Element]] = {}
    for element in mirror.elements:
        by_place.setdefault(" . ".join(element[1].split(" . ")[:3]), []).append(element)
    for key in busy:
        exposure = _exposure(key, mirror, by_place)
        if may_linger(exposure):
            yield exposure


def _exposure(key: Key, mirror: Mirror, by_place: dict[str, list[Element]]) -> Exposure:
    bind = key[1] in mirror.bound
    elements = tuple(by_place.get(place_of(key), ()))
    if bind:
        elements += (("vips", show(key[1])),)
    return Exposure(mirror.servers[key].server, (), bind, elements)


def _connections(held: HeldServer) -> int:
    return sum(state.active + state.inactive for state in held.reals.values())

"""Links and addresses as the guard sees them, followed event by event where haste is needed. Pure.

A Service IP that comes to kube-ipvs0 is answered by the kernel from that moment on: it is taken over from the
event itself. Everything else is a hint to look again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from strictarp.arp.facts import LOOPBACK, VIP_DEVICE, Host
from strictarp.arp.uplinks import uplinks_of
from strictarp.netlink.rtnl import AddressEvent, Event, LinkEvent, RouteEvent


class Picture(msgspec.Struct, frozen=True):
    """host: at the last look. indexes: device → index. bound: addresses of kube-ipvs0 now."""

    host: Host
    indexes: Mapping[str, int]
    bound: frozenset[int]
    elsewhere: frozenset[int]

    @property
    def vips(self) -> frozenset[int]:
        """Addresses that kube-ipvs0 alone holds."""
        return self.bound - self.elsewhere


def picture_of(host: Host, indexes: Mapping[str, int]) -> Picture:
    """After a look."""
    bound = frozenset(each.local for each in host.on_device.get(VIP_DEVICE, ()))
    elsewhere = frozenset(each.local for each in host.addresses if each.device != VIP_DEVICE)
    return Picture(host, indexes, bound, elsewhere)


class Followed(msgspec.Struct, frozen=True):
    """look: links or addresses must be read again. routes: the default route may be another one."""

    picture: Picture
    look: bool = False
    routes: bool = False


def follow(picture: Picture, events: Iterable[Event | None]) -> Followed:
    """The picture after events; None among them: some were lost."""
    bound: set[int] = set()
    look = routes = False
    device = picture.indexes.get(VIP_DEVICE)
    for event in events:
        if event is None:
            look = routes = True
        elif isinstance(event, LinkEvent):
            # A link that goes takes its routes along, silently (fib_sync_down_dev).
            look = routes = True
        elif isinstance(event, AddressEvent) and len(event.address.address) == 4:
            if event.address.index == device and not event.gone:
                bound.add(int.from_bytes(event.address.address, "big"))
            else:
                look = True
        elif isinstance(event, RouteEvent) and event.route.prefix == 0 and event.route.width == 4:
            look = routes = True
    if bound - picture.bound:
        picture = msgspec.structs.replace(picture, bound=picture.bound | bound)
    return Followed(picture, look, routes)


def uplinks_in(
    picture: Picture, *, named: Collection[str], known: Collection[str], others: Collection[int] = ()
) -> tuple[str, ...]:
    """The uplinks: those that were named, or else those that are one by `uplinks_of` or were once.

    known: an interface that was an uplink stays one as long as it exists: a default route that is away for a
    moment must not open a gap.
    """
    host = picture.host
    come = picture.bound - {each.local for each in host.on_device.get(VIP_DEVICE, ())}
    chosen = set(named) or {*uplinks_of(host, {*others, *come}), *known}
    return tuple(
        each.name for each in host.devices if each.name in chosen and each.name not in (LOOPBACK, VIP_DEVICE)
    )

"""A new Service IP is taken over from its event; everything else is a hint to look again."""

import pytest

from strictarp.arp.facts import VIP_DEVICE, Address, Device, Hop, Host, Route
from strictarp.guard.picture import Followed, follow, picture_of, uplinks_in
from strictarp.netlink import rtnl
from strictarp.netlink.rtnl import AddressEvent, Event, LinkEvent, RouteEvent

VIP, NEW = bytes((192, 0, 2, 100)), bytes((198, 51, 100, 9))


def number(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


def host() -> Host:
    names = ("eth0", "eth1", VIP_DEVICE)
    return Host(
        tuple(
            Device(name, bytes((2, 0, 0, 0, 0, i)), arp=name != VIP_DEVICE) for i, name in enumerate(names)
        ),
        (
            Address("eth0", 0xC000020B, 0xC000020B, 24),
            Address("eth1", 0xC6336403, 0xC6336403, 24),
            Address(VIP_DEVICE, number(VIP), number(VIP), 32),
        ),
        (Route(254, "unicast", 0, 0, (Hop("eth0"),)),),
    )


PICTURE = picture_of(host(), {"eth0": 2, "eth1": 3, VIP_DEVICE: 4})


def address(index: int, packed: bytes, *, gone: bool = False) -> AddressEvent:
    return AddressEvent(rtnl.Address(index, packed, 8 * len(packed)), gone)


def route(prefix: int, width: int = 4) -> RouteEvent:
    return RouteEvent(rtnl.Route(width, b"" if not prefix else VIP, prefix, ()))


@pytest.mark.parametrize(
    ("event", "look", "routes"),
    [
        (address(4, NEW), False, False),
        (address(4, VIP), False, False),
        (address(4, VIP, gone=True), True, False),
        (address(2, NEW), True, False),
        (address(2, bytes(16)), False, False),
        (route(0), True, True),
        (route(0, 16), False, False),
        (route(32), False, False),
        (LinkEvent(rtnl.Link(9, "eth9", 0, b"")), True, True),
        (None, True, True),
    ],
)
def test_what_an_event_calls_for(event: Event | None, look: bool, routes: bool) -> None:
    found = follow(PICTURE, [event])
    assert (found.look, found.routes) == (look, routes)


def test_a_new_service_ip_counts_at_once_and_makes_its_subnet_an_uplink() -> None:
    assert uplinks_in(PICTURE, named=(), known=()) == ("eth0",)
    after = follow(PICTURE, [address(4, NEW)]).picture
    assert after.vips == {number(VIP), number(NEW)}
    assert uplinks_in(after, named=(), known=()) == ("eth0", "eth1")
    assert follow(PICTURE, [address(4, VIP)]) == Followed(PICTURE)


def test_named_uplinks_are_the_only_ones_and_known_ones_stay() -> None:
    assert uplinks_in(PICTURE, named=("eth1", "eth7"), known=("eth0",)) == ("eth1",)
    assert uplinks_in(PICTURE, named=(), known=("eth1", "eth7")) == ("eth0", "eth1")
    assert uplinks_in(PICTURE, named=(VIP_DEVICE,), known=()) == ()
    assert uplinks_in(PICTURE, named=(), known=(), others=(0xC6336403,)) == ("eth0", "eth1")

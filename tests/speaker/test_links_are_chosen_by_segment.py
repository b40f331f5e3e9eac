import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.kube.ranges import Range
from strictarp.netlink.rtnl import IFF_LOOPBACK, IFF_NOARP, IFF_UP, Address, Hop, Link, Route, covers
from strictarp.speaker.links import Place, is_allowed, place_of, places

MAC = bytes.fromhex("020000000001")


def link(index: int, name: str, *, flags: int = IFF_UP, mac: bytes = MAC, **rest: object) -> Link:
    return Link(index, name, flags, mac, **{"carrier": True, **rest})


def address(index: int, text: str, prefix: int = 24, **rest: object) -> Address:
    return Address(index, bytes(map(int, text.split("."))), prefix, **rest)


def test_links_that_carry_arp_and_have_a_subnet_are_places() -> None:
    links = [
        link(1, "lo", flags=IFF_UP | IFF_LOOPBACK),
        link(2, "eth0"),
        link(3, "kube-ipvs0", flags=IFF_NOARP),
        link(4, "eth1", master=5),
        link(5, "br0", kind="bridge"),
        link(6, "blue", kind="vrf", flags=IFF_UP | IFF_NOARP),
        link(7, "eth2", master=6),
        link(8, "tun0", mac=b""),
        link(9, "eth3", carrier=False),
        link(10, "eth4"),
    ]
    addresses = [address(index, f"10.0.{index}.1") for index in (1, 2, 3, 4, 5, 6, 7, 8, 9)]
    addresses += [address(10, "10.0.10.1", 32), address(10, "10.0.11.1", peer=bytes(4))]
    found = {place.name: place.up for place in places(links, addresses, [])}
    assert found == {"eth0": True, "br0": True, "eth2": True, "eth3": False}


def test_the_gateway_belongs_to_the_link_of_the_default_route() -> None:
    routes = [Route(4, b"", 0, (Hop(2, bytes([10, 0, 2, 254])),))]
    links = [link(2, "eth0"), link(3, "eth1")]
    found = places(links, [address(2, "10.0.2.1"), address(3, "10.0.3.1")], routes)
    assert [place.gateway for place in found] == [bytes([10, 0, 2, 254]), None]


def test_a_link_has_the_gateway_of_the_best_default_route_over_it_in_any_table() -> None:
    """A VRF has a table of its own, and so has what a VLAN sends, where a rule picks its way back."""

    def route(index: int, last: int, **rest: int) -> Route:
        return Route(4, b"", 0, (Hop(index, bytes([10, 0, index, last])),), **rest)

    routes = [
        route(2, 1, metric=100),
        route(3, 1, metric=300),
        route(3, 2, metric=200),
        route(3, 3, table=107, metric=1),
        route(4, 1, table=10),
        Route(4, b"", 0, (), table=10, kind=7, metric=8192),
        route(5, 1, table=10, kind=6),
        Route(4, b"", 0, (Hop(6, bytes([10, 0, 6, 1])), Hop(7))),
    ]
    links = [link(index, f"eth{index}") for index in range(2, 8)]
    found = places(links, [address(index, f"10.0.{index}.9") for index in range(2, 8)], routes)
    gateways = {each.name: each.gateway for each in found}
    last = {name: each[3] if each else None for name, each in gateways.items()}
    assert last == {"eth2": 1, "eth3": 2, "eth4": 1, "eth5": None, "eth6": 1, "eth7": None}


@pytest.mark.parametrize("kind", ["bridge", "bond", "team", "openvswitch", ""])
def test_a_port_is_no_place_whatever_its_master_is(kind: str) -> None:
    """Open vSwitch takes its ports' frames, too, and so does a card's driver whose faster half is a port."""
    links = [link(2, "eth0", master=3), link(3, "up0", kind=kind)]
    found = places(links, [address(2, "10.0.2.1"), address(3, "10.0.3.1")], [])
    assert [place.name for place in found] == ["up0"]


def place(index: int, name: str, text: str, prefix: int = 24) -> Place:
    return Place(index, name, MAC, True, ((bytes(map(int, text.split("."))), prefix),))


def test_an_address_belongs_to_the_first_allowed_link_whose_subnet_holds_it() -> None:
    known = [place(2, "eth0", "192.0.2.11"), place(3, "eth1", "192.0.2.12"), place(4, "mgmt0", "10.0.0.1")]
    vip = bytes([192, 0, 2, 100])
    assert place_of(known, vip) is known[0]
    assert place_of(known, vip, {"eth1"}) is known[1]
    assert place_of(known, vip, {"eth*"}) is known[0]
    assert place_of(known, vip, {"mgmt0"}) is None
    assert place_of(known, bytes([198, 51, 100, 1])) is None
    assert is_allowed("eth0", ())


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 31),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**16),
)
def test_a_link_meets_a_range_exactly_when_one_address_lies_in_both(
    own: int, prefix: int, first: int, length: int
) -> None:
    last = min(first + length, 2**32 - 1)
    packed = own.to_bytes(4, "big")
    there = Place(2, "eth0", MAC, True, ((packed, prefix),))
    start = own >> (32 - prefix) << (32 - prefix)
    end = start + (1 << (32 - prefix)) - 1
    nearest = min(max(first, start), end)
    expected = first <= nearest <= last and covers(packed, prefix, nearest.to_bytes(4, "big"))
    assert there.meets([Range(4, first, last, "")]) == expected
    assert not there.meets([Range(6, first, last, "")])

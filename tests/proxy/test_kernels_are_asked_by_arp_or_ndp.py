"""A silent node's kernel is asked in a family that this node shares a subnet in; what it says then counts."""

from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp import frames, ndp_frames
from strictarp.arp.ndp_frames import ADVERTISEMENT, NdpFrame
from strictarp.kube.objects import Node
from strictarp.netlink.rtnl import (
    ADDRESS_DAD_FAILED,
    ADDRESS_TENTATIVE,
    IFF_LOOPBACK,
    IFF_NOARP,
    IFF_UP,
    PROTOCOL_KERNEL,
    PROTOCOL_RA,
    ROUTE_LOCAL,
    SCOPE_GLOBAL,
    SCOPE_LINK,
    TABLE_LOCAL,
    Address,
    Hop,
    Link,
    Route,
    is_prefix_on_link,
)
from strictarp.proxy import asking, peers
from strictarp.proxy.asking import Place, Question
from strictarp.proxy.liveness import Member
from strictarp.proxy.seam import HostLinks
from support import bpf_machine


def packed(text: str) -> bytes:
    return ip_address(text).packed


OWN, THEIR, THIRD = (bytes([2, 0, 0, 0, 0, last]) for last in (1, 2, 3))
OWN4, OWN6 = packed("192.0.2.11"), packed("2001:db8::11")
NODE4, NODE6 = packed("192.0.2.12"), packed("2001:db8::12")
THIRD6, VIP6 = packed("2001:db8::13"), packed("2001:db8::100")
BOTH, SIX = Member("node2", NODE4, NODE6), Member("node2", address6=NODE6)
LINK = Link(7, "eth0", IFF_UP, OWN, carrier=True)


def place(*own: tuple[bytes, int]) -> Place:
    return Place(7, OWN, own)


def address(text: str, prefix: int, scope: int = SCOPE_GLOBAL, flags: int = 0) -> Address:
    return Address(7, packed(text), prefix, scope, flags)


def members(*addresses: tuple[str, str], name: str = "node2") -> dict[int, Member]:
    """What is made of a Node with these addresses and their types."""
    told = [{"type": kind, "address": text} for kind, text in addresses]
    node = msgspec.convert({"metadata": {"name": name}, "status": {"addresses": told}}, Node)
    return peers.members([node], "node1")


def test_a_node_is_known_by_the_first_internal_ip_of_each_family_that_it_has() -> None:
    mixed = members(
        ("ExternalIP", "203.0.113.1"), ("InternalIP", "2001:db8::12"), ("InternalIP", "192.0.2.12"),
        ("InternalIP", "192.0.2.13"),
    )  # fmt: skip
    assert list(mixed.values()) == [BOTH]
    assert list(members(("InternalIP", "2001:db8::12")).values()) == [SIX]
    assert list(members(("InternalIP", "192.0.2.12")).values()) == [Member("node2", NODE4)]
    assert members(("ExternalIP", "2001:db8::12"), ("InternalIP", "node2"), ("Hostname", "node2")) == {}
    assert members(("InternalIP", "2001:db8::12"), name="node1") == {}


def test_it_is_the_next_hop_in_a_family_where_it_shares_a_subnet() -> None:
    own = (address("192.0.2.11", 24), address("2001:db8::11", 64))
    (here,) = asking.places(HostLinks((LINK,), own), [BOTH]).values()
    assert here.source_for(BOTH.next_hop(VIP6)) == OWN6
    assert here.source_for(Member("node2", NODE4).next_hop(VIP6)) is None
    assert here.source_for(SIX.next_hop(packed("192.0.2.100"))) is None


def test_ipv4_is_asked_by_arp_and_ipv6_where_nothing_else_is_shared() -> None:
    arp = Question(frames.ETHERTYPE_ARP, frames.request(OWN, OWN4, NODE4))
    ndp = Question(ndp_frames.ETHERTYPE_IPV6, ndp_frames.solicit(OWN, OWN6, NODE6))
    both = place((OWN6, 64), (OWN4, 24))
    assert asking.question(both, BOTH) == arp
    assert asking.question(both, Member("node2", NODE4)) == arp
    assert asking.question(both, SIX) == ndp
    assert asking.question(place((OWN6, 64)), BOTH) == ndp
    assert asking.question(place((OWN6, 64), (packed("198.51.100.1"), 24)), BOTH) == ndp


@pytest.mark.parametrize("own", [(), ((OWN4, 24),), ((OWN6, 128),), ((packed("2001:db8:1::11"), 64),)])
def test_without_an_address_of_our_own_in_its_subnet_nobody_is_asked(
    own: tuple[tuple[bytes, int], ...],
) -> None:
    assert asking.question(place(*own), SIX) is None


def _route(text: str, index: int = 7) -> Route:
    return Route(16, packed(text), 64, (Hop(index),), protocol=PROTOCOL_RA)


def test_an_address_by_dhcp_asks_within_the_prefixes_that_a_router_calls_on_link() -> None:
    own = address("2001:db8::11", 128)
    assert asking.needs_prefixes([LINK], [own])
    for routes in ((), (_route("2001:db8:1::"),), (_route("2001:db8::", 8),)):
        assert asking.places(HostLinks((LINK,), (own,), routes), [SIX]) == {}
    (here,) = asking.places(HostLinks((LINK,), (own,), (_route("2001:db8::"),)), [SIX]).values()
    assert here.source_for(NODE6) == OWN6
    assert here.source_for(packed("2001:db8:1::12")) is None
    unsettled = msgspec.structs.replace(own, flags=ADDRESS_TENTATIVE)
    assert asking.places(HostLinks((LINK,), (unsettled,), (_route("2001:db8::"),)), [SIX]) == {}


@pytest.mark.parametrize(
    ("change", "tells"),
    [
        ({}, True),
        ({"protocol": PROTOCOL_KERNEL}, True),
        ({"protocol": 4}, False),  # a static route, of the administrator or a CNI plugin
        ({"hops": (Hop(7, packed("fe80::1")),)}, False),
        ({"hops": (Hop(7), Hop(8))}, False),
        ({"hops": (Hop(0),)}, False),
        ({"destination": packed("fe80::")}, False),
        ({"destination": bytes(16), "prefix": 0}, False),
        ({"prefix": 128}, False),
        ({"table": TABLE_LOCAL}, False),
        ({"kind": ROUTE_LOCAL}, False),
    ],
)
def test_only_routes_without_a_gateway_that_the_kernel_or_a_router_made_tell_what_is_on_link(
    change: dict[str, object], tells: bool
) -> None:
    route = Route(16, packed("2001:db8::"), 64, (Hop(7),), protocol=PROTOCOL_RA)
    assert is_prefix_on_link(msgspec.structs.replace(route, **change)) == tells


def test_prefixes_are_not_looked_for_where_addresses_tell_their_subnets() -> None:
    elsewhere = msgspec.structs.replace(address("2001:db8::100", 128), index=9)  # as on kube-ipvs0
    hidden = Link(9, "kube-ipvs0", IFF_UP | IFF_NOARP, THEIR)
    told = [address("2001:db8::11", 64), address("192.0.2.11", 32), elsewhere]
    assert not asking.needs_prefixes([LINK, hidden], told)


def test_a_solicitation_goes_to_the_groups_of_the_address_and_names_who_asks() -> None:
    asked = asking.question(place((OWN6, 64)), SIX)
    assert asked is not None
    seen = ndp_frames.decode(asked.frame)
    assert (seen.destination, seen.source, seen.mac) == (bytes.fromhex("3333ff000012"), OWN, OWN)
    assert (seen.sender, seen.receiver, seen.target) == (OWN6, packed("ff02::1:ff00:12"), NODE6)


@pytest.mark.parametrize(
    ("link", "own", "heard"),
    [
        (LINK, address("2001:db8::11", 64), True),
        (LINK, address("2001:db8::11", 128), False),
        (LINK, address("2001:db8:1::11", 64), False),
        (LINK, address("fe80::11", 64, SCOPE_LINK), False),
        (LINK, address("2001:db8::11", 64, flags=ADDRESS_TENTATIVE), False),
        (LINK, address("2001:db8::11", 64, flags=ADDRESS_DAD_FAILED), False),
        (LINK, address("192.0.2.11", 24), False),
        (msgspec.structs.replace(LINK, carrier=False), address("2001:db8::11", 64), False),
        (msgspec.structs.replace(LINK, flags=IFF_UP | IFF_NOARP), address("2001:db8::11", 64), False),
        (msgspec.structs.replace(LINK, flags=IFF_UP | IFF_LOOPBACK), address("2001:db8::11", 64), False),
        (msgspec.structs.replace(LINK, index=8), address("2001:db8::11", 64), False),
        (msgspec.structs.replace(LINK, mac=b""), address("2001:db8::11", 64), False),
    ],
)
def test_links_are_heard_where_a_settled_address_of_our_own_shares_a_subnet(
    link: Link, own: Address, heard: bool
) -> None:
    assert bool(asking.places(HostLinks((link,), (own,)), [SIX])) == heard


def _life(frame: bytes, awaited: frozenset[bytes]) -> bool:
    """Whether what the sockets pass of this frame is a sign of life of somebody who is awaited."""
    program = asking.filters(awaited).get(int.from_bytes(frame[12:14], "big"))
    kept = bpf_machine.run(program, frame) if program else 0
    return bool(kept) and bool(awaited & set(asking.alive(frame[:kept])))


def _advertised(sender: bytes, target: bytes, mac: bytes = THEIR) -> bytes:
    return ndp_frames.encode(NdpFrame(OWN, mac, ADVERTISEMENT, sender, OWN6, target, mac, solicited=True))


@pytest.mark.parametrize(
    ("frame", "counts"),
    [
        (_advertised(NODE6, NODE6), True),
        (_advertised(packed("fe80::12"), NODE6), True),  # an address on the VRF of its link
        (ndp_frames.unsolicited(THEIR, NODE6), True),
        (ndp_frames.solicit(THEIR, NODE6, THIRD6), True),
        (ndp_frames.solicit(THEIR, NODE6, OWN6, to=OWN), True),
        (ndp_frames.solicit(THIRD, THIRD6, NODE6), False),  # a third node looks for it, too
        (ndp_frames.probe(THIRD, NODE6), False),
        (_advertised(THIRD6, THIRD6, THIRD), False),
        (ndp_frames.unsolicited(THEIR, VIP6), False),
        (frames.reply(THEIR, frames.decode(frames.request(OWN, OWN4, NODE4))), True),
        (frames.request(THEIR, NODE4, packed("192.0.2.13")), True),
        (frames.request(THIRD, packed("192.0.2.13"), NODE4), False),
        (frames.probe(THIRD, NODE4), False),
    ],
)
def test_what_a_kernel_says_itself_shows_that_it_lives_and_what_is_said_to_it_does_not(
    frame: bytes, counts: bool
) -> None:
    assert _life(frame, frozenset(BOTH.addresses)) == counts
    assert not _life(frame, frozenset())


octets = st.integers(1, 254)
fours = octets.map(lambda last: bytes([192, 0, 2, last]))
sixes = octets.map(lambda last: OWN6[:15] + bytes([last]))
known = st.builds(Member, st.just("node2"), fours | st.just(b""), sixes | st.just(b"")).filter(
    lambda member: bool(member.addresses)
)


@given(known, st.lists(st.tuples(fours, st.sampled_from([16, 24, 32])) | st.tuples(sixes, st.just(64))))
def test_who_answers_a_question_is_heard_and_only_it(member: Member, own: list[tuple[bytes, int]]) -> None:
    asked = asking.question(place(*own), member)
    if asked is None:
        assert not any(place(*own).source_for(each) for each in member.addresses)
        return
    if asked.ethertype == frames.ETHERTYPE_ARP:
        answer = frames.reply(THEIR, frames.decode(asked.frame))
    else:
        answer = ndp_frames.advertise(THEIR, ndp_frames.decode(asked.frame))
    assert _life(answer, frozenset(member.addresses))
    others = {OWN6[:15] + b"\xff", bytes([192, 0, 2, 255])}
    assert not _life(answer, frozenset(others))


@given(
    st.binary(max_size=120)
    | st.tuples(
        st.sampled_from([_advertised(NODE6, NODE6), frames.request(THEIR, NODE4, OWN4)]),
        st.integers(0, 90),
        st.integers(0, 255),
    ).map(lambda drawn: drawn[0][: drawn[1]] + bytes([drawn[2]]) + drawn[0][drawn[1] + 1 :])
)
def test_malformed_frames_show_nothing_and_stop_nothing(frame: bytes) -> None:
    assert all(len(each) in (4, 16) for each in asking.alive(frame))
    assert asking.alive(frame[:40]) == ()

"""Dual stack: the addresses of a Service follow the first of them."""

from __future__ import annotations

from ipaddress import ip_address

from strictarp.netlink.rtnl import IFF_UP, Address, Hop, Link, Route
from strictarp.speaker import picture
from strictarp.speaker.actions import Kind
from strictarp.speaker.candidates import Why, evaluate
from strictarp.speaker.events import MoveRequested
from strictarp.speaker.links import Place, places
from strictarp.speaker.settings import MS, SECOND
from strictarp.speaker.silence import LASTS, Silence
from support.speaker_objects import facts, node, pool, service, slice_of
from support.speakers import VIP, Table, address

MAC = bytes.fromhex("020000000001")
FOUR, SIX = "192.0.2.100", "2001:db8::42"
POOL = pool("lab", "192.0.2.100-192.0.2.119", "2001:db8::/120")
ON4 = (bytes([192, 0, 2, 11]), 24)
ON6 = (ip_address("2001:db8::11").packed, 64)


def other_first(vip: bytes) -> bytes:
    """An IPv6 address that, by itself, orders another node first than `vip` does."""
    table = Table(vips=())
    return next(
        found
        for number in range(1, 100)
        if table.first(found := address(f"2001:db8::{number:x}"))[0] != table.first(vip)[0]
    )


def test_a_new_address_goes_to_the_owner_of_the_first() -> None:
    six = other_first(VIP)
    table = Table().settled()
    last = table.first()[-1]
    table.feed(table.owners()[0], MoveRequested(VIP, last))
    table.after(SECOND)
    assert table.owners() == [last]
    table.vips.append(six)
    table.beside = {six: VIP}
    table.show()
    table.after(SECOND)
    assert table.owners(six) == [last], "not to the first of the order"


def test_addresses_that_were_apart_are_brought_together_by_a_planned_move() -> None:
    six = other_first(VIP)
    table = Table(vips=(VIP, six)).settled()
    (four_at,), (six_at,) = table.owners(), table.owners(six)
    assert four_at != six_at
    table.beside = {six: VIP}
    start = table.now
    table.show()
    table.after(2 * SECOND)
    assert (table.owners(), table.owners(six)) == ([four_at], [four_at])
    assert [report.detail for report in table.reported(Kind.HANDED_OVER, since=start)] != []
    assert len(table.reported(Kind.TOOK_OVER, since=start)) == 1, "the first one stays"
    table.after(8 * SECOND)
    assert len(table.reported(Kind.TOOK_OVER, since=start)) == 1, "and nothing moves any more"


def test_a_move_of_one_moves_both_and_a_crash_keeps_them_together() -> None:
    six = other_first(VIP)
    table = Table(vips=(VIP, six))
    table.beside = {six: VIP}
    table.settled()
    (owner,) = table.owners(six)
    assert table.owners() == [owner] == table.first()[:1]
    last = table.first()[-1]
    table.feed(owner, MoveRequested(six, last))
    table.after(SECOND)
    assert (table.owners(), table.owners(six)) == ([last], [last])
    table.after(2 * SECOND)  # who gave it away lets others go first for so long
    table.kill(last)
    table.after(600 * MS)
    assert table.owners() == table.owners(six) == table.first()[:1]


def test_a_preference_moves_the_first_address_and_the_other_follows() -> None:
    six = other_first(VIP)
    table = Table(vips=(VIP, six))
    table.beside = {six: VIP}
    table.settled()
    wanted = table.first()[-1]
    table.show(scores={wanted: 5})
    table.after(3 * SECOND)
    assert (table.owners(), table.owners(six)) == ([wanted], [wanted])


def test_an_address_whose_first_is_at_a_node_that_may_not_have_it_goes_its_own_way() -> None:
    six = other_first(VIP)
    table = Table(vips=(VIP, six))
    table.beside = {six: VIP}
    table.settled()
    (owner,) = table.owners()
    for name in table.machines:
        view = table.view(name)
        vip = view.vips[six]
        rest = tuple(each for each in vip.candidates if each.node != owner)
        vips = {**view.vips, six: type(vip)(six, rest, vip.eligible and name != owner, VIP)}
        table.feed(name, _shown(view, vips))
    table.after(2 * SECOND)
    assert table.owners() == [owner]
    (elsewhere,) = table.owners(six)
    assert elsewhere != owner


def _shown(view: object, vips: dict) -> object:
    import msgspec

    from strictarp.speaker.events import ViewChanged

    return ViewChanged(msgspec.structs.replace(view, vips=vips))


def test_nodes_that_reach_only_one_address_come_behind_and_only_for_that_one() -> None:
    known = facts(
        pools=[POOL],
        nodes=[node(name) for name in ("node1", "node2", "node3")],
        subnets={"node1": (ON4,), "node2": (ON4, ON6), "node3": (ON6,)},
    )
    verdict = evaluate(service("web", FOUR, SIX), [slice_of()], known)
    assert verdict.order[0].node == "node2", "who has both goes first"
    assert [each.node for each in verdict.order_of(ip_address(FOUR))] == ["node2", "node1"]
    assert [each.node for each in verdict.order_of(ip_address(SIX))] == ["node2", "node3"]
    assert verdict.unreached == ()


def test_an_address_that_nobody_reaches_is_explained_the_other_one_is_announced() -> None:
    known = facts(pools=[POOL], subnets=dict.fromkeys(("node1", "node2", "node3"), (ON4,)))
    verdict = evaluate(service("web", FOUR, SIX), [slice_of()], known)
    assert (verdict.why, len(verdict.order), verdict.order_of(ip_address(SIX))) == (None, 3, ())
    silence = Silence()
    assert silence.news({"default/web": verdict}, 0.0) == []
    ((key, text),) = silence.news({"default/web": verdict}, LASTS)
    assert key == "default/web"
    assert text == (
        f"nobody announces {SIX}: {Why.NO_NODE}: node1, node2, node3: no link in the segment of {SIX}"
    )


def place(**rest: object) -> Place:
    return Place(2, "eth0", MAC, True, (ON4, ON6), **rest)


def test_the_view_names_the_first_address_where_both_are_on_one_link() -> None:
    verdict = evaluate(service("web", FOUR, SIX), [slice_of()], facts(pools=[POOL]))
    four, six = ip_address(FOUR).packed, ip_address(SIX).packed
    (vips,) = picture.vips({"default/web": verdict}, [place()], "node1").values()
    assert (vips[four].beside, vips[six].beside) == (b"", four)
    assert vips[four].candidates == vips[six].candidates
    apart = [Place(2, "eth0", MAC, True, (ON4,)), Place(3, "eth1", MAC, True, (ON6,))]
    found = picture.vips({"default/web": verdict}, apart, "node1")
    assert (found[2][four].beside, found[3][six].beside) == (b"", b"")


def test_internal_addresses_of_both_families_tell_a_node() -> None:
    both = node("node1", address="192.0.2.11")
    extra = node("node2", address="2001:db8::12")
    found = picture.node_addresses({"node1": both, "node2": extra}, place())
    assert found == {ON4[0]: "node1", ip_address("2001:db8::12").packed: "node2"}


def test_ipv6_subnets_of_a_link_are_those_that_stay() -> None:
    eth0 = Link(2, "eth0", IFF_UP, MAC, carrier=True)

    def six(text: str, prefix: int = 64, **rest: int) -> Address:
        return Address(2, ip_address(text).packed, prefix, **rest)

    found = places(
        [eth0],
        [
            six("2001:db8::11"),
            six("2001:db8:1::11", flags=0x01),
            six("2001:db8:2::11", flags=0x40),
            six("2001:db8:3::11", flags=0x08),
            six("2001:db8:4::11", 128),
            six("fe80::2", scope=253, flags=0x40),
            six("fe80::3", scope=253),
        ],
        [Route(16, b"", 0, (Hop(2, ip_address("fe80::1").packed),))],
    )
    (only,) = found
    assert only.subnets == ((ip_address("2001:db8::11").packed, 64),)
    assert only.own6 == ip_address("fe80::3").packed
    assert (only.gateway, only.gateway6) == (None, ip_address("fe80::1").packed)
    assert only.holds(ip_address(SIX).packed)
    assert not only.holds(ip_address(FOUR).packed)


def test_a_prefix_that_a_router_calls_on_link_is_a_subnet_though_the_address_is_single() -> None:
    """As by DHCPv6."""
    eth0 = Link(2, "eth0", IFF_UP, MAC, carrier=True)
    single = Address(2, ip_address("2001:db8::11").packed, 128)

    def route(text: str, prefix: int = 64, gateway: str = "", **rest: int) -> Route:
        hop = Hop(2, ip_address(gateway).packed if gateway else b"")
        return Route(16, ip_address(text).packed, prefix, (hop,), **{"protocol": 2, **rest})

    def subnets(*routes: Route, address: Address = single) -> list[tuple[bytes, int]]:
        return [subnet for place in places([eth0], [address], routes) for subnet in place.subnets]

    network = ip_address("2001:db8::").packed
    assert subnets(route("2001:db8::")) == [(network, 64)]
    assert subnets(route("2001:db8::", protocol=9)) == [(network, 64)]
    assert subnets(route("2001:db8::", table=10)) == [(network, 64)], "that of a VRF"
    for other in (
        route("fe80::"),
        route("ff00::", 8, table=10),
        route("2001:db8::", gateway="fe80::1"),
        route("2001:db8::", protocol=3),
        route("2001:db8::", table=255),
        route("2001:db8::11", 128),
        Route(16, b"", 0, (Hop(2),), protocol=2),
    ):
        assert subnets(other) == []
    whole = Address(2, ip_address("2001:db8::11").packed, 64)
    assert subnets(route("2001:db8::"), address=whole) == [(whole.address, 64)], "once"

"""Against the running kernel, in network namespaces of our own."""

import asyncio
import errno
from collections.abc import Iterator

import pytest

from strictarp.lab import namespaces
from strictarp.netlink import genl, look, rtnl
from strictarp.netlink import rtnl_encode as encode
from strictarp.netlink.messages import Message, Refusal
from strictarp.netlink.rtnl_parse import parse_event
from strictarp.netlink.socket import NETLINK_GENERIC, NETLINK_ROUTE, Events, Netlink

pytestmark = pytest.mark.netns

VIP4, VIP6 = bytes([192, 0, 2, 100]), bytes.fromhex("20010db8" + "00" * 11 + "64")


@pytest.fixture
def namespace() -> Iterator[namespaces.Namespace]:
    made = namespaces.create("netlink-test")
    yield made
    made.close()


def _route_socket(namespace: namespaces.Namespace) -> Netlink:
    with namespaces.entered(namespace):
        return Netlink(NETLINK_ROUTE)


async def _do(route: Netlink, message: bytes) -> int:
    (refusal,) = await route.request([message])
    return 0 if refusal is None else refusal.errno


async def test_a_socket_stays_in_the_namespace_it_was_made_in(namespace: namespaces.Namespace) -> None:
    async with _route_socket(namespace) as inside, Netlink(NETLINK_ROUTE) as outside:
        assert await _do(inside, encode.encode_new_link("only-inside", "bridge")) == 0
        assert await look.link(inside, "only-inside") is not None
        assert await look.link(outside, "only-inside") is None


async def test_a_device_and_its_addresses_come_and_go(namespace: namespaces.Namespace) -> None:
    async with _route_socket(namespace) as route:
        assert await _do(route, encode.encode_new_link("vips", "bridge")) == 0
        assert await _do(route, encode.encode_new_link("vips", "bridge")) == errno.EEXIST
        device = await look.link(route, "vips")
        assert device is not None
        assert (device.kind, device.up, bool(device.flags & rtnl.IFF_NOARP)) == ("bridge", False, True)

        for address in (VIP4, VIP6):
            bits = 8 * len(address)
            assert await _do(route, encode.encode_new_address(device.index, address, bits)) == 0
            assert await _do(route, encode.encode_new_address(device.index, address, bits)) == errno.EEXIST
        held = [a for a in await look.addresses(route) if a.index == device.index]
        assert {(a.address, a.prefix, a.scope, a.peer) for a in held} == {
            (VIP4, 32, 0, b""),
            (VIP6, 128, 0, b""),
        }
        for address in (VIP4, VIP6):
            bits = 8 * len(address)
            assert await _do(route, encode.encode_del_address(device.index, address, bits)) == 0
            assert (
                await _do(route, encode.encode_del_address(device.index, address, bits))
                == errno.EADDRNOTAVAIL
            )
        assert [a for a in await look.addresses(route) if a.index == device.index] == []

        assert await _do(route, encode.encode_set_link_up(device.index, up=True)) == 0
        again = await look.link(route, "vips")
        assert again is not None
        assert again.flags & rtnl.IFF_UP
        assert await _do(route, encode.encode_del_link(device.index)) == 0
        assert await look.link(route, "vips") is None
        assert await _do(route, encode.encode_new_address(device.index, VIP4, 32)) == errno.ENODEV


async def test_a_refusal_carries_the_kernels_own_words(namespace: namespaces.Namespace) -> None:
    async with _route_socket(namespace) as route:
        (refusal,) = await route.request([encode.encode_new_link("x", "nosuchkind")])
        assert refusal is not None
        assert refusal.errno == errno.EOPNOTSUPP
        assert "Unknown device type" in str(refusal)


async def test_links_routes_and_neighbours_are_seen_as_ip_shows_them(namespace: namespaces.Namespace) -> None:
    peer = namespaces.create("peer")
    namespaces.veth((namespace, "eth0"), (peer, "eth0"), mac_a="02:00:00:00:00:01", mac_b="02:00:00:00:00:09")
    namespaces.ip(
        namespace,
        "link set eth0 mtu 1400",
        "address add 192.0.2.11/24 dev eth0",
        "address add 198.51.100.1 peer 198.51.100.2/32 dev eth0",
        "route add default via 192.0.2.1 metric 50",
        "route add 203.0.113.0/24 nexthop via 192.0.2.1 nexthop via 192.0.2.2",
        "neighbour add 192.0.2.1 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
    )
    async with _route_socket(namespace) as route:
        links = {link.name: link for link in await look.links(route)}
        eth0 = links["eth0"]
        assert (eth0.mac, eth0.mtu, eth0.kind, eth0.up) == (b"\2\0\0\0\0\1", 1400, "veth", True)
        held = {a.address: a for a in await look.addresses(route, 4)}
        assert held[bytes([192, 0, 2, 11])].prefix == 24
        assert held[bytes([198, 51, 100, 1])].peer == bytes([198, 51, 100, 2])
        routes = await look.routes(route, 4)
        (default,) = [route for route in routes if route.prefix == 0]
        assert default.hops == (rtnl.Hop(eth0.index, bytes([192, 0, 2, 1])),)
        assert default.metric == 50
        (spread,) = [r for r in routes if r.destination == bytes([203, 0, 113, 0])]
        assert [hop.gateway[3] for hop in spread.hops] == [1, 2]
        way = await look.route_to(route, bytes([8, 8, 8, 8]))
        assert way is not None
        assert way.hops == default.hops
        assert way.source == bytes([192, 0, 2, 11])
        assert await look.route_to(route, VIP6) is None
        known = {n.address: n for n in await look.neighbours(route, 4)}
        gateway = known[bytes([192, 0, 2, 1])]
        assert (gateway.mac, gateway.state) == (b"\2\0\0\0\0\x09", rtnl.NUD_PERMANENT)
    peer.close()


async def test_changes_arrive_as_events_and_later_ones_are_not_missed(
    namespace: namespaces.Namespace,
) -> None:
    with namespaces.entered(namespace):
        events = Events(NETLINK_ROUTE, (rtnl.GROUP_LINK, rtnl.GROUP_IPV4_ADDRESS))
    async with _route_socket(namespace) as route:
        await route.request([encode.encode_new_link("vips", "bridge")])
        device = await look.link(route, "vips")
        assert device is not None
        await route.request([encode.encode_new_address(device.index, VIP4, 32)])
        await route.request([encode.encode_del_address(device.index, VIP4, 32)])
        await route.request([encode.encode_del_link(device.index)])
        batch = [parse_event(message) for message in await events.wait() if message is not None]
    events.close()
    address = rtnl.Address(device.index, VIP4, 32, flags=0x80)
    told = [e for e in batch if isinstance(e, rtnl.AddressEvent)]
    assert told == [rtnl.AddressEvent(address), rtnl.AddressEvent(address, gone=True)]
    links = [e for e in batch if isinstance(e, rtnl.LinkEvent)]
    assert (links[0].link.name, links[0].gone) == ("vips", False)
    assert (links[-1].link.name, links[-1].gone) == ("vips", True)


async def test_a_flood_of_events_is_told_as_look_again(namespace: namespaces.Namespace) -> None:
    with namespaces.entered(namespace):
        events = Events(NETLINK_ROUTE, (rtnl.GROUP_IPV4_ADDRESS,))
    async with _route_socket(namespace) as route:
        await route.request([encode.encode_new_link("vips", "bridge")])
        device = await look.link(route, "vips")
        assert device is not None
        many = [bytes([198, 51, n >> 8, n & 255]) for n in range(4000)]
        answers = await route.request([encode.encode_new_address(device.index, a, 32) for a in many])
        assert answers == [None] * 4000
        assert len([a for a in await look.addresses(route) if a.index == device.index]) == 4000
        batch: list[Message | None] = []
        while None not in batch:
            batch = await asyncio.wait_for(events.wait(), 5)
    assert events.lost > 0
    events.close()


async def test_a_dump_given_up_in_the_middle_does_not_disturb_the_next(
    namespace: namespaces.Namespace,
) -> None:
    async with _route_socket(namespace) as route:
        await route.request([encode.encode_new_link("vips", "bridge")])
        device = await look.link(route, "vips")
        assert device is not None
        many = [bytes([198, 51, n >> 8, n & 255]) for n in range(2000)]
        await route.request([encode.encode_new_address(device.index, a, 32) for a in many])
        task = asyncio.create_task(look.addresses(route))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len([a for a in await look.addresses(route) if a.index == device.index]) == 2000
        assert route.stray > 0


async def test_other_tasks_get_their_turn_during_long_work(namespace: namespaces.Namespace) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with _route_socket(namespace) as route:
        await route.request([encode.encode_new_link("vips", "bridge")])
        device = await look.link(route, "vips")
        assert device is not None
        many = [bytes([198, 51, n >> 8, n & 255]) for n in range(2000)]
        other = asyncio.create_task(count())
        await asyncio.sleep(0)
        began = turns
        await route.request([encode.encode_new_address(device.index, a, 32) for a in many])
        assert turns - began >= 2000 // 64
        began = turns
        await look.addresses(route)  # 5 datagrams of 32 KiB
        assert turns - began >= 4
        began = turns
        for _ in range(160):
            await look.link(route, "vips")
        assert turns - began >= 160 // 64
        other.cancel()


async def test_exchanges_of_many_tasks_do_not_mix(namespace: namespaces.Namespace) -> None:
    async with _route_socket(namespace) as route:
        names = [f"br{n}" for n in range(20)]
        await route.request([encode.encode_new_link(name, "bridge") for name in names])
        found = await asyncio.gather(*(look.link(route, name) for name in names), look.links(route))
        assert [link.name for link in found[:-1] if isinstance(link, rtnl.Link)] == names
        assert {link.name for link in found[-1]} >= set(names)


async def test_generic_families_are_found_by_name() -> None:
    async with Netlink(NETLINK_GENERIC) as generic:
        family = await genl.resolve(generic, "nlctrl")
        assert family.number == 16
        assert "notify" in family.groups
        with pytest.raises(genl.FamilyMissing, match="no-such-family"):
            await genl.resolve(generic, "no-such-family")
        with pytest.raises(Refusal):
            await generic.query(encode.encode_dump_links())

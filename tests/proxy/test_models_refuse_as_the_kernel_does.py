"""One suite of questions for the models of nft and rtnetlink, and for the kernel."""

import contextlib
import errno
from collections.abc import AsyncIterator, Iterator

import pytest

from strictarp.lab import namespaces
from strictarp.netlink import look
from strictarp.netlink.rtnl_encode import (
    encode_del_address,
    encode_del_link,
    encode_new_address,
    encode_new_link,
)
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink, Transport
from strictarp.proxy.config import Config
from strictarp.proxy.nft_listing import Listing, parse_listings
from strictarp.proxy.nftables import FAMILIES, TABLE, change_elements, no_table, whole_table
from strictarp.proxy.operations import ChangeSets, Element
from strictarp.proxy.seam import KernelRefused, TableVanished
from support.fake_nft import FakeNft
from support.fake_route import FakeRoute
from support.lib_nft import LibNft
from support.machine import Nft, RealNft

BOTH = ["model", pytest.param("kernel", marks=pytest.mark.netns)]
PLACE, OTHER = "192.0.2.100 . tcp . 80", "192.0.2.100 . tcp . 81"
VIP, SIX = bytes([192, 0, 2, 100]), bytes.fromhex("20010db8" + "00" * 11 + "64")


def _source(network: str, place: str = PLACE) -> Element:
    return ("loadBalancerSource", f"{place} . {network}")


@contextlib.contextmanager
def _space() -> Iterator[None]:
    space = namespaces.create("models")
    with namespaces.entered(space):
        yield
    space.close()


@pytest.fixture(params=[*BOTH, pytest.param("library", marks=pytest.mark.netns)])
async def nft(request: pytest.FixtureRequest) -> AsyncIterator[Nft]:
    if request.param == "model":
        yield FakeNft()
        return
    with _space():
        if request.param == "kernel":
            yield RealNft()
            return
        library = LibNft()
        yield library
        library.close()


@pytest.fixture(params=BOTH)
async def route(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    if request.param == "model":
        yield FakeRoute()
        return
    with _space():
        real = Netlink(NETLINK_ROUTE)
        yield real
        real.close()


async def _listed(nft: Nft) -> Listing:
    return parse_listings([await nft.list(family, TABLE) for family in FAMILIES.values()])


async def _change(nft: Nft, *, add: tuple[Element, ...] = (), remove: tuple[Element, ...] = ()) -> None:
    await nft.run(change_elements(ChangeSets(add, remove)))


async def test_a_table_that_is_not_there_is_empty_and_cannot_be_changed(nft: Nft) -> None:
    assert await nft.list("ip", TABLE) == b""
    with pytest.raises(TableVanished):
        await _change(nft, add=(("vips", "192.0.2.1"),))
    with pytest.raises(TableVanished):
        await nft.run(f"delete table ip {TABLE}\n")
    await nft.run(no_table())


async def test_a_whole_table_is_replaced_and_read_back(nft: Nft) -> None:
    some = {
        ("vips", "192.0.2.1"),
        ("vips", "2001:db8::1"),
        _source("0.0.0.0/0"),
        _source("10.0.0.1/32", OTHER),
    }
    await nft.run(whole_table(Config(), (), some))
    first = await _listed(nft)
    assert first.elements == some
    await nft.run(whole_table(Config(masquerade_all=True), (), ()))
    second = await _listed(nft)
    assert second.elements == frozenset()
    assert second.rules != first.rules
    await nft.run(whole_table(Config(), (), some))
    assert await _listed(nft) == first


async def test_what_is_there_may_be_added_again_but_what_is_not_cannot_be_deleted(nft: Nft) -> None:
    await nft.run(whole_table(Config(), (), ()))
    vip = ("vips", "192.0.2.1")
    await _change(nft, add=(vip,))
    await _change(nft, add=(vip,))
    await _change(nft, add=(vip,), remove=(vip,))
    with pytest.raises(TableVanished):
        await _change(nft, add=(("vips", "192.0.2.2"),), remove=(("vips", "192.0.2.3"),))
    assert (await _listed(nft)).elements == {vip}  # all of a script or nothing


async def test_an_interval_may_not_begin_or_end_inside_another(nft: Nft) -> None:
    await nft.run(whole_table(Config(), (), {_source("10.0.0.0/8")}))
    narrow, wide = _source("10.1.0.0/16"), _source("10.0.0.0/8")
    with pytest.raises(KernelRefused):
        await _change(nft, add=(narrow,))
    with pytest.raises(KernelRefused):
        await nft.run(whole_table(Config(), (), {narrow, wide}))
    await _change(nft, add=(narrow, _source("10.0.0.0/8", OTHER)), remove=(wide,))
    await _change(nft, add=(wide,))
    assert len((await _listed(nft)).elements) == 3
    with pytest.raises(TableVanished):
        await _change(nft, remove=(_source("172.16.0.0/12"),))


async def test_a_flush_takes_everything(nft: Nft) -> None:
    await nft.run(whole_table(Config(), (), {("vips", "192.0.2.1")}))
    before = await _listed(nft)
    await nft.run(f"flush chain ip {TABLE} postrouting\n")
    assert (await _listed(nft)).rules != before.rules
    await nft.run("flush ruleset\n")
    assert await nft.list("ip", TABLE) == b""


async def _do(route: Transport, *messages: bytes) -> list[int]:
    return [0 if answer is None else answer.errno for answer in await route.request(messages)]


async def test_links_and_addresses_are_refused_as_the_kernel_does(route: Transport) -> None:
    assert await look.link(route, "vips0") is None
    make = encode_new_link("vips0", "bridge")
    assert await _do(route, make, make) == [0, errno.EEXIST]
    found = await look.link(route, "vips0")
    assert found is not None
    for address, bits in ((VIP, 32), (SIX, 128)):
        add = encode_new_address(found.index, address, bits)
        drop = encode_del_address(found.index, address, bits)
        assert await _do(route, add, add, drop, drop, add) == [0, errno.EEXIST, 0, errno.EADDRNOTAVAIL, 0]
    held = {each.address for each in await look.addresses(route) if each.index == found.index}
    assert {VIP, SIX} <= held
    assert await _do(route, encode_del_link(found.index), encode_del_link(found.index)) == [0, errno.ENODEV]
    assert await _do(
        route, encode_new_address(found.index, VIP, 32), encode_del_address(found.index, VIP, 32)
    ) == [errno.ENODEV, errno.ENODEV]
    assert VIP not in {each.address for each in await look.addresses(route)}

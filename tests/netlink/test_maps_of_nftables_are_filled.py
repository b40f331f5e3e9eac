"""Against the running kernel, in namespaces of our own: maps hold just what they were last filled with."""

import asyncio
import contextlib
import errno
import json
import os
from collections.abc import Iterator

import pytest

from strictarp.lab import namespaces
from strictarp.netlink import nft_maps
from strictarp.netlink.messages import Refusal
from strictarp.netlink.nft_maps import Element, Filling
from strictarp.netlink.policy import NETLINK_NETFILTER
from strictarp.netlink.socket import Netlink

pytestmark = pytest.mark.netns

TABLES = """
table ip t { map m { type ipv4_addr : ipv4_addr; flags timeout; }; }
table ip t { map n { type ipv4_addr : ipv4_addr; flags timeout; }; }
table ip6 t { map m { type ipv6_addr : ipv6_addr; flags timeout; }; }
"""
ONE, TWO, THREE = (bytes([192, 0, 2, number]) for number in (1, 2, 3))
SIX = bytes.fromhex("20010db8" + "00" * 12)


@pytest.fixture
def namespace() -> Iterator[namespaces.Namespace]:
    made = namespaces.create("nft-maps-test")
    namespaces.run(made, ["nft", TABLES])
    yield made
    made.close()


async def _fill(namespace: namespaces.Namespace, *fillings: Filling) -> Refusal | None:
    messages = [message for each in fillings for message in nft_maps.encode_fill(each)]
    with namespaces.entered(namespace):
        netfilter = Netlink(NETLINK_NETFILTER)
    with contextlib.closing(netfilter):
        return await asyncio.wait_for(
            netfilter.transaction([nft_maps.encode_begin(), *messages], nft_maps.encode_end()), 2
        )


def _held(namespace: namespaces.Namespace, name: str = "m", family: str = "ip") -> dict[str, tuple[int, str]]:
    """Key → timeout in seconds and value, as nft sees them."""
    listed = namespaces.run(namespace, ["nft", "-j", "list", "map", family, "t", name]).stdout
    (content,) = [each["map"] for each in json.loads(listed)["nftables"] if "map" in each]
    return {key["elem"]["val"]: (key["elem"]["timeout"], value) for key, value in content.get("elem", ())}


async def test_a_map_holds_just_what_it_was_last_filled_with(namespace: namespaces.Namespace) -> None:
    some = Filling(2, "t", "m", (Element(ONE, TWO, 60_000), Element(TWO, THREE, 2_000)))
    assert await _fill(namespace, some, Filling(10, "t", "m", (Element(SIX, SIX, 9_000),))) is None
    assert _held(namespace) == {"192.0.2.1": (60, "192.0.2.2"), "192.0.2.2": (2, "192.0.2.3")}
    assert _held(namespace, family="ip6") == {"2001:db8::": (9, "2001:db8::")}
    assert await _fill(namespace, Filling(2, "t", "m", (Element(ONE, THREE, 5_000),))) is None
    assert _held(namespace) == {"192.0.2.1": (5, "192.0.2.3")}, "value and time are new"
    assert await _fill(namespace, Filling(2, "t", "m", ())) is None
    assert _held(namespace) == {}
    many = tuple(Element(bytes([10, 0, 0, number]), ONE, 60_000) for number in range(256))
    assert await _fill(namespace, Filling(2, "t", "m", many)) is None
    assert len(_held(namespace)) == 256


async def test_the_kernel_forgets_by_itself(namespace: namespaces.Namespace) -> None:
    assert await _fill(namespace, Filling(2, "t", "m", (Element(ONE, TWO, 300),))) is None
    await asyncio.sleep(0.4)
    assert _held(namespace) == {}
    assert await _fill(namespace, Filling(2, "t", "m", (Element(ONE, TWO, 60_000),))) is None
    assert _held(namespace) == {"192.0.2.1": (60, "192.0.2.2")}


async def test_all_maps_are_filled_or_none(namespace: namespaces.Namespace) -> None:
    before = Filling(2, "t", "m", (Element(ONE, TWO, 60_000),))
    assert await _fill(namespace, before) is None
    after = Filling(2, "t", "m", ())
    for missing in (Filling(2, "t", "other", ()), Filling(2, "other", "m", before.elements)):
        for order in ((after, missing), (missing, after)):
            refusal = await _fill(namespace, *order)
            assert refusal is not None
            assert refusal.errno == errno.ENOENT
            assert _held(namespace) == {"192.0.2.1": (60, "192.0.2.2")}
    wrong = await _fill(namespace, after, Filling(2, "t", "n", (Element(SIX, ONE, 60_000),)))
    assert wrong is not None
    assert wrong.errno == errno.EINVAL
    assert _held(namespace) == {"192.0.2.1": (60, "192.0.2.2")}


def test_who_may_not_is_told_so_at_once(namespace: namespaces.Namespace) -> None:
    """The refusal is that of the beginning: nothing behind it is answered."""
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        refusal = asyncio.run(_fill_here())
        os._exit(refusal.errno if refusal is not None else 0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == errno.EPERM


async def _fill_here() -> Refusal | None:
    with contextlib.closing(Netlink(NETLINK_NETFILTER)) as netfilter:
        messages = nft_maps.encode_fill(Filling(2, "t", "m", ()))
        return await asyncio.wait_for(
            netfilter.transaction([nft_maps.encode_begin(), *messages], nft_maps.encode_end()), 2
        )

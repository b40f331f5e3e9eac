"""Somebody else who changes what the proxy has programmed, or makes things of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from strictarp.netlink import genl
from strictarp.netlink.ipvs import FAMILY_NAME, Key, RealServer, VirtualServer
from strictarp.netlink.ipvs_encode import encode_flush
from strictarp.proxy.addresses import pack
from strictarp.proxy.nft_listing import parse_listings
from strictarp.proxy.nftables import FAMILIES, TABLE
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    Element,
    Operation,
    RemoveReal,
    RemoveServer,
    SetReal,
    SetServer,
    UnbindAddress,
)
from strictarp.proxy.seam import KernelView
from support.machine import Faults, Hands, Machine

T = TypeVar("T")
LOSSES = frozenset({"flush", "flush nft", "lose device", "unbind", "remove element"})
"""After these a new process may no longer tell what is ours."""
NOTICED = frozenset({"flush", "flush nft", "lose device"})
"""The kernel tells these by events that the daemon follows."""


def _packed(text: str) -> bytes:
    address = pack(text)
    assert address is not None
    return address


_EXCLUDED = VirtualServer(6, _packed("192.0.2.241"), 80, "rr")
_UNKNOWN = VirtualServer(17, _packed("192.0.2.200"), 8080, "rr")
_REALS = (RealServer(_packed("198.51.100.99"), 8080, 5), RealServer(_packed("198.51.100.1"), 8080, 1))
_NO_SUCH = (("vips", "192.0.2.99"), ("clusterIP", "203.0.113.99 . tcp . 9"), ("vips", "2001:db8::99"))


class Stranger:
    """`servers`, `addresses`: what it has of its own, and must be left alone. `taken`: virtual servers that
    it made where Services might want theirs: they need not stay.
    """

    def __init__(self, machine: Machine) -> None:
        self.servers: dict[Key, tuple[VirtualServer, frozenset[RealServer]]] = {}
        self.addresses: set[bytes] = set()
        self.taken: set[Key] = set()
        self._machine = machine
        self.hands = Hands(machine, Faults())

    async def elements(self) -> list[Element]:
        """What the sets of the proxy's tables hold, sorted."""
        tables = [await self._machine.nft.list(family, TABLE) for family in FAMILIES.values()]
        return sorted(parse_listings(tables).elements)

    async def look(self) -> KernelView:
        """What is there now."""
        await self.hands.prepare(make=False)
        return await self.hands.view()

    async def do(self, what: str, pick: int) -> None:
        """Do one of `sequences.FOREIGN`."""
        await self.hands.prepare(make=False)
        match what:
            case "flush" | "flush ipvs" | "flush nft" | "lose device":
                await self._flush(what)
            case "remove element" | "add element" | "change rule":
                await self._change_table(what, pick)
            case "excluded" | "unknown":
                await self._own(_EXCLUDED if what == "excluded" else _UNKNOWN)
            case _:
                await self._change(what, pick)

    async def _flush(self, what: str) -> None:
        if what in ("flush", "flush ipvs"):
            family = await genl.resolve(self._machine.ipvs, FAMILY_NAME)
            assert await self._machine.ipvs.request([encode_flush(family.number)]) == [None]
            self.servers.clear()
        if what in ("flush", "flush nft"):
            await self._machine.nft.run("flush ruleset\n")
        if what in ("flush", "lose device"):
            await self.hands.remove_device()
            self.addresses.clear()

    async def _change_table(self, what: str, pick: int) -> None:
        there = await self.elements()
        if what == "add element":
            await self._table("add element", _NO_SUCH[pick % len(_NO_SUCH)], there)
        elif there and what == "remove element":
            await self._table("delete element", there[pick % len(there)], there)
        elif there:
            family = "ip6" if ":" in there[0][1] else "ip"
            await self._machine.nft.run(f"flush chain {family} {TABLE} postrouting\n")

    async def _table(self, verb: str, element: Element, there: list[Element]) -> None:
        name, text = element
        family = "ip6" if ":" in text else "ip"
        if any((":" in other) == (":" in text) for _, other in there):  # the table of its family is there
            await self._machine.nft.run(f"{verb} {family} {TABLE} {name} {{ {text} }}\n")

    async def _own(self, server: VirtualServer) -> None:
        await self._apply(AddServer(server), *(AddReal(server.key, real) for real in _REALS))
        self.servers[server.key] = (server, frozenset(_REALS))
        if server is _EXCLUDED and await self.hands.apply([BindAddress(server.address)]) == [None]:
            self.addresses.add(server.address)

    async def _change(self, what: str, pick: int) -> None:
        view = await self.look()
        if what == "taken":
            await self._take(pick)
            return
        if what == "unbind":
            if bound := sorted(view.bound - self.addresses):
                await self._apply(UnbindAddress(_one(bound, pick)))
            return
        keys = sorted(view.servers.keys() - self.servers.keys())
        if not keys:
            return
        key = _one(keys, pick)
        held = view.servers[key]
        reals = {place: state.server for place, state in held.reals.items()}
        await self._apply(*_changes(what, pick, held.server, reals))

    async def _take(self, pick: int) -> None:
        address = _packed(("203.0.113.11", "192.0.2.100", "192.0.2.11", "2001:db8:9::11")[pick % 4])
        server = VirtualServer((6, 17)[pick % 2], address, (80, 53, 30080)[pick % 3], "wrr")
        real = RealServer(_packed("198.51.100.99" if len(address) == 4 else "2001:db8:5::99"), 8080, 7)
        self.taken.add(server.key)
        await self._apply(AddServer(server), AddReal(server.key, real))

    async def _apply(self, *operations: Operation) -> None:
        assert await self.hands.apply(operations) == [None] * len(operations)


def _one(things: list[T], pick: int) -> T:
    return things[pick % len(things)]


def _changes(
    what: str, pick: int, server: VirtualServer, reals: Mapping[tuple[bytes, int], RealServer]
) -> list[Operation]:
    key = server.key
    if what == "remove server":
        return [RemoveServer(key)]
    if what == "scheduler":
        return [SetServer(msgspec.structs.replace(server, scheduler="wrr", flags=0, timeout=0))]
    if what == "add real":
        address = _packed("198.51.100.99" if len(key[1]) == 4 else "2001:db8:5::99")
        return [AddReal(key, RealServer(address, 9, pick % 3))]
    if not reals:
        return []
    real = reals[_one(sorted(reals), pick)]
    if what == "remove real":
        return [RemoveReal(key, real)]
    assert what == "weight"
    return [SetReal(key, msgspec.structs.replace(real, weight=pick % 3))]

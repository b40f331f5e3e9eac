"""Scope `vips` in the kernel: the nftables table, loaded, followed and watched. Thin."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

import msgspec

from strictarp.arp.facts import Host, dotted
from strictarp.arp.nft import Chain, Match, Step, Table
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.unsupported import Unsupported
from strictarp.arp.vip_table import (
    VipTable,
    change_script,
    delete_script,
    load_script,
    nameable,
    table_text,
    vip_table,
)
from strictarp.guard.picture import Picture
from strictarp.netlink import nft_process, policy
from strictarp.netlink.messages import MalformedMessage, Refusal
from strictarp.netlink.nft_process import NftRefused
from strictarp.netlink.socket import Netlink
from strictarp.sysctl.effective import Verdict

_EXPECTED = 5.0
"""Seconds that a Service IP may take from its announcement to its binding."""
_ELEMENTS = re.compile(r"elements = \{([^}]*)\}")


class TableKeeper:
    """One table. `loaded` is what the kernel is believed to hold, None before the first load.

    The kernel counts transactions of nftables in the namespace: as long as the count stands still nobody can
    have touched the table, and a look costs one message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.loaded: VipTable | None = None
        self.transactions = 0
        self._generation = -1
        self._expected: dict[int, float] = {}
        self._rules: tuple[Host | None, tuple[str, ...], VipTable] = (None, (), VipTable())

    def expect(self, vips: Iterable[int]) -> None:
        """These count as Service IPs for some seconds, whether they are bound by then or not."""
        self._expected |= dict.fromkeys(vips, time.monotonic() + _EXPECTED)

    async def follow(self, picture: Picture, uplinks: tuple[str, ...]) -> None:
        """Bring the table to the rules of the last look and the addresses of now. Raises NftRefused."""
        host, now = picture.host, time.monotonic()
        if self._rules[0] is not host or self._rules[1] != uplinks:
            self._rules = host, uplinks, vip_table(host, uplinks, name=self.name)
        self._expected = {vip: until for vip, until in self._expected.items() if until > now}
        vips = picture.vips | (self._expected.keys() - picture.elsewhere)
        await self.want(msgspec.structs.replace(self._rules[2], vips=vips))

    def verdict(self, uplink: str) -> Verdict:
        """Whether the table keeps Service IPs off an uplink."""
        if not nameable(uplink):
            return Verdict(False, "nftables cannot write the name of this interface")
        count = len(self.loaded.vips) if self.loaded is not None else 0
        return Verdict(True, f"nftables keeps {count} Service IPs from being answered and named as sender")

    async def want(self, table: VipTable) -> None:
        """Bring the kernel's table there, in one transaction. Raises NftRefused."""
        if self.loaded is None:
            await self._run(load_script(table))
        else:
            script = change_script(self.loaded, table)
            if script:
                try:
                    await self._run(script)
                except NftRefused:  # somebody changed it meanwhile
                    await self._run(load_script(table))
        self.loaded = table

    async def touched(self) -> bool:
        """Somebody changed or deleted the table. Raises NftRefused, OSError."""
        if self.loaded is None:
            return False
        generation = await _generation()
        if generation == self._generation:
            return False
        if not same(await read(self.name), self.loaded):
            self.loaded = None
            return True
        self._generation = generation
        return False

    async def remove(self) -> None:
        """Delete the table, there or not. Raises NftRefused."""
        await self._run(delete_script(self.name))
        self.loaded = None

    async def _run(self, script: str) -> None:
        self.transactions += 1
        await nft_process.run_script(script)


async def read(name: str) -> str:
    """The table's text as the kernel holds it, empty without one. Raises NftRefused."""
    return (await nft_process.list_table("arp", name, json=False)).decode(errors="replace")


def same(held: str, wanted: VipTable) -> bool:
    """The kernel's table means what is wanted: elements compared as text, rules by their meaning."""
    bare, elements = _split(held)
    ours = table_text(msgspec.structs.replace(wanted, vips=frozenset()))
    try:
        return elements == {dotted(vip) for vip in wanted.vips} and _meaning(bare) == _meaning(ours)
    except Unsupported:
        return False


def _split(text: str) -> tuple[str, set[str]]:
    """The text without its set's elements, and these."""
    found = _ELEMENTS.search(text)
    if found is None:
        return text, set()
    return text[: found.start()] + text[found.end() :], {each.strip() for each in found[1].split(",")}


def _meaning(text: str) -> list[tuple[Table, list[Chain]]]:
    """Rules as the model reads them, in an order of their own."""
    return [(Table(each.family, each.name), _chains(each)) for each in parse_nft(text).tables]


def _chains(table: Table) -> list[Chain]:
    found = sorted(table.chains, key=lambda chain: chain.name)
    return [
        msgspec.structs.replace(each, rules=tuple(tuple(map(_sorted, rule)) for rule in each.rules))
        for each in found
    ]


def _sorted(step: Step) -> Step:
    if isinstance(step, Match):
        return Match(step.field, tuple(sorted(step.ranges)), tuple(sorted(step.words)), step.negated)
    return step


async def _generation() -> int:
    """How many transactions nftables had in this namespace; -1 when that cannot be told."""
    async with Netlink(policy.NETLINK_NETFILTER) as netfilter:
        try:
            answers = await netfilter.query(policy.encode_get_generation())
            return policy.parse_generation(answers[0]) if answers else -1
        except (Refusal, MalformedMessage):
            return -1

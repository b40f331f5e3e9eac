"""The model's word on this node: facts are collected, and `verdicts` judges. Thin."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from strictarp.arp.collecting import collect
from strictarp.arp.facts import Host
from strictarp.arp.nft import Ruleset, Table
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.unsupported import Unsupported
from strictarp.guard import table
from strictarp.guard.verdicts import SAMPLE, in_force
from strictarp.sysctl.effective import Verdict


async def facts(tables: Collection[str] = ()) -> Host:
    """This node, with our nftables tables of these names.

    Raises OSError, DumpInterrupted, Refusal, SysctlError, NftRefused.
    """
    host = await collect()
    found: list[Table] = []
    for name in tables:
        try:
            found += parse_nft(await table.read(name)).tables
        except Unsupported:
            continue  # somebody put something else there
    return msgspec.structs.replace(host, nft=Ruleset(tuple(found)))


async def judged(
    uplinks: Collection[str], tables: Collection[str] = (), *, most: int = SAMPLE
) -> dict[str, Verdict]:
    """For each uplink whether strictARP is in force now, by the model. Raises as `facts`."""
    host = await facts(tables)
    return {name: in_force(host, name, most=most) for name in uplinks}

"""Running nft for the proxy: its refusals are the kernel's. Thin."""

from __future__ import annotations

from strictarp.netlink import nft_process
from strictarp.netlink.nft_process import NftRefused
from strictarp.proxy.seam import KernelRefused, TableVanished

_MISSING = "No such file or directory"


async def run_script(text: str) -> None:
    """Run a script as one transaction: all of it or nothing (`nft -f -`).

    Raises KernelRefused; TableVanished when a table, set or element that it changes is not there.
    """
    try:
        await nft_process.run_script(text)
    except NftRefused as refused:
        kind = TableVanished if _MISSING in str(refused) else KernelRefused
        raise kind(str(refused)) from None


async def list_table(family: str, table: str, *, elements: bool = True) -> bytes:
    """A table as nft's JSON, with or without elements of sets; empty when there is none.

    Raises KernelRefused.
    """
    try:
        return await nft_process.list_table(family, table, elements=elements)
    except NftRefused as refused:
        raise KernelRefused(str(refused)) from None

"""Running nft for the proxy: its refusals are the kernel's. Thin."""

from __future__ import annotations

from strictarp.netlink import nft_process
from strictarp.netlink.nft_process import NftRefused
from strictarp.proxy.seam import KernelRefused


async def run_script(text: str) -> None:
    """Run a script as one transaction: all of it or nothing (`nft -f -`). Raises KernelRefused."""
    try:
        await nft_process.run_script(text)
    except NftRefused as refused:
        raise KernelRefused(str(refused)) from None


async def list_table(family: str, table: str) -> bytes:
    """A table with everything in it as nft's JSON; empty when there is none. Raises KernelRefused."""
    try:
        return await nft_process.list_table(family, table)
    except NftRefused as refused:
        raise KernelRefused(str(refused)) from None

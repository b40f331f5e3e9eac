"""Running nft. Thin: texts in, errors of nft out; what the texts say is decided elsewhere.

nft talks to the network namespace of the thread that starts it.
"""

from __future__ import annotations

import asyncio

_PATIENCE_SECONDS = 60.0
_MISSING_TABLE = b"No such file or directory"


class NftRefused(Exception):
    """nft would not do something, or is not there; the message says what, for people."""


async def run_script(text: str) -> None:
    """Run a script as one transaction: all of it or nothing (`nft -f -`). Raises NftRefused."""
    status, _, complaint = await _nft(["-f", "-"], text.encode())
    if status != 0:
        raise NftRefused(f"nft refused the rules: {_first_lines(complaint)}")


async def list_table(family: str, table: str, *, json: bool = True, elements: bool = True) -> bytes:
    """A table with everything in it as nft's JSON or text; empty when there is none. Raises NftRefused.

    Without `elements` its sets are listed without what they hold.
    """
    form = [*(["-j"] if json else []), *([] if elements else ["-t"])]
    status, printed, complaint = await _nft([*form, "list", "table", family, table], b"")
    if status == 0:
        return printed
    if _MISSING_TABLE in complaint:
        return b""
    raise NftRefused(f"nft cannot list table {family} {table}: {_first_lines(complaint)}")


async def _nft(arguments: list[str], given: bytes) -> tuple[int, bytes, bytes]:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise NftRefused("nft is not installed (Debian package nftables)") from None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            printed, complaint = await process.communicate(given)
    except TimeoutError:
        raise NftRefused(f"nft did not finish within {_PATIENCE_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, printed, complaint


def _first_lines(complaint: bytes) -> str:
    """The first complaint with the line that it is about, in one line."""
    lines = [line.strip() for line in complaint.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[:2]) or "no reason given"

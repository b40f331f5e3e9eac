"""Finding and removing what a kube-proxy has left outside of nftables. Thin; `kube_leftovers` decides.

All of it works on the network namespace of the thread that calls.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Collection
from pathlib import Path

from strictarp.netlink import ipset
from strictarp.netlink.messages import MalformedMessage, Refusal
from strictarp.netlink.policy import NETLINK_NETFILTER
from strictarp.netlink.socket import DumpInterrupted, Netlink
from strictarp.proxy.kube_leftovers import SETS, BadSave, Legacy, legacy_removal
from strictarp.proxy.seam import KernelRefused

_TABLES = {
    "iptables-legacy": Path("/proc/thread-self/net/ip_tables_names"),
    "ip6tables-legacy": Path("/proc/thread-self/net/ip6_tables_names"),
}
_PATIENCE_SECONDS = 60.0
_RELEASE_TRIES, _RELEASE_PAUSE = 20, 0.1
"""Rules that are deleted let go of their sets a little later (nf_tables_trans_destroy_work)."""


async def legacy() -> tuple[Legacy, ...]:
    """Each family that has tables of iptables-legacy. Raises KernelRefused."""
    found = []
    for tool, file in _TABLES.items():
        try:
            tables = tuple(sorted(file.read_text().split()))
        except OSError:  # no such file: its module is not loaded
            continue
        if tables:
            found.append(Legacy(tool, tables, await _removal(tool)))
    return tuple(found)


async def _removal(tool: str) -> str | None:
    if shutil.which(f"{tool}-save") is None or shutil.which(f"{tool}-restore") is None:
        return None
    try:
        return legacy_removal(await _run(f"{tool}-save", "", ""))
    except BadSave as error:
        raise KernelRefused(f"{tool}-save: {error}") from None


async def remove_legacy(found: Legacy) -> None:
    """Remove kube-proxy's chains from these tables, each in one transaction. Raises KernelRefused."""
    if found.removal:
        await _run(f"{found.tool}-restore", "--noflush", found.removal)


async def _run(program: str, argument: str, given: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program,
        *([argument] if argument else []),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            printed, complaint = await process.communicate(given.encode())
    except TimeoutError:
        raise KernelRefused(f"{program} did not finish within {_PATIENCE_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        reason = " ".join(complaint.decode(errors="replace").split()) or "no reason given"
        raise KernelRefused(f"{program} refused: {reason}")
    return printed.decode(errors="replace")


async def sets() -> tuple[str, ...]:
    """kube-proxy's ipsets that are there; none in a kernel without ipsets. Raises KernelRefused, OSError."""
    async with Netlink(NETLINK_NETFILTER) as kernel:
        try:
            names = [ipset.parse_name(m) for m in await kernel.dump(ipset.encode_dump_names())]
        except Refusal as refusal:
            if refusal.errno == errno.EINVAL:  # nfnetlink has no such subsystem (nfnetlink_rcv_msg)
                return ()
            raise KernelRefused(f"looking at ipsets: {refusal}") from None
        except (MalformedMessage, DumpInterrupted) as error:
            raise KernelRefused(f"looking at ipsets: {error}") from None
    return tuple(sorted(SETS.intersection(names)))


async def destroy_sets(names: Collection[str]) -> list[str]:
    """Destroy ipsets; those that somebody still uses stay, and are returned.

    Raises KernelRefused, OSError.
    """
    left = list(names)
    async with Netlink(NETLINK_NETFILTER) as kernel:
        for _ in range(_RELEASE_TRIES):
            answers = await kernel.request([ipset.encode_destroy(name) for name in left])
            for name, answer in zip(left, answers, strict=True):
                if answer is not None and answer.errno not in (ipset.IN_USE, errno.ENOENT):
                    raise KernelRefused(f"ipset {name} cannot be destroyed: {answer}")
            left = [
                name
                for name, answer in zip(left, answers, strict=True)
                if answer is not None and answer.errno == ipset.IN_USE
            ]
            if not left:
                break
            await asyncio.sleep(_RELEASE_PAUSE)
    return left

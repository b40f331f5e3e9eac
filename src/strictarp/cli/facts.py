"""`strictarp facts`: everything of this node that decides about ARP."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click
import msgspec

from strictarp.arp.facts import Host
from strictarp.arp.facts_text import FactsText, host_of, parse_facts, text_of
from strictarp.cli.output import json_option, read_text, write_json
from strictarp.errors import UserError
from strictarp.netlink.messages import MalformedMessage, Refusal
from strictarp.netlink.socket import DumpInterrupted
from strictarp.sysctl.files import SysctlError


def read_node() -> tuple[Host, tuple[str, ...]]:
    """The facts of the network namespace that this process is in, and filters that could not be read.

    Raises UserError.
    """
    from strictarp.arp.collecting import collect, nft_rules, tc_filters

    async def read() -> tuple[Host, tuple[str, ...]]:
        host = await collect()
        rules, unread = await nft_rules()
        return msgspec.structs.replace(host, nft=rules), unread + await tc_filters()

    try:
        return asyncio.run(read())
    except (OSError, SysctlError, Refusal, DumpInterrupted, MalformedMessage) as error:
        raise UserError(f"cannot read this node: {error}; is /proc mounted, and is this Linux?") from error


def host_from(path: Path | None) -> tuple[Host, tuple[str, ...]]:
    """The host in a file of facts, or this node without one; and filters that were not read.

    Raises UserError.
    """
    if path is None:
        return read_node()
    told = parse_facts(read_text(path), name=str(path))
    return host_of(told, name=str(path)), told.nft_tables


@click.command(name="facts")
@json_option
def command(json_target: str | None) -> int:
    """Collect what decides about ARP on this node: interfaces, addresses, routes, rules, sysctls, filters.

    Read by netlink and from /proc, as any user; nftables as root only. `strictarp explain --host` and
    `strictarp preflight --host` read the file, on any machine.

    \b
    Exit status: 0 collected    1 the node cannot be read

    \b
    Examples:
      strictarp facts
      strictarp facts --json node1.json
    """
    began = time.monotonic()
    host, tables = read_node()
    told = text_of(host, nft_tables=tables)
    if json_target is not None:
        write_json(json_target, told)
        return 0
    click.echo(summary(told, time.monotonic() - began))
    return 0


def summary(told: FactsText, seconds: float) -> str:
    """A table for people: one line an interface, then counts."""
    lines = [f"{'interface':16} {'state':6} {'kind':9} {'arp_ignore':>10} {'arp_announce':>12}  addresses"]
    for device in told.devices:
        held = [each.address for each in told.addresses if each.device == device.name]
        shown = ", ".join(held[:3]) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
        values = told.sysctls.get(device.name, {})
        lines.append(
            f"{device.name:16} {'up' if device.up else 'down':6} {device.kind or '-':9} "
            f"{values.get('arp_ignore', 0):10} {values.get('arp_announce', 0):12}  {shown or '-'}"
        )
    everywhere = told.sysctls.get("all", {})
    ignore, announce = everywhere.get("arp_ignore", 0), everywhere.get("arp_announce", 0)
    lines.append(f"{'all':33} {ignore:10} {announce:12}")
    rules = len(told.rules or ())
    lines.append(
        f"{len(told.routes)} routes, {rules} policy rules, {len(told.proxy_neighbours)} proxy neighbours; "
        f"read in {seconds:.2f} s"
    )
    if told.nft:
        names = ", ".join(line[6:-2] for line in told.nft.splitlines() if line.startswith("table "))
        lines.append(f"nftables tables that may meet ARP: {names}")
    if told.nft_tables:
        lines.append(f"filters not read: {'; '.join(told.nft_tables)}")
    return "\n".join(lines)

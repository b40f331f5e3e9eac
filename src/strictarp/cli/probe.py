"""`strictarp probe`: ask on the wire who answers for an address."""

from __future__ import annotations

import asyncio
from ipaddress import AddressValueError, IPv4Address

import click

from strictarp.arp import probing
from strictarp.cli.output import json_option, write_json
from strictarp.errors import UserError
from strictarp.wire.asking import DEFAULT_WAIT, probe
from strictarp.wire.vantage import CannotLook


class _Address(click.ParamType[IPv4Address]):
    name = "ip"

    def convert(
        self, value: str | IPv4Address, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Address:
        if isinstance(value, IPv4Address):
            return value
        try:
            address = IPv4Address(value)
        except AddressValueError:
            self.fail(f"{value!r} is no IPv4 address such as 192.0.2.100", param, ctx)
        if address.is_multicast or address.is_loopback or address.is_unspecified:
            self.fail(f"{value} is not an address that a host answers ARP for", param, ctx)
        return address


@click.command(name="probe")
@click.argument("ip", type=_Address())
@click.option(
    "-i", "--interface", metavar="IFACE", help="Ask on this interface, not that of the route to IP."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0.05, max=3600),
    default=DEFAULT_WAIT,
    show_default=True,
    metavar="S",
    help="Seconds to collect answers; proxies may take 0.8.",
)
@click.option(
    "--sender",
    type=_Address(),
    metavar="IP",
    help="Ask as this host, an ordinary request: only that meets proxy ARP, rp_filter and policy rules.",
)
@json_option
def command(
    ip: IPv4Address, interface: str | None, wait: float, sender: IPv4Address | None, json_target: str | None
) -> int:
    """Ask by ARP, on the wire, who answers for IP, and count the MAC addresses.

    One broadcast request goes out, as an address probe (sender 0.0.0.0, so that nobody's cache is touched).
    The kernel of this very host does not hear its own question; ask from another one.

    \b
    Exit status: 0 exactly one host answers    1 nobody
                 2 several                     3 cannot look, and why

    \b
    Examples:
      strictarp probe 192.0.2.100
      strictarp probe 192.0.2.100 -i eth0 --json
      strictarp probe 192.0.2.100 --sender 192.0.2.1
    """
    quiet = json_target is not None
    try:
        findings = _look(ip, interface, wait, sender=sender, quiet=quiet)
    except CannotLook as error:
        raise UserError(f"cannot look for {ip}: {error}", probing.EXIT_CANNOT_LOOK) from error
    if json_target is not None:
        write_json(json_target, findings)
    else:
        _print(findings)
    return findings.exit_code


def _look(
    ip: IPv4Address, interface: str | None, wait: float, *, sender: IPv4Address | None, quiet: bool
) -> probing.Findings:
    return asyncio.run(probe(ip, interface, wait=wait, sender=sender))


def _print(findings: probing.Findings) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    colour = {probing.Verdict.ONE: "green", probing.Verdict.NOBODY: "yellow"}.get(findings.verdict, "red")
    console.print(probing.sentence(findings), style=colour, soft_wrap=True)
    if not findings.answerers:
        return
    table = Table("MAC address", "answers", "first after", box=None, pad_edge=False)
    for each in findings.answerers:
        mac = f"{each.mac} (sent from {each.ethernet_source})" if each.ethernet_source else each.mac
        table.add_row(mac, str(each.answers), f"{each.first_ms:.2f} ms")
    console.print(table)

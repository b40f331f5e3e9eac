"""`strictarp preflight`: what strictARP would break on this node, before anybody switches it on."""

from __future__ import annotations

from pathlib import Path

import click

from strictarp.arp.losses import Asked
from strictarp.arp.switching import Scope
from strictarp.cli.facts import host_from
from strictarp.cli.options import facts_option, scope_option
from strictarp.cli.output import json_option, write_json
from strictarp.errors import UserError

EXIT_HARMFUL = 2
EXIT_CANNOT_LOOK = 3


@click.command(name="preflight")
@scope_option("--scope", "Every interface, the uplinks alone, or nothing but the Service IPs (by nftables).")
@click.option(
    "--uplink",
    "uplinks",
    multiple=True,
    metavar="IFACE",
    help="An interface that Service IPs are announced on. Without any: those with a default route, and those "
    "with a subnet that holds a Service IP.",
)
@click.option(
    "--watch",
    "seconds",
    type=click.FloatRange(min=0, max=86400),
    default=0.0,
    metavar="S",
    help="Listen for S seconds to what is really asked for (root).",
)
@facts_option
@json_option
def command(
    scope: str, uplinks: tuple[str, ...], seconds: float, facts_file: Path | None, json_target: str | None
) -> int:
    """Compute what is answered now and what would be with strictARP, for each interface and local address.

    Reports answers that would be lost, with the reason and whether somebody asks for them, addresses that
    fewer interfaces answer for, senders of ARP requests that change, and interfaces whose own settings defeat
    strictARP. Nothing is switched.

    \b
    Exit status: 0 no answer would be missed    2 some would, or strictARP would not be in force
                 1 the facts cannot be read     3 cannot listen

    \b
    Examples:
      strictarp preflight
      strictarp preflight --watch 60
      strictarp preflight --scope uplinks --uplink eth0 --json
    """
    from strictarp.arp.preflight import preflight
    from strictarp.arp.preflight_text import text

    if facts_file is not None and seconds:
        raise click.UsageError("--watch listens on this host; it cannot go with --host")
    asked = _heard(seconds)
    host, unread = host_from(facts_file)
    for name in uplinks:
        if name not in host.by_name:
            raise UserError(
                f"--uplink {name}: there is no such interface; there are {', '.join(host.by_name)}"
            )
    report = preflight(host, Scope(scope), uplinks, asked=asked)
    if json_target is not None:
        write_json(json_target, report)
    else:
        click.echo(text(report, listened=seconds))
    if unread:
        click.echo(f"note: filters that were not read: {'; '.join(unread)}", err=True)
    return EXIT_HARMFUL if report.harmful or report.ineffective else 0


def _heard(seconds: float) -> Asked:
    if not seconds:
        return {}
    from strictarp.arp.listening import listen

    try:
        return listen(seconds)
    except OSError as error:
        raise UserError(
            f"--watch: cannot listen: {error.strerror}; root is needed", EXIT_CANNOT_LOOK
        ) from error

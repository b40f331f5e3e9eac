"""`strictarp probe`: ask on the wire who answers for addresses."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import click

from strictarp.arp import probing
from strictarp.arp.probing import Form, Verdict
from strictarp.cli.output import json_option, write_json
from strictarp.cli.wire_options import (
    AddressType,
    Where,
    addresses_of,
    facts_from,
    view_for,
    wire_options,
)
from strictarp.errors import UserError

if TYPE_CHECKING:
    from strictarp.wire.asking import OnProgress, Progress
    from strictarp.wire.cluster_view import ClusterView
    from strictarp.wire.naming import GivenFacts
    from strictarp.wire.reporting import Report

_FORMS: Mapping[str, tuple[Form, ...]] = {
    "probe": ("probe",),
    "request": ("request",),
    "both": ("probe", "request"),
}


@click.command(name="probe")
@wire_options
@click.option("--all", "everything", is_flag=True, help="Ask for all external addresses of the cluster.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0.05, max=3600),
    default=1.2,
    show_default=True,
    metavar="S",
    help="Seconds to collect answers; proxies may take 0.8.",
)
@click.option(
    "--form",
    type=click.Choice(list(_FORMS)),
    default=None,
    help="An address probe touches no cache; only an ordinary request meets proxy ARP, rp_filter and "
    "policy rules.  [default: probe, or request with --sender]",
)
@click.option(
    "--sender", type=AddressType(), metavar="IP", help="Send ordinary requests as this host, not as ours."
)
@json_option
def command(
    where: Where,
    *,
    everything: bool,
    wait: float,
    form: str | None,
    sender: IPv4Address | None,
    json_target: str | None,
) -> int:
    """Ask by ARP, on the wire, who answers for each IP, and count the MAC addresses.

    One broadcast goes out for each address and form, at most 200 a second. The kernel of this very host does
    not hear its own question; ask from another one. Who is to blame when several answer is told as well as
    the evidence allows: --kubeconfig and --facts add to it.

    \b
    Exit status: 0 exactly one host answers for each    1 nobody for some
                 2 several for some                     3 cannot look, and why
    Of several, 2 counts before 1, and 1 before 3.

    \b
    Examples:
      strictarp probe 192.0.2.100
      strictarp probe 192.0.2.100 -i eth0 --json
      strictarp probe --all --kubeconfig ~/.kube/config --form both
      strictarp probe 192.0.2.100 --facts n1.json --facts n2.json
    """
    ips = where.ips
    if not ips and not everything:
        raise click.UsageError("name an IP, or ask for all of the cluster with --all")
    if ips and everything:
        raise click.UsageError("name IPs or give --all, not both")
    if form == "probe" and sender is not None:
        raise click.UsageError("--sender: an address probe has none; use --form request or both")
    facts = facts_from(where)
    view = view_for(where, whole_cluster=everything)
    wanted = addresses_of(view) if everything else list(ips)
    forms = _FORMS[form or ("request" if sender else "probe")]
    reports = _look(wanted, where.interface, view, facts=facts, wait=wait, forms=forms, sender=sender)
    if len(ips) == 1 and reports[0].verdict is Verdict.UNKNOWN:
        raise UserError(probing.sentence(reports[0]), probing.EXIT_CANNOT_LOOK)
    if json_target is not None:
        write_json(json_target, reports[0] if len(ips) == 1 else reports)
    else:
        _print(reports)
    return probing.exit_code(each.verdict for each in reports)


def _look(
    ips: Sequence[IPv4Address],
    interface: str | None,
    view: ClusterView,
    *,
    facts: GivenFacts,
    wait: float,
    forms: Sequence[Form],
    sender: IPv4Address | None,
) -> tuple[Report, ...]:
    from strictarp.wire.inspecting import inspect
    from strictarp.wire.vantage import CannotLook

    def run(on_progress: OnProgress | None) -> tuple[Report, ...]:
        return asyncio.run(
            inspect(
                ips,
                interface,
                view=view,
                facts=facts,
                wait=wait,
                forms=forms,
                sender=sender,
                on_progress=on_progress,
            )
        )

    try:
        if not sys.stderr.isatty():
            return run(None)
        from rich.console import Console

        with Console(stderr=True).status("asking …") as status:

            def show(progress: Progress) -> None:
                status.update(
                    f"asked for {progress.asked} of {progress.total}, {progress.answered} answered, "
                    f"{progress.left:.1f} s left"
                )

            return run(show)
    except CannotLook as error:
        named = str(ips[0]) if len(ips) == 1 else f"{len(ips)} addresses"
        raise UserError(f"cannot look for {named}: {error}", probing.EXIT_CANNOT_LOOK) from error


def _print(reports: Sequence[Report]) -> None:
    from strictarp.wire.reporting import answerer_table, blame, headline, lines_of, table

    worst = {0: "green", 1: "yellow"}.get(probing.exit_code(each.verdict for each in reports), "red")
    click.secho(headline(reports), fg=worst)
    rows = answerer_table(reports[0]) if len(reports) == 1 else table(reports)
    for line in lines_of(rows):
        click.echo(line)
    for line in blame(reports):
        click.echo(line)

"""What `strictarp enable` and `strictarp disable` have in common on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from strictarp.cli.options import access_options
from strictarp.cli.output import STDOUT, json_option, read_text, write_json

if TYPE_CHECKING:
    from strictarp.arp.facts import Host
    from strictarp.cluster.onwire import VipSeen
    from strictarp.cluster.outlook import Outlook
    from strictarp.cluster.report import Report
    from strictarp.cluster.switch import Ask

F = TypeVar("F", bound=Callable[..., Any])
SHOWN = 20


class Options(TypedDict):
    """What `switch_options` adds."""

    kubeconfig: str | None
    context: str | None
    dry_run: bool
    yes: bool
    configmap_anyway: bool
    no_wire: bool
    interface: str | None
    timeout: float
    json_target: str | None


def switch_options(function: F) -> F:
    """The options of both commands."""
    for option in (
        json_option,
        click.option(
            "--timeout",
            type=click.FloatRange(min=1),
            default=300.0,
            show_default=True,
            metavar="S",
            help="Seconds that a rollout may take.",
        ),
        click.option(
            "-i",
            "--interface",
            default=None,
            metavar="IFACE",
            help="Ask on the wire there. Without it: where the route to each Service IP leaves.",
        ),
        click.option("--no-wire", is_flag=True, help="Do not ask on the wire who answers."),
        click.option(
            "--configmap-anyway",
            is_flag=True,
            help="Edit the ConfigMap also where the installer will overwrite it.",
        ),
        click.option("--yes", is_flag=True, help="Do not ask before changing anything."),
        click.option("--dry-run", is_flag=True, help="Show what would be changed, and change nothing."),
        access_options,
    ):
        function = option(function)
    return function


def switch(
    options: Options, *, wanted: bool, facts: tuple[Path, ...] = (), accept_losses: bool = False
) -> int:
    """Run the command and return its exit code."""
    from strictarp.cluster.switch import Order, run
    from strictarp.kube.access import Access

    def confirm(ask: Ask) -> bool:
        _show(ask.view.outlook, ask.view.vips, ask.view.edit.diff)
        for line in ask.warnings:
            _tell(line)
        return _confirmed(ask, yes=options["yes"], accept_losses=accept_losses)

    order = Order(
        wanted,
        access=Access(options["kubeconfig"], options["context"]),
        dry_run=options["dry_run"],
        timeout=options["timeout"],
        anyway=options["configmap_anyway"],
        facts=_hosts(facts),
        wire=not options["no_wire"],
        interface=options["interface"],
    )
    report = run(order, tell=_tell, confirm=confirm)
    json_target = options["json_target"]
    if report.dry_run:
        _show(report.preflight, report.vips, report.diff)
    _tell_report(report, quiet=json_target == STDOUT)
    if json_target is not None:
        write_json(json_target, report)
    return report.exit_code


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _hosts(files: tuple[Path, ...]) -> dict[str, Host]:
    from strictarp.arp.facts_text import host_of, parse_facts

    return {
        str(path): host_of(parse_facts(read_text(path), name=str(path)), name=str(path)) for path in files
    }


def _show(preflight: Sequence[Outlook], vips: Sequence[VipSeen], diff: str) -> None:
    """What there is to know before anything is changed."""
    from strictarp.cluster import onwire, outlook

    _tell_some("What strictARP would take away:", outlook.lines(preflight))
    _tell_some("Who answers on the wire now:", onwire.table(vips))
    if diff:
        _tell(diff)


def _tell_some(head: str, lines: list[str]) -> None:
    """Under a head; of a thousand Service IPs the first few."""
    if not lines:
        return
    _tell(head)
    for line in lines[:SHOWN]:
        _tell(f"  {line}")
    if len(lines) > SHOWN:
        _tell(f"  and {len(lines) - SHOWN} more; --json has them all")


def _confirmed(ask: Ask, *, yes: bool, accept_losses: bool) -> bool:
    """`--yes` stands for the ordinary question; that about losses has a switch of its own."""
    terminal = sys.stdin.isatty()
    if ask.losses and not accept_losses:
        if not terminal or yes:
            _tell("answers would be missed, see above; add --accept-losses to go on all the same")
            return False
        if not click.confirm(f"Answers would be missed: {ask.losses}. Go on all the same?", err=True):
            return False
    if yes:
        return True
    if not terminal:
        _tell("there is no terminal to ask at; add --yes to go on without asking")
        return False
    return click.confirm("Change this, and restart the proxies one by one?", err=True)


def _tell_report(report: Report, *, quiet: bool) -> None:
    from strictarp.cluster import onwire

    if report.result not in ("dry run", "declined", "unchanged"):
        _tell_some("Who answers, before -> now:", onwire.table(report.vips))
    for hint in report.hints:
        _tell(hint)
    if quiet or not report.ok:
        _tell(report.state)
    else:
        click.echo(report.state)

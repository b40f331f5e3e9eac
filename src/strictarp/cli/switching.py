"""What `strictarp enable` and `strictarp disable` have in common on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from strictarp.cli.output import STDOUT, json_option, write_json

if TYPE_CHECKING:
    from strictarp.cluster.shell import View
    from strictarp.cluster.switch import Report

F = TypeVar("F", bound=Callable[..., Any])


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
        click.option("--yes", is_flag=True, help="Do not ask before changing anything."),
        click.option("--dry-run", is_flag=True, help="Show what would be changed, and change nothing."),
        click.option(
            "--kubeconfig",
            envvar="KUBECONFIG",
            default=None,
            metavar="FILE",
            help="Without it, and without KUBECONFIG: the service account of the pod.",
        ),
    ):
        function = option(function)
    return function


def switch(
    *, wanted: bool, kubeconfig: str | None, dry_run: bool, yes: bool, timeout: float, json_target: str | None
) -> int:
    """Run the command and return its exit code."""
    from strictarp.cluster.switch import Order, run

    def tell(line: str) -> None:
        click.echo(line, err=True)

    def confirm(view: View) -> bool:
        if view.edit.diff:
            tell(view.edit.diff)
        if yes:
            return True
        if not sys.stdin.isatty():
            tell("there is no terminal to ask at; add --yes to go on without asking")
            return False
        return click.confirm("Change this, and restart the proxies one by one?", err=True)

    report = run(Order(wanted, kubeconfig, dry_run, timeout), tell=tell, confirm=confirm)
    if dry_run and report.diff:
        tell(report.diff)
    _tell_report(report, tell, quiet=json_target == STDOUT)
    if json_target is not None:
        write_json(json_target, report)
    return report.exit_code


def _tell_report(report: Report, tell: Callable[[str], None], *, quiet: bool) -> None:
    for hint in report.hints:
        tell(hint)
    if quiet or not report.ok:
        tell(report.state)
    else:
        click.echo(report.state)

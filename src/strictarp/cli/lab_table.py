"""The lab's tables for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from strictarp.lab.judging import RunReport
from strictarp.lab.report import Report
from strictarp.lab.scenario import Scenario


def _mark(ok: bool) -> str:
    return "[green]✓[/green]" if ok else "[red]✗[/red]"


def step_line(step: dict[str, Any]) -> str:
    """One line on a step that has just ended."""
    return f"{_mark(bool(step.get('ok')))} {step.get('name')}: {step.get('observed')}"


def print_report(report: Report) -> None:
    """The story as a table."""
    console = Console()
    table = Table(title="Who answers for a Service IP?", title_justify="left")
    table.add_column("")
    table.add_column("step", no_wrap=True)
    table.add_column("expected")
    table.add_column("seen")
    table.add_column("s", justify="right")
    for step in report.steps:
        table.add_row(_mark(step.ok), step.name, step.expected, step.observed, f"{step.seconds:.1f}")
    console.print(table)
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    console.print(
        f"kernel {report.kernel}, isolation {report.isolation}, {settings}; {report.seconds:.0f} s",
        highlight=False,
    )


def print_scenarios(scenarios: Iterable[Scenario]) -> None:
    """What is shipped, a line each."""
    table = Table(box=None, show_header=False)
    for each in scenarios:
        table.add_row(each.name, each.title)
    Console().print(table)


def result_line(result: dict[str, Any]) -> str:
    """One line on a scenario that has just ended."""
    figures = ", ".join(f"{each['figure']} {_number(each['worst'])}" for each in result["measures"])
    return f"{_mark(result['holds'])} {result['scenario']}, {result['times']} times, worst: {figures}"


def print_run(report: RunReport) -> None:
    """Each expectation of each scenario: worst and median against the bound."""
    console = Console()
    table = Table("", "scenario", "times", "figure")
    for column in ("median", "worst", "bound"):
        table.add_column(column, justify="right")
    for result in report.scenarios:
        for number, each in enumerate(result.measures):
            names = (result.scenario, str(result.times)) if number == 0 else ("", "")
            bound = _number(each.bound)
            if each.median_bound is not None:
                bound = f"{bound}, median {_number(each.median_bound)}"
            table.add_row(
                _mark(each.holds), *names, each.figure, _number(each.median), _number(each.worst), bound
            )
    console.print(table)
    for result in report.scenarios:
        for problem in result.problems:
            console.print(f"{_mark(ok=False)} {result.scenario}: {problem}", highlight=False)
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    console.print(f"kernel {report.kernel}, isolation {report.isolation}, {settings}", highlight=False)


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:g}" if value < 100 else f"{value:.0f}"


def print_status(status: dict[str, Any]) -> None:
    """Hosts and processes."""
    console = Console()
    console.print(
        f"{status['phase']}; isolation {status['isolation']}, kernel {status['kernel']}, "
        f"API {status['api']} (on the lab's management network)",
        highlight=False,
    )
    hosts = Table("host", "on", "arp_ignore", "arp_announce", "rp_filter")
    for name, host in status["hosts"].items():
        keys = ("arp_ignore", "arp_announce", "rp_filter")
        hosts.add_row(name, _mark(host["on"]), *(host[key] for key in keys))
    console.print(hosts)
    processes = Table("process", "running", "pid", "starts")
    for name, process in status["processes"].items():
        processes.add_row(name, _mark(process["running"]), str(process["pid"]), str(process["starts"]))
    console.print(processes)

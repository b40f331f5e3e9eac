"""A diagnosis for people: by severity, a paragraph for each check, a block for each case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from strictarp.doctor.check import Finding, Severity
from strictarp.doctor.diagnosis import Diagnosis, Unlooked
from strictarp.doctor.wording import some
from strictarp.wire.reporting import printable

SHOWN = 8
"""Cases of one check that are shown."""
WIDTH = 110
_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print it all."""
    for _, group in groupby(diagnosis.findings, key=lambda each: each.code):
        _show_check(tuple(group), console)
    if diagnosis.not_looked_at:
        console.print(Text("Not looked at", style="bold"))
        console.print(_unlooked_table(diagnosis.not_looked_at))
        console.print()
    console.print(Text(summary(diagnosis), style=_colour(diagnosis)), soft_wrap=True)


def _show_check(found: Sequence[Finding], console: Console) -> None:
    first = found[0]
    heading = Text(f"{first.severity.value.upper()} {first.code}  ", style=_COLOURS[first.severity])
    console.print(heading.append(first.title, style="bold"))
    console.print(_block([("", first.why)]))
    for each in found[:SHOWN]:
        console.print(_block(_rows(each)))
    if len(found) > SHOWN:
        console.print(Text(f"  and {len(found) - SHOWN} more; --json has them all"))
    console.print()


def _rows(each: Finding) -> list[tuple[str, str]]:
    rows = [("where", each.subject), ("seen", each.seen), ("mend", each.mend)]
    if each.affects:
        rows.append(("depends", some(each.affects)))
    if each.consequences:
        rows.append(("so also", f"{', '.join(each.consequences)} (not told again)"))
    return rows


def _block(rows: Iterable[tuple[str, str]]) -> Table:
    block = Table.grid(padding=(0, 1))
    block.add_column(width=9, justify="right", style="dim")
    block.add_column(overflow="fold")
    for name, text in rows:
        block.add_row(name, Text(printable(text), style="green" if name == "mend" else ""))
    return block


def _unlooked_table(unlooked: Iterable[Unlooked]) -> Table:
    table = Table(box=None, pad_edge=True, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for each in unlooked:
        checks = f" ({len(each.codes)} checks)" if each.codes else ""
        table.add_row(Text(printable(each.what)), Text(printable(each.reason) + checks))
    return table


def summary(diagnosis: Diagnosis) -> str:
    """One line."""
    counts = Counter(each.severity for each in diagnosis.findings)
    words = {
        Severity.ERROR: ("error", "errors"),
        Severity.WARNING: ("warning", "warnings"),
        Severity.INFO: ("note", "notes"),
    }
    told = [
        f"{counts[each]} {one if counts[each] == 1 else more}"
        for each, (one, more) in words.items()
        if counts[each]
    ]
    return f"{', '.join(told) or 'nothing found'}; {diagnosis.checks} checks looked" + (
        "; not all could be seen" if diagnosis.not_looked_at else ""
    )


def _colour(diagnosis: Diagnosis) -> str:
    return {0: "green", 1: "yellow", 2: "red"}.get(diagnosis.exit_code, "magenta")

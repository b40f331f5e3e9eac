"""The list of all checks, from their declarations: for people, for programs, for the documentation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from strictarp.doctor.check import Check, Part, Severity
from strictarp.doctor.registry import area


class Entry(msgspec.Struct, frozen=True):
    """A check as it is documented."""

    code: str
    title: str
    severity: Severity
    area: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    why: str
    causes: tuple[str, ...]


def entries(checks: Iterable[Check]) -> tuple[Entry, ...]:
    """In order of their codes."""
    return tuple(
        Entry(
            check.code,
            check.title,
            check.severity,
            area(check.code),
            tuple(part.value for part in Part if part in check.needs),
            tuple(sorted(check.reads)),
            check.why,
            check.causes,
        )
        for check in sorted(checks, key=lambda each: each.code)
    )


def plain(listed: Iterable[Entry]) -> Iterator[str]:
    """Lines for a terminal."""
    for name, group in groupby(listed, key=lambda each: each.area):
        yield f"{name}:"
        for each in group:
            yield f"  {each.code}  {each.severity.value:<7}  {each.title}"
            yield f"         {each.why}"
        yield ""


def markdown(listed: Iterable[Entry]) -> Iterator[str]:
    """Lines of the documentation page: a section for each area, a table in it."""
    for name, group in groupby(listed, key=lambda each: each.area):
        yield f"### {name}"
        yield ""
        yield "| code | severity | what is found | why it matters | looked at | may be caused by |"
        yield "|---|---|---|---|---|---|"
        for each in group:
            cells = (
                each.code,
                each.severity.value,
                each.title,
                each.why,
                ", ".join(each.needs),
                ", ".join(each.causes),
            )
            yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
        yield ""

"""What a guard tells of itself, as a document. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.guard.drifts import Drift
from strictarp.sysctl.effective import Verdict


class Interface(msgspec.Struct, frozen=True, rename="camel"):
    """Whether strictARP is in force on an uplink, and why (not)."""

    in_force: bool
    reason: str


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """in_force: on every uplink. trouble: why the last turn failed, empty if it did not. process: who guards
    now, 0 for nobody. journalled: sysctl → what was found before.
    """

    scope: str
    in_force: bool
    reason: str
    uplinks: Mapping[str, Interface]
    drifts: int = 0
    last_drift: Drift | None = None
    trouble: str = ""
    process: int = 0
    journal: str = ""
    journalled: Mapping[str, int] = {}


def report(scope: str, verdicts: Mapping[str, Verdict], *, trouble: str = "", **more: object) -> Report:
    """The document of these verdicts. A guard in trouble cannot say that anything is in force."""
    against = [f"{name}: {verdict.reason}" for name, verdict in verdicts.items() if not verdict]
    if not verdicts:
        against = [
            "no uplink is known: no default route, and no subnet that holds a Service IP; name --uplink"
        ]
    if trouble:
        against.append(f"cannot be asserted: {trouble}")
    made = Report(
        scope=scope,
        in_force=not against,
        reason="; ".join(against) or "in force on every uplink",
        trouble=trouble,
        uplinks={name: Interface(verdict.in_force, verdict.reason) for name, verdict in verdicts.items()},
    )
    return msgspec.structs.replace(made, **more)


def text(told: Report) -> str:
    """For people."""
    guarding = f"guarded by process {told.process}" if told.process else "nobody guards it now"
    lines = [f"strictARP, scope {told.scope}: {'in force' if told.in_force else 'NOT in force'}; {guarding}"]
    for name, each in told.uplinks.items():
        lines.append(f"  {name}: {'in force' if each.in_force else 'NOT in force'}: {each.reason}")
    if not told.uplinks:
        lines.append(f"  {told.reason}")
    if told.journalled:
        lines.append(f"found before the guard, put back by --release ({told.journal}):")
        lines += [f"  {name} = {value}" for name, value in told.journalled.items()]
    return "\n".join(lines)

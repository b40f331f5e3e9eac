"""What came of enable or disable, for people and for programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from strictarp.cluster.edit import Edit
from strictarp.cluster.installers import Installer
from strictarp.cluster.nodes import Seen
from strictarp.cluster.onwire import VipSeen, ips, proved, summary
from strictarp.cluster.outlook import Outlook
from strictarp.cluster.recipes import Place
from strictarp.cluster.sentences import SYSCTL_COMMAND, sentence
from strictarp.cluster.signs import flags
from strictarp.cluster.steps import Facts, Progress, changes_something, planned, result

CANNOT_LOOK = 3
NOT_APPLICABLE = 4
ANYWAY = "--configmap-anyway"
NOTHING_CHANGED = "nothing was changed"


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What came of it; `exit_code` is the command's.

    result: of `steps.result`, or `declined`, `dry run`, `elsewhere` (another place must be edited),
    `unknown installer`, `not applicable`, `cannot look`, `refused` (a configuration that cannot be edited).
    preflight: what was known before; vips: who answers, before and after.
    """

    ok: bool
    exit_code: int
    result: str
    state: str
    changed: bool
    dry_run: bool
    diff: str = ""
    steps: tuple[str, ...] = ()
    nodes: tuple[Seen, ...] = ()
    hints: tuple[str, ...] = ()
    installer: Installer | None = None
    preflight: tuple[Outlook, ...] = ()
    vips: tuple[VipSeen, ...] = ()


def editable(installer: Installer, *, anyway: bool) -> bool:
    """The ConfigMap is the place to edit, or is to be edited although it is not. anyway: the user says so."""
    if installer.holder is None or installer.not_applicable:
        return False
    return installer.place is Place.CONFIGMAP or (anyway and not installer.futile)


def refused(installer: Installer, unread: Sequence[str], *, wanted: bool) -> Report:
    """Why a cluster whose ConfigMap is not `editable` is left alone, and what to do instead."""
    if installer.not_applicable:
        state = f"not applicable: {installer.title}: {installer.not_applicable}; {NOTHING_CHANGED}"
        return _refused(installer, "not applicable", state, NOT_APPLICABLE)
    told_by_source = installer.known and installer.place is not Place.CONFIGMAP
    if unread and installer.holder is None and not told_by_source:
        state = f"cannot tell where kube-proxy is configured: {'; '.join(unread)}; {NOTHING_CHANGED}"
        return _refused(installer, "cannot look", state, CANNOT_LOOK)
    if installer.place is Place.CONFIGMAP:
        state = (
            f"{installer.where}: not found, or no DaemonSet in kube-system reads it, and that is where "
            f"{installer.title} has it; nothing was changed"
        )
        return _refused(installer, "elsewhere", state, 1)
    if not installer.known:
        state = "the installer is not known, so it is not known what lasts; nothing was changed"
        return _refused(installer, "unknown installer", state, 1, _anyway(installer))
    value = "on" if wanted else "off"
    state = f"{installer.title}: strictARP is switched {value} in {installer.where}; nothing was changed"
    return _refused(installer, "elsewhere", state, 1, (*_how(installer), *_anyway(installer)))


def given_up(reason: str, code: int) -> Report:
    """The look at the cluster ended it: before anything was changed."""
    outcome = {CANNOT_LOOK: "cannot look", NOT_APPLICABLE: "not applicable"}.get(code, "refused")
    state = f"{reason}; {NOTHING_CHANGED}"
    return Report(ok=False, exit_code=code, result=outcome, state=state, changed=False, dry_run=False)


def warnings(installer: Installer) -> tuple[str, ...]:
    """What to know of a ConfigMap that is edited."""
    if installer.holder is None or not installer.overwritten:
        return ()
    lasts = f"{installer.holder.config_map}: the edit lasts until {installer.overwritten}"
    if installer.place is Place.CONFIGMAP:
        return (lasts,)
    return (f"{lasts}; to last, set `{installer.edit}` in {installer.where}",)


def _how(installer: Installer) -> tuple[str, ...]:
    hints = [f"set there: {line}" for line in installer.edit.splitlines()]
    hints.append(f"then run: {installer.apply}")
    hints += [f"node {node.name}: {_present(node.arguments)}" for node in installer.nodes]
    return (*hints, *(f"beware: {trap}" for trap in installer.traps))


def _present(arguments: Sequence[str]) -> str:
    if not arguments:
        return "it is not shown what it runs with now"
    passed = [word for each, word in flags(arguments) if each == "kube-proxy-arg"]
    how = f"with kube-proxy-arg {', '.join(passed)}" if passed else "without kube-proxy-arg"
    return f"runs now {how}"


def _anyway(installer: Installer) -> tuple[str, ...]:
    held = installer.holder
    if held is None or installer.futile:
        return ()
    if installer.overwritten:
        until = f"; that lasts until {installer.overwritten}"
    else:
        until = "; if nothing renders it again, that lasts"
    return (f"add {ANYWAY} to edit {held.title} all the same{until}",)


def _refused(
    installer: Installer, outcome: str, state: str, code: int, hints: tuple[str, ...] = ()
) -> Report:
    seen = (f"{installer.title}: {sign}" if installer.known else f"seen: {sign}" for sign in installer.signs)
    return Report(
        ok=False,
        exit_code=code,
        result=outcome,
        state=state,
        changed=False,
        dry_run=False,
        hints=(*seen, *hints),
        installer=installer,
    )


def finished(
    progress: Progress,
    *,
    diff: str = "",
    nodes: tuple[Seen, ...] = (),
    vips: tuple[VipSeen, ...] = (),
    troubles: tuple[str, ...] = (),
) -> Report:
    """It was carried out, or stopped in the middle."""
    unseen = any(each.verdict == "unseen" for each in nodes)
    on_wire = progress.facts.wanted and proved(vips)
    outcome = result(progress)
    fine = outcome in {"done", "unchanged"}
    code = (CANNOT_LOOK if unseen and not on_wire else 0) if fine else 1
    return Report(
        ok=code == 0,
        exit_code=code,
        result=outcome,
        state=sentence(progress, nodes, summary(vips) if fine else ""),
        changed=outcome != "unchanged",
        dry_run=False,
        diff=diff,
        steps=tuple(progress.done),
        nodes=nodes,
        hints=(*troubles, *_hints(progress.facts.wanted, outcome, nodes), *_unseen_vips(vips)),
        vips=vips,
    )


def _hints(wanted: bool, outcome: str, nodes: tuple[Seen, ...]) -> tuple[str, ...]:
    if outcome == "rolled back" and wanted:
        return tuple(
            f"{each.node}: its sysctls {_left(each)}; unless strictARP was set there before: {SYSCTL_COMMAND}"
            for each in nodes
            if each.restored is not True
        )
    hints = [
        f"{each.node} cannot be seen from here: {each.reason}; check it with: {each.check}"
        for each in nodes
        if each.verdict == "unseen"
    ]
    if not wanted and (still := [each.node for each in nodes if each.in_force and not each.restored]):
        hints.append(f"the sysctls are still set on {', '.join(still)}; undo them there: {SYSCTL_COMMAND}")
    return tuple(hints)


def _left(seen: Seen) -> str:
    return f"are not seen from here ({seen.reason})" if seen.restored is None else "are not as before"


def _unseen_vips(vips: Sequence[VipSeen]) -> tuple[str, ...]:
    reasons: dict[str, int] = {}
    for each in vips:
        if each.outcome == "unseen":
            reasons[each.reason] = reasons.get(each.reason, 0) + 1
    return tuple(f"not asked for on the wire: {ips(count)}: {why}" for why, count in reasons.items())


def untouched(
    *, facts: Facts, edit: Edit, nodes: tuple[Seen, ...], vips: tuple[VipSeen, ...], declined: str = ""
) -> Report:
    """Nothing was done: a dry run, or why it was declined."""
    steps = planned(facts)
    would = f"would {', '.join(steps)}" if changes_something(facts) else "nothing would be changed"
    return Report(
        ok=not declined,
        exit_code=1 if declined else 0,
        result="declined" if declined else "dry run",
        state=declined or would,
        changed=False,
        dry_run=not declined,
        diff=edit.diff,
        steps=tuple(steps),
        nodes=nodes,
        hints=(*_hints(facts.wanted, "", nodes), *_unseen_vips(vips)),
        vips=vips,
    )

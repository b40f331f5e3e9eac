"""One run of `strictarp enable` or `disable`, from the look to the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from strictarp.cluster.nodes import Seen
from strictarp.cluster.shell import CANNOT_LOOK, Switch, View
from strictarp.cluster.steps import SYSCTL_COMMAND, Progress, planned, result, sentence
from strictarp.kube import config as kubeconfig
from strictarp.kube.client import Client


class Order(msgspec.Struct, frozen=True):
    """What the command line asks for. `timeout` in seconds bounds each rollout."""

    wanted: bool
    kubeconfig: str | None = None
    dry_run: bool = False
    timeout: float = 300.0


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What came of it; `exit_code` is the command's."""

    ok: bool
    exit_code: int
    result: str
    state: str
    changed: bool
    dry_run: bool
    diff: str
    steps: tuple[str, ...]
    nodes: tuple[Seen, ...]
    hints: tuple[str, ...]


def run(order: Order, *, tell: Callable[[str], None], confirm: Callable[[View], bool]) -> Report:
    """Look, ask `confirm` if there is something to change, do it. Raises UserError when it cannot be done.

    Ctrl-C in the middle is answered by a report that names the state.
    """
    kept: list[Progress] = []
    client_config = kubeconfig.load(order.kubeconfig)
    try:
        return asyncio.run(_run(order, client_config, tell, confirm, kept))
    except KeyboardInterrupt:
        if not kept:
            raise
        return _report(kept[-1], order, "", ())


async def _run(
    order: Order,
    client_config: kubeconfig.ClientConfig,
    tell: Callable[[str], None],
    confirm: Callable[[View], bool],
    kept: list[Progress],
) -> Report:
    async with Client(client_config) as client:
        switch = Switch(client, wanted=order.wanted, timeout=order.timeout, tell=tell)
        view = await switch.look()
        progress = Progress(view.facts)
        if order.dry_run:
            return _dry(view, order)
        if len(planned(view.facts)) > 1 and not confirm(view):
            return _declined(view, order)
        kept.append(progress)
        progress = await switch.carry_out(progress, kept.append)
        return _report(progress, order, view.edit.diff, switch.nodes)


def _report(progress: Progress, order: Order, diff: str, nodes: tuple[Seen, ...]) -> Report:
    unseen = sum(each.verdict == "unseen" for each in nodes)
    outcome = result(progress)
    fine = outcome in {"done", "unchanged"}
    code = (CANNOT_LOOK if unseen else 0) if fine else 1
    return Report(
        ok=code == 0,
        exit_code=code,
        result=outcome,
        state=sentence(progress, unseen=unseen, nodes=len(nodes)),
        changed=outcome != "unchanged",
        dry_run=False,
        diff=diff,
        steps=tuple(progress.done),
        nodes=nodes,
        hints=_hints(order, nodes),
    )


def _hints(order: Order, nodes: tuple[Seen, ...]) -> tuple[str, ...]:
    hints = [
        f"{each.node} cannot be seen from here: {each.reason}; check it with: {each.check}"
        for each in nodes
        if each.verdict == "unseen"
    ]
    if not order.wanted and (still := [each.node for each in nodes if each.in_force]):
        hints.append(f"no proxy resets sysctls; on {', '.join(still)} undo them with: {SYSCTL_COMMAND}")
    return tuple(hints)


def _dry(view: View, order: Order) -> Report:
    steps = planned(view.facts)
    would = "nothing would be changed" if len(steps) == 1 else f"would {', '.join(steps)}"
    return _untouched(view, order, 0, would)


def _declined(view: View, order: Order) -> Report:
    return _untouched(view, order, 1, "not confirmed; nothing was changed")


def _untouched(view: View, order: Order, code: int, state: str) -> Report:
    return Report(
        ok=code == 0,
        exit_code=code,
        result="dry run" if order.dry_run else "declined",
        state=state,
        changed=False,
        dry_run=order.dry_run,
        diff=view.edit.diff,
        steps=tuple(planned(view.facts)),
        nodes=view.nodes,
        hints=_hints(order, view.nodes),
    )

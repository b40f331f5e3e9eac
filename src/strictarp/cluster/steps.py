"""The way from a look at the cluster to its end: which step comes next, and what kind of end it was.

Pure. The shell carries out the step that `next_step` names, and hands the outcome to `after`; what state the
cluster is in, wherever it stops, is told by `sentences`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from strictarp.cluster.signs import KUBEADM, Holder


class Step(StrEnum):
    """What the shell can do."""

    EDIT = "edit the ConfigMap"
    RESTART = "restart the proxies"
    FOLLOW = "follow the rollout"
    PROVE = "look at every node"
    ANNOUNCE = "have the owners announce"
    WIRE = "ask on the wire"
    UNDO_EDIT = "put the ConfigMap back"
    UNDO_RESTART = "restart the proxies with it"
    UNDO_FOLLOW = "follow that rollout"
    UNDO_LOOK = "look at every node again"


LOOKS = frozenset({Step.PROVE, Step.WIRE})
"""Steps that change nothing."""


class Facts(msgspec.Struct, frozen=True):
    """What the look at the cluster found.

    `edit_needed`: the ConfigMap says otherwise. `rolled_out`: no rollout is under way. `disagreement`: some
    node's proxy runs otherwise. `vips`: there are Service IPs. `holder`: where the setting stands.
    """

    wanted: bool
    edit_needed: bool
    rolled_out: bool = True
    disagreement: bool = False
    vips: bool = False
    holder: Holder = KUBEADM


class Failure(msgspec.Struct, frozen=True):
    """A step that failed, and why."""

    step: Step
    reason: str


class Progress(msgspec.Struct, frozen=True):
    """How far we are."""

    facts: Facts
    done: tuple[Step, ...] = ()
    failure: Failure | None = None
    undo_failure: Failure | None = None


Result = Literal["done", "unchanged", "rolled back", "failed", "stopped"]


def planned(facts: Facts) -> tuple[Step, ...]:
    """The steps to take if nothing fails. Looks alone change nothing."""
    if facts.edit_needed:
        changes: tuple[Step, ...] = (Step.EDIT, Step.RESTART, Step.FOLLOW)
    elif not facts.rolled_out:
        changes = (Step.FOLLOW,)
    elif facts.disagreement:  # asked for, but the proxies run with an older configuration
        changes = (Step.RESTART, Step.FOLLOW)
    else:
        changes = ()
    steps = (*changes, Step.PROVE)
    if not facts.vips:
        return steps
    # Stale neighbour entries matter where kernels fall silent, not where they begin to answer.
    return (*steps, Step.ANNOUNCE, Step.WIRE) if changes and facts.wanted else (*steps, Step.WIRE)


def changes_something(facts: Facts) -> bool:
    """Some planned step is more than a look."""
    return not LOOKS.issuperset(planned(facts))


def undoing(progress: Progress) -> tuple[Step, ...]:
    """The steps that take back what was begun; a step that failed may have had its effect all the same.

    A ConfigMap that was right before is left as it is: there is nothing to go back to.
    """
    if progress.failure is None or not progress.facts.edit_needed:
        return ()
    begun = (*progress.done, progress.failure.step)
    back = (Step.UNDO_EDIT,)
    again = (Step.UNDO_RESTART, Step.UNDO_FOLLOW, Step.UNDO_LOOK)
    return (*back, *again) if Step.RESTART in begun else back


def next_step(progress: Progress) -> Step | None:
    """What to do now; None at the end."""
    if progress.undo_failure is not None:
        return None  # proxies restarted now would come up with a configuration that is not the old one
    steps = planned(progress.facts) if progress.failure is None else undoing(progress)
    return next((step for step in steps if step not in progress.done), None)


def after(progress: Progress, step: Step, failure: str | None) -> Progress:
    """The outcome of a step; `failure` says why it failed, None if it did not."""
    if failure is None:
        return msgspec.structs.replace(progress, done=(*progress.done, step))
    if progress.failure is None:
        return msgspec.structs.replace(progress, failure=Failure(step, failure))
    return msgspec.structs.replace(progress, undo_failure=Failure(step, failure))


def result(progress: Progress) -> Result:
    """In a word: where it ended, or that it was stopped in the middle."""
    if progress.failure is None:
        if next_step(progress) is not None:
            return "stopped"
        return "done" if changes_something(progress.facts) else "unchanged"
    # A last look that fails does not make what was put back less so.
    barred = progress.undo_failure is not None and progress.undo_failure.step is not Step.UNDO_LOOK
    if not barred and progress.facts.edit_needed:
        return "rolled back" if next_step(progress) is None else "stopped"
    return "failed"

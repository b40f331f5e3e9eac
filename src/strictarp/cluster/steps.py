"""The way from a look at the cluster to a state with a name: which step comes next, and where it left us.

Pure. The shell carries out the step that `next_step` names, and hands the outcome to `after`; whatever fails
and wherever it stops, `sentence` says what state the cluster is in.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

RESTART_COMMAND = "kubectl -n kube-system rollout restart daemonset/kube-proxy"
SYSCTL_COMMAND = "sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0"
CONFIGMAP = "ConfigMap kube-system/kube-proxy"


class Step(StrEnum):
    """What the shell can do."""

    EDIT = "edit the ConfigMap"
    RESTART = "restart the proxies"
    FOLLOW = "follow the rollout"
    PROVE = "look at every node"
    UNDO_EDIT = "put the ConfigMap back"
    UNDO_RESTART = "restart the proxies with it"
    UNDO_FOLLOW = "follow that rollout"


class Facts(msgspec.Struct, frozen=True):
    """What the look at the cluster found.

    `edit_needed`: the ConfigMap says otherwise. `rolled_out`: no rollout is under way. `disagreement`: some
    node's proxy says otherwise.
    """

    wanted: bool
    edit_needed: bool
    rolled_out: bool = True
    disagreement: bool = False


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


def planned(facts: Facts) -> tuple[Step, ...]:
    """The steps to take if nothing fails. One look alone changes nothing."""
    if facts.edit_needed:
        return Step.EDIT, Step.RESTART, Step.FOLLOW, Step.PROVE
    if not facts.rolled_out:
        return Step.FOLLOW, Step.PROVE
    if facts.disagreement:  # asked for, but the proxies run with an older configuration
        return Step.RESTART, Step.FOLLOW, Step.PROVE
    return (Step.PROVE,)


def undoing(progress: Progress) -> tuple[Step, ...]:
    """The steps that take back what was begun; a step that failed may have had its effect all the same.

    A ConfigMap that was right before is left as it is: there is nothing to go back to.
    """
    if progress.failure is None or not progress.facts.edit_needed:
        return ()
    begun = (*progress.done, progress.failure.step)
    back = (Step.UNDO_EDIT,)
    return (*back, Step.UNDO_RESTART, Step.UNDO_FOLLOW) if Step.RESTART in begun else back


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


def result(progress: Progress) -> Literal["done", "unchanged", "rolled back", "failed", "stopped"]:
    """In a word: where it ended, or that it was stopped in the middle."""
    if progress.failure is None:
        if next_step(progress) is not None:
            return "stopped"
        return "unchanged" if progress.done == (Step.PROVE,) else "done"
    if progress.undo_failure is None and progress.facts.edit_needed:
        return "rolled back" if next_step(progress) is None else "stopped"
    return "failed"


def sentence(progress: Progress, *, unseen: int = 0, nodes: int = 0) -> str:
    """The state that the cluster is in, for people."""
    word = "true" if progress.facts.wanted else "false"
    match result(progress):
        case "unchanged":
            return f"{_in_force(progress, unseen, nodes)} already; nothing was changed"
        case "done":
            return _in_force(progress, unseen, nodes)
        case "rolled back":
            return f"{_why(progress)}; rolled back: {_restored(progress)}"
        case "failed" if progress.undo_failure is None:
            return (
                f"{_why(progress)}; {CONFIGMAP} says strictARP: {word}, as it did before, and was not "
                "changed. Mend the cause and run this again"
            )
        case _:
            return _midway(progress, word)


def _in_force(progress: Progress, unseen: int, nodes: int) -> str:
    seen = nodes - unseen
    if progress.facts.wanted:
        what = f"strictARP is in force on {seen} of {nodes} nodes"
    else:
        what = f"strictARP is asked for no more on {seen} of {nodes} nodes"
    return f"{what}; the others cannot be seen from here" if unseen else what


def _why(progress: Progress) -> str:
    failure = progress.failure
    return f"could not {failure.step}: {failure.reason}" if failure else ""


def _restored(progress: Progress) -> str:
    text = f"{CONFIGMAP} is as it was"
    if Step.UNDO_RESTART not in progress.done:
        return f"{text}, and no proxy was restarted"
    text += ", and the proxies run with it again"
    if progress.facts.wanted:
        text += f"; no proxy resets sysctls, so undo them on nodes where they were set: {SYSCTL_COMMAND}"
    return text


def _midway(progress: Progress, word: str) -> str:
    """Stopped, or the way back is barred: what is where."""
    failed = progress.undo_failure
    lead = "stopped in the middle" if failed is None else f"{_why(progress)}; NOT rolled back"
    reason = f" (could not {failed.step}: {failed.reason})" if failed else ""
    again = "run this again to finish, or the opposite command to go back"
    if Step.UNDO_FOLLOW in progress.done or Step.UNDO_RESTART in progress.done:
        return f"{lead}{reason}: {CONFIGMAP} is as it was; the proxies are being restarted with it"
    if Step.UNDO_EDIT in progress.done:
        return (
            f"{lead}{reason}: {CONFIGMAP} is as it was, but proxies may run with strictARP: {word}; "
            f"restart them: {RESTART_COMMAND}"
        )
    if not progress.facts.edit_needed:
        return f"{lead}{reason}: {CONFIGMAP} says strictARP: {word}, as before; {again}"
    if Step.RESTART in progress.done:
        where = f"{CONFIGMAP} says strictARP: {word}, and the proxies are being restarted with it"
    elif Step.EDIT in progress.done:
        where = f"{CONFIGMAP} says strictARP: {word}, and proxies take it up when they are restarted"
    elif progress.failure is not None or failed is not None:
        where = f"{CONFIGMAP} may say strictARP: {word}, and no proxy was restarted"
    else:
        where = f"{CONFIGMAP} is as it was unless its edit was just under way"
    return f"{lead}{reason}: {where}; {again}"

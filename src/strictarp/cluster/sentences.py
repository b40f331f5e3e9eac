"""The state that the cluster is in, in words, wherever enable or disable ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from strictarp.cluster.nodes import Seen
from strictarp.cluster.steps import Progress, Step, result

SYSCTL_COMMAND = "sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0"


def sentence(progress: Progress, nodes: Sequence[Seen] = (), wire: str = "") -> str:
    """One sentence. nodes: as they were seen last; wire: what was heard there, in words."""
    word = "true" if progress.facts.wanted else "false"
    place = progress.facts.holder.config_map
    match result(progress):
        case "unchanged":
            return f"{_in_force(progress, nodes, wire, already=True)}; nothing was changed"
        case "done":
            return _in_force(progress, nodes, wire)
        case "rolled back":
            return f"{_why(progress)}; rolled back: {_restored(progress, nodes)}"
        case "failed" if progress.undo_failure is None:
            return (
                f"{_why(progress)}; {place} says strictARP: {word}, as it did before, and was not "
                "changed. Mend the cause and run this again"
            )
        case _:
            return _midway(progress, word)


def _in_force(progress: Progress, nodes: Sequence[Seen], wire: str, *, already: bool = False) -> str:
    seen = sum(each.verdict != "unseen" for each in nodes)
    if progress.facts.wanted:
        what = f"strictARP is in force on {seen} of {len(nodes)} nodes"
    else:
        what = f"strictARP is asked for no more on {seen} of {len(nodes)} nodes"
    if already and seen == len(nodes):
        what += " already"
    if seen < len(nodes):
        what += "; the others cannot be seen from here"
    if not progress.facts.wanted:
        what += f"; {_as_before(nodes)}"
    return f"{what}; {wire}" if wire else what


def _why(progress: Progress) -> str:
    failure = progress.failure
    return f"could not {failure.step}: {failure.reason}" if failure else ""


def _restored(progress: Progress, nodes: Sequence[Seen]) -> str:
    text = f"{progress.facts.holder.config_map} is as it was"
    if Step.UNDO_RESTART not in progress.done:
        return f"{text}, and no proxy was restarted"
    text += ", and the proxies run with it again"
    if progress.facts.wanted:
        text += f"; {_as_before(nodes)}"
    return text


def _as_before(nodes: Sequence[Seen]) -> str:
    back = sum(each.restored is True for each in nodes)
    return f"the sysctls are as before on {back} of {len(nodes)} nodes"


def _midway(progress: Progress, word: str) -> str:
    """Stopped, or the way back is barred: what is where."""
    failed, holder = progress.undo_failure, progress.facts.holder
    place = holder.config_map
    lead = "stopped in the middle" if failed is None else f"{_why(progress)}; NOT rolled back"
    reason = f" (could not {failed.step}: {failed.reason})" if failed else ""
    again = "run this again to finish, or the opposite command to go back"
    if Step.UNDO_FOLLOW in progress.done:
        return f"{lead}{reason}: {place} is as it was, and the proxies run with it again"
    if Step.UNDO_RESTART in progress.done:
        return f"{lead}{reason}: {place} is as it was; the proxies are being restarted with it"
    if Step.UNDO_EDIT in progress.done:
        return (
            f"{lead}{reason}: {place} is as it was, but proxies may run with strictARP: {word}; "
            f"restart them: {holder.restart}"
        )
    if not progress.facts.edit_needed:
        return f"{lead}{reason}: {place} says strictARP: {word}, as before; {again}"
    if Step.FOLLOW in progress.done:
        where = f"{place} says strictARP: {word}, and the proxies run with it, but that is not proved"
    elif Step.RESTART in progress.done:
        where = f"{place} says strictARP: {word}, and the proxies are being restarted with it"
    elif Step.EDIT in progress.done:
        where = f"{place} says strictARP: {word}, and proxies take it up when they are restarted"
    elif progress.failure is not None or failed is not None:
        where = f"{place} may say strictARP: {word}, and no proxy was restarted"
    else:
        where = f"{place} is as it was unless its edit was just under way"
    return f"{lead}{reason}: {where}; {again}"

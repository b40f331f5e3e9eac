"""What strictARP would break on each node, as far as it is known before anything is changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from strictarp.arp.facts import Host
from strictarp.arp.losses import Loss
from strictarp.arp.preflight import preflight
from strictarp.arp.switching import Scope
from strictarp.cluster.nodes import Seen


class Outlook(msgspec.Struct, frozen=True, rename="camel"):
    """One node.

    source: what it is known by, empty where it is not. harmful: answers that would be missed, a line each.
    ineffective: interfaces on which it would not be in force, and why. command: gets the node's facts, where
    they are missing.
    """

    node: str
    source: str
    harmful: tuple[str, ...] = ()
    ineffective: tuple[str, ...] = ()
    command: str = ""


def outlooks(seen: Sequence[Seen], facts: Mapping[str, tuple[str, Host]]) -> tuple[Outlook, ...]:
    """Each node. facts: node → where its facts are from, and the facts."""
    return tuple(_outlook(each, facts.get(each.node)) for each in seen)


def _outlook(seen: Seen, known: tuple[str, Host] | None) -> Outlook:
    if known is not None:
        source, host = known
        report = preflight(host, Scope.ALL)
        harmful = tuple(_harm(each) for each in report.harmful)
        return Outlook(seen.node, source, harmful, report.ineffective)
    if seen.in_force:
        return Outlook(seen.node, "its proxy: strictARP is in force there already")
    command = f"ssh {seen.address or seen.node} strictarp facts --json > {seen.node}.json"
    return Outlook(seen.node, "", command=command)


def _harm(loss: Loss) -> str:
    return f"{loss.target} on {loss.interface} is answered no more: {loss.because}"


def harmful_text(nodes: Iterable[Outlook]) -> str:
    """All answers that would be missed, in words; empty without any."""
    return "; ".join(f"{each.node}: {line}" for each in nodes for line in each.harmful)


def lines(nodes: Sequence[Outlook]) -> list[str]:
    """For people: a line a node, more where something would break; last the nodes that are not known."""
    told: list[str] = []
    for each in nodes:
        if not each.source:
            continue
        told.append(f"{each.node} ({each.source}): {_verdict(each)}")
        told += [f"  LOST: {line}" for line in each.harmful]
        told += [f"  not in force: {line}" for line in each.ineffective]
    unknown = [each for each in nodes if not each.source]
    if unknown:
        told.append(f"not known for {', '.join(each.node for each in unknown)}; to know it, run")
        told += [f"  {each.command}" for each in unknown]
        told.append(f"  and repeat with {' '.join(f'--facts {each.node}.json' for each in unknown)}")
    return told


def _verdict(each: Outlook) -> str:
    if not each.harmful:
        return "no answer would be missed"
    return f"{len(each.harmful)} answer(s) would be missed"

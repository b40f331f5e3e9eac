"""Where people want addresses: the annotation of a Service that names its next owner. Pure.

A wish moves what has an owner, once that node is ready; it claims nothing, and takes nothing from a candidate
that is preferred. It lapses, so that one that nobody took back does not move an address months later, when
its node happens to return.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from strictarp.kube.custom import MOVE_TO
from strictarp.speaker.candidates import Verdict, no_link

LASTS = 600.0
"""Seconds that a wish is in force after this speaker saw it first, by its own clock."""
PATIENCE = 2.0
"""Seconds that a refusal must hold before it is told: a node's Lease may come a moment later."""


class Wishes:
    """Feed it all verdicts now and then. Times in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, float]] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._told: dict[str, str] = {}

    def in_force(self, verdicts: Mapping[str, Verdict], now: float) -> dict[str, str]:
        """Service → the node that it is to be handed over to, of the wishes that can be met."""
        wished = {key: each.wish for key, each in verdicts.items() if each.wish}
        known = self._since
        self._since = {
            key: known[key] if key in known and known[key][0] == node else (node, now)
            for key, node in wished.items()
        }
        return {
            key: node
            for key, (node, since) in self._since.items()
            if now - since < LASTS and refusal(verdicts[key], node) is None
        }

    def news(self, verdicts: Mapping[str, Verdict], now: float) -> Iterator[tuple[str, str]]:
        """(Service, sentence) for each wish that cannot be met, once it has lasted and was not told yet."""
        refused = {
            key: f"{MOVE_TO}: {node}: {why}"
            for key, (node, _) in self._since.items()
            if key in verdicts and (why := refusal(verdicts[key], node)) is not None
        }
        self._told = {key: text for key, text in self._told.items() if refused.get(key) == text}
        known = self._refused
        self._refused = {
            key: known[key] if key in known and known[key][0] == text else (text, now)
            for key, text in refused.items()
        }
        for key, (text, since) in self._refused.items():
            if key not in self._told and now - since >= PATIENCE:
                self._told[key] = text
                yield key, text


def refusal(verdict: Verdict, node: str) -> str | None:
    """Why a Service cannot be handed over to a node; None if it can."""
    if verdict.why is not None and not verdict.reasons:
        return f"nobody may announce the Service: {verdict.why}"
    chosen = next((each for each in verdict.order if each.node == node), None)
    if chosen is None:
        return verdict.reasons.get(node, "no speaker lives there")
    missing = verdict.out_of_reach.get(node)
    if missing:
        return no_link(*sorted(missing, key=int))
    if chosen.drained:
        return "it is drained; end that first (strictarp undrain)"
    best = max((each for each in verdict.order if not each.drained), key=lambda each: each.score)
    if best.score > chosen.score:
        return (
            f"L2Advertisements prefer {best.node} (weight {best.score}, here {chosen.score}), so it would go "
            "back there; change spec.preferredNodeSelectors, or drain that node"
        )
    return None

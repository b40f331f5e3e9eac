"""Services that have an address and that nobody may announce: who is told, and when. Pure.

Told once for each reason, and only when it lasts: a Service often has its address before its endpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from strictarp.speaker.candidates import Verdict, Why, no_link
from strictarp.speaker.lasting import Lasting

LASTS = 5.0
"""Seconds that a reason must hold before it is told."""
SILENT = frozenset({Why.NO_ENDPOINT, Why.NO_ADVERTISEMENT, Why.SHARED_WITH_SELECTOR, Why.NO_NODE})
"""Reasons of a Service that has an address of a pool, and that nobody may announce."""


class Silence:
    """Feed it all verdicts now and then; each call returns what is to be told now."""

    def __init__(self) -> None:
        self._lasting = Lasting[Why](LASTS)

    def news(self, verdicts: Mapping[str, Verdict], now: float) -> list[tuple[str, str]]:
        """(Service, sentence) for each silence that has lasted and was not told yet. now: seconds."""
        reasons = {key: _why(each) for key, each in verdicts.items()}
        silent = {key: why for key, why in reasons.items() if why is not None and why in SILENT}
        return [(key, sentence(verdicts[key])) for key, _ in self._lasting.news(silent, now)]


def sentence(verdict: Verdict) -> str:
    """Why nobody announces a Service, and, where it depends on nodes, why each of them does not."""
    silent = verdict.unreached or verdict.addresses
    why = _why(verdict)
    known = dict(verdict.reasons)
    if verdict.why is None:
        known |= {node: no_link(*silent) for node in verdict.out_of_reach}
    reasons = "; ".join(_grouped(known)) if why is Why.NO_NODE else ""
    return f"nobody announces {', '.join(map(str, silent))}: {why}" + (f": {reasons}" if reasons else "")


def _why(verdict: Verdict) -> Why | None:
    """Also of a Service of which only one address can be announced."""
    return Why.NO_NODE if verdict.why is None and verdict.unreached else verdict.why


def _grouped(reasons: Mapping[str, str]) -> Iterator[str]:
    nodes: dict[str, list[str]] = {}
    for node, reason in reasons.items():
        nodes.setdefault(reason, []).append(node)
    for reason, names in nodes.items():
        yield f"{', '.join(names)}: {reason}"

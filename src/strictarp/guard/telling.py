"""Drifts for people: with who may have done it, at a sensible rate. Thin; `drifts` and `culprits` decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from strictarp.guard import evidence
from strictarp.guard.culprits import suspects
from strictarp.guard.drifts import Drift, Fight, heard


class Teller:
    """Takes every drift (`Guardian`'s on_drift) and says one line of it when it is time."""

    def __init__(self, host_root: Path, say: Callable[[str], None]) -> None:
        self._host_root = host_root
        self._say = say
        self._fights: dict[str, Fight] = {}
        self._culprits: dict[str, tuple[str, ...]] = {}

    def __call__(self, drift: Drift) -> Drift:
        """The drift with its culprits; looked for only when it is told, for that reads many files."""
        untold = before.untold if (before := self._fights.get(drift.what)) else 0
        self._fights[drift.what], tell = heard(before, time.monotonic())
        if tell:
            self._culprits[drift.what] = self._found(drift)
        drift = msgspec.structs.replace(drift, culprits=self._culprits.get(drift.what, ()))
        if tell:
            self._say(sentence(drift, untold))
        return drift

    def _found(self, drift: Drift) -> tuple[str, ...]:
        if not drift.was.lstrip("-").isdigit():
            return ()
        return suspects(drift.what, int(drift.was), evidence.collect(self._host_root))


def sentence(drift: Drift, untold: int) -> str:
    """One line. untold: how many more there were since the line before."""
    again = f" ({untold} more times since the last line about it)" if untold else ""
    who = "; ".join(drift.culprits) or "not known; `strictarp guard --help` says where it is looked for"
    if drift.was.lstrip("-").isdigit():
        return f"{drift.what} was changed to {drift.was}; set to {drift.again} again{again}. Who: {who}"
    return f"{drift.what} was {drift.was}; {drift.again}{again}"

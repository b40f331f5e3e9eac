"""Doubt about a world that suddenly lacks nearly everything: a machine without I/O.

An API server that answers with an empty list after a failure (a restored etcd, a proxy between) must not make
us delete what carries traffic. The doubt is bounded in time: what stays so is believed.
"""

from __future__ import annotations

FEW = 10


class Caution:
    """Asked before removals that follow from a whole list, not from single changes."""

    def __init__(self, patience: float) -> None:
        """`patience`: seconds for which the same picture must last before it is believed."""
        self._patience = patience
        self._since: float | None = None

    def believes(self, *, removals: int, held: int, empty: bool, now: float) -> bool:
        """May these removals be carried out? `held`: what there is of that kind; `empty`: nothing is wanted.

        Few removals are believed, unless they are of everything.
        """
        doubtful = removals > 0 and (empty or (removals > FEW and 2 * removals > held))
        if not doubtful:
            self._since = None
            return True
        if self._since is None:
            self._since = now
        if now - self._since < self._patience:
            return False
        self._since = None
        return True

    def look_at(self) -> float | None:
        """When to look again, None without doubt."""
        return None if self._since is None else self._since + self._patience

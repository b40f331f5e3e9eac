"""Troubles that are told once, and only when they last. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Lasting(Generic[T]):
    """patience: seconds that one must hold, unchanged, before it is told."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[str, tuple[T, float]] = {}
        self._told: dict[str, T] = {}

    def news(self, holding: Mapping[str, T], now: float) -> list[tuple[str, T]]:
        """What is to be told now, of all that holds (about what → what). now: seconds.

        One that ends and comes again, or becomes another one, is news again.
        """
        self._told = {
            key: what for key, what in self._told.items() if key in holding and holding[key] == what
        }
        before = self._since
        self._since = {
            key: before[key] if key in before and before[key][0] == what else (what, now)
            for key, what in holding.items()
        }
        due = [
            (key, what)
            for key, (what, since) in self._since.items()
            if key not in self._told and now - since >= self._patience
        ]
        self._told |= dict(due)
        return due

"""Faults on demand: what the next matching requests and the open watches shall suffer. Pure.

Set through `POST /lab/faults`, outside of the API's paths; see `Fault`.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Fault(msgspec.Struct, frozen=True, rename="camel"):
    """One fault, in effect for the next `count` requests whose path begins with `path`.

    * `status`: answer `status` with `retryAfter` seconds (429, 500, 503, 410 …).
    * `empty`: a list without items, at the current resourceVersion.
    * `drop`: break the connection without an answer.
    * `truncate`: a list or an object broken off in mid-body.
    * `garbage`: 200 with a body, or a watch line, that is no JSON.
    * `gone`: watches that are open, or begin, end with an ERROR event of 410.
    * `close`: watches that are open end. `stall`: they stay open and send nothing more.

    `close`, `stall`, `gone` and `garbage` act on open watches when set (with count 0: only on those).
    `verb` limits it to one of get, list, watch, create, update, patch, delete.
    """

    kind: Literal["status", "empty", "drop", "truncate", "garbage", "gone", "close", "stall"]
    path: str = "/"
    verb: str = ""
    count: int = 1
    status: int = 503
    retry_after: int = 0


OPEN_WATCHES = frozenset({"close", "stall", "gone", "garbage"})


class Faults:
    """The faults that wait for their requests."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Set one."""
        if fault.count > 0:
            self._waiting.append((fault, fault.count))

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()

    def waiting(self) -> list[dict[str, object]]:
        """What is set, with what is left of it."""
        return [{**msgspec.to_builtins(fault), "count": left} for fault, left in self._waiting]

    def take(self, path: str, verb: str) -> Fault | None:
        """The fault for this request, the oldest first; it counts as used."""
        for index, (fault, left) in enumerate(self._waiting):
            if matches(fault, path, verb):
                if left > 1:
                    self._waiting[index] = (fault, left - 1)
                else:
                    del self._waiting[index]
                return fault
        return None


def matches(fault: Fault, path: str, verb: str) -> bool:
    """Whether a fault is meant for such a request."""
    return path.startswith(fault.path) and fault.verb in {"", verb}

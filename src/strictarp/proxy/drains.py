"""Removed TCP endpoints that finish their connections: a machine without I/O.

kube-proxy looks once a minute, for ever. Here a look follows the removal soon, then ever later, and the time
is bounded. What drains is worked out from kernel and desired state, so a restart loses none of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import msgspec

from strictarp.netlink.ipvs import Key, RealServer, RealServerState
from strictarp.proxy.operations import Operation, RemoveReal
from strictarp.proxy.seam import Place

FIRST_LOOK = 1.0
LONGEST_WAIT = 30.0


class _Drain(msgspec.Struct):
    deadlines: dict[Place, float]
    look_at: float
    wait: float


class Drains:
    """Feed `set` after each change of a virtual server; at `next_look` ask the kernel and feed `seen`."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds after which connections are cut."""
        self._limit = limit
        self._drains: dict[Key, _Drain] = {}

    def __len__(self) -> int:
        return sum(len(drain.deadlines) for drain in self._drains.values())

    def set(self, key: Key, places: Set[Place], now: float, first_look: float = FIRST_LOOK) -> None:
        """These real servers drain now; those that did already keep their deadline.

        `first_look`: seconds until the kernel is asked the first time.
        """
        old = self._drains.get(key)
        if not places:
            self._drains.pop(key, None)
        elif old is None or places - old.deadlines.keys():
            known = old.deadlines if old else {}
            deadlines = {place: known.get(place, now + self._limit) for place in places}
            self._drains[key] = _Drain(deadlines, now + first_look, FIRST_LOOK)
        else:
            old.deadlines = {place: old.deadlines[place] for place in places}

    def next_look(self) -> float | None:
        """When to ask the kernel, None for never."""
        return min((drain.look_at for drain in self._drains.values()), default=None)

    def due(self, now: float) -> list[Key]:
        """Virtual servers to ask the kernel about now."""
        return [key for key, drain in self._drains.items() if drain.look_at <= now]

    def seen(self, key: Key, states: Mapping[Place, RealServerState], now: float) -> list[Operation]:
        """Real servers that have no connection left, or no time; waits longer for the others."""
        drain = self._drains.get(key)
        if drain is None:
            return []
        done: list[Operation] = []
        for place, deadline in drain.deadlines.items():
            state = states.get(place)
            if state is None or state.active + state.inactive == 0 or now >= deadline:
                done.append(RemoveReal(key, RealServer(*place, 0)))
        drain.wait = min(2 * drain.wait, LONGEST_WAIT)
        drain.look_at = min([now + drain.wait, *drain.deadlines.values()])
        drain.look_at = max(drain.look_at, now + FIRST_LOOK)
        return done

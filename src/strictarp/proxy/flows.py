"""UDP connections that connection tracking remembers wrongly after a Service's endpoints changed. Pure.

A tracked UDP connection lives as long as its client sends. One that began before its Service was here has no
SNAT for ever, and one to an endpoint that went keeps the answers of the next from being translated.
Connections to a virtual server whose answers come from none of its real servers are stale (kube-proxy v1.32,
pkg/proxy/conntrack: the reconciler). NodePorts need no rule of their own: they are virtual servers too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from strictarp.netlink.conntrack import UDP, Flow
from strictarp.netlink.ipvs import Key
from strictarp.proxy.mirror import Mirror
from strictarp.proxy.operations import AddReal, AddServer, Operation, RemoveReal, RemoveServer

FEW = 8
"""Up to so many virtual servers are asked about one by one; each question walks the kernel's table."""
PAUSE_SECONDS = 1.0
"""Between two rounds: a change that comes every few milliseconds must not keep the kernel walking."""


def concerned(operations: Sequence[Operation], outcomes: Sequence[str | None], before: Mirror) -> set[Key]:
    """Virtual servers to which connections may be stale after these operations.

    Call it before the mirror learns of them. A real server more is no reason, but the first one is.
    """
    keys: set[Key] = set()
    for operation, reason in zip(operations, outcomes, strict=True):
        if reason is not None:
            continue
        match operation:
            case AddServer(server):
                keys.add(server.key)
            case RemoveServer(key) | RemoveReal(key, _):
                keys.add(key)
            case AddReal(key, _) if key in before.servers and before.servers[key].empty:
                keys.add(key)
    return {key for key in keys if key[0] == UDP}


class Round:
    """Which virtual servers are due, and when: a machine without I/O."""

    def __init__(self) -> None:
        self._due: set[Key] = set()
        self._next = 0.0

    def add(self, keys: Iterable[Key]) -> None:
        """Connections to these are to be looked at."""
        self._due.update(keys)

    def next_at(self) -> float | None:
        """When to `take`, None for never."""
        return self._next if self._due else None

    def take(self, now: float) -> set[Key]:
        """What to look at now, if anything."""
        if not self._due or now < self._next:
            return set()
        self._next = now + PAUSE_SECONDS
        due, self._due = self._due, set()
        return due


def stale(flows: Iterable[Flow], keys: Set[Key], mirror: Mirror) -> Iterator[Flow]:
    """Those to one of these virtual servers whose answers come from none of its real servers."""
    reals = {key: mirror.servers[key].reals for key in keys if key in mirror.servers}
    for flow in flows:
        to = flow.original
        key = (to.protocol, to.destination, to.destination_port)
        if key in keys and (flow.reply.source, flow.reply.source_port) not in reals.get(key, ()):
            yield flow

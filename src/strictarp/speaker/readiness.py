"""Whether a node can take an address over, which a rolling update waits for before it goes on. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from strictarp.hello.messages import State


def unready(links: Iterable[tuple[str, State]] | None) -> str:
    """Why it cannot, for people; empty when it can, also on a node that no address belongs to.

    `links`: names of the links that addresses belong to, and this node's state there; None: not known yet.
    """
    if links is None:
        return "the objects of the cluster are not known yet"
    waiting = sorted((name, state) for name, state in links if state is not State.SEASONED)
    return ", ".join(f"{name}: {state.name.lower()}" for name, state in waiting)

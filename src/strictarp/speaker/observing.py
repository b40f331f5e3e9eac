"""What a machine can say of the others, for metrics: decides nothing. Pure."""

from __future__ import annotations

import msgspec

from strictarp.hello import ids
from strictarp.speaker.core import Core


class Sight(msgspec.Struct, frozen=True, gc=False):
    """One other node as seen from here. live: heard lately. hellos, lost: heard since the start of this
    machine, and missing between two that were heard.
    """

    node: str
    live: bool
    hellos: int
    lost: int


def sights(core: Core) -> list[Sight]:
    """Every node that was ever heard, by name."""
    found = [
        Sight(
            core.name_of(node),
            core.peers.live_of(node, core.now) is not None,
            count,
            core.hellos_lost[node],
        )
        for node, count in core.hellos.items()
    ]
    return sorted(found, key=lambda each: each.node)


def unheard(core: Core) -> list[str]:
    """Candidates on this segment that live by the API and were never heard here: this pair is deaf.

    Empty until this node has listened for `settings.settle`.
    """
    if core.joined_at is None or core.now - core.joined_at < core.settings.settle:
        return []
    candidates = {each.node for slot in core.slots.values() for each in slot.view.candidates}
    return sorted(
        name
        for name in candidates & core.view.members.keys() - {core.node}
        if ids.node_id(name) not in core.heard_ever
    )

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


class Holding(msgspec.Struct, frozen=True, gc=False):
    """A VIP that this node owns. runner_up: who would go on, empty without one. answerers: MACs that answered
    at its last audit since this node owns it; None before the first.
    """

    runner_up: str
    answerers: frozenset[bytes] | None


def holdings(core: Core) -> dict[bytes, Holding]:
    """What there is to say of each own VIP."""
    live = {core.name_of(node) for node in core.peers.live_nodes(core.now)}
    return {
        address: Holding(
            next((each.node for each in slot.view.candidates if each.node in live), ""),
            core.answerers.get(address) if core.mac in core.answerers.get(address, ()) else None,
        )
        for address, slot in core.owned.items()
    }


def unanswered(core: Core) -> dict[bytes, int]:
    """µs, of the outages that are over and of the present one."""
    found = dict(core.unanswered)
    for address, since in core.unanswered_since.items():
        found[address] = found.get(address, 0) + core.now - since
    return found

"""What to do about an IP now: the one place where a free IP is found, and a claim begun."""

from __future__ import annotations

from strictarp.speaker import claims, handover
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Core
from strictarp.speaker.presence import may_claim
from strictarp.speaker.slots import Phase, Slot

_SLOTS_UNDER_WAY = 2
"""A claim lasts about two slots; so many slots' worth may be under way before new ones wait."""


def look_at_all(core: Core) -> None:
    """Work through what this step asked to be looked at."""
    while core.looks:
        vip = next(iter(core.looks))
        del core.looks[vip]
        slot = core.slots.get(vip)
        if slot is not None:
            look(core, slot)


def look(core: Core, slot: Slot) -> None:
    """Own: should it move? Free: is it this node's turn? A live owner is left alone whatever the order."""
    if slot.owned:
        handover.consider(core, slot)
        return
    if slot.phase in (Phase.CLAIMING, Phase.ACCEPTED):
        return
    owner = core.peers.owner(slot.vip, core.now, isolated=core.isolated)
    if owner is not None:
        slot.phase = Phase.FOREIGN
        slot.previous = (owner.node, owner.key[1], max(owner.hello_seq, 0))
        slot.saw_epoch(owner.owned[slot.vip])
        slot.free_since = None
        slot.heir = None
        _stop_waiting(core, slot)
        return
    slot.phase = Phase.FREE
    if slot.free_since is None:
        slot.free_since = core.now
    if not slot.view.eligible:
        _stop_waiting(core, slot)
        return
    # Looked at again with each own hello: also what this node may claim only when it has said one.
    core.waiting.add(slot.vip)
    if not may_claim(core) or _maybe_owned(core) or not claims.may_claim_slot(core, slot):
        core.agenda.cancel(Timer.SLOT, slot.vip)
        return
    start = max(_heirs_time(core, slot), claims.start_time(core, slot))
    if start <= core.now:
        start = _paced(core)
    if start <= core.now:
        core.claims_open.add(slot.vip)
        claims.begin(core, slot)
    else:
        core.agenda.set(Timer.SLOT, slot.vip, start)


def _heirs_time(core: Core, slot: Slot) -> int:
    """Until when an IP is left to whom it was released to: until its hellos tell, or it is silent."""
    heir = slot.heir
    if heir is None:
        return 0
    if core.now < heir.until:
        return heir.until
    peer = core.peers.by_key.get(heir.key)
    if peer is not None and core.peers.is_live(peer, core.now):
        if heir.seq is None:
            heir.seq = peer.hello_seq
        if peer.hello_seq <= heir.seq:
            return peer.heard + peer.silence
    slot.heir = None
    slot.free_since = core.now
    return 0


def _paced(core: Core) -> int:
    """When one more claim may begin.

    Thousands in one step would take longer than this node's own lease, and a claim whose end is noticed late
    starts again: where the processor does not keep up, those under way go first.
    """
    most = core.settings.claims_at_once
    if core.now - core.claims_since >= core.settings.slot:
        core.claims_since, core.claims_begun = core.now, 0
        core.claims_open = {
            vip
            for vip in core.claims_open
            if (slot := core.slots.get(vip)) is not None and slot.phase is Phase.CLAIMING
        }
        core.claims_allowed = min(most, max(0, _SLOTS_UNDER_WAY * most - len(core.claims_open)))
    behind = core.claims_begun - core.claims_allowed
    core.claims_begun += 1
    return core.claims_since + (core.settings.slot * (1 + behind // most) if behind >= 0 else 0)


def _maybe_owned(core: Core) -> bool:
    """Whether a live peer's list is not complete here: what it may own is unknown, not free."""
    return any(not peer.synced and core.peers.is_live(peer, core.now) for peer in core.unsynced)


def _stop_waiting(core: Core, slot: Slot) -> None:
    core.waiting.discard(slot.vip)
    core.agenda.cancel(Timer.SLOT, slot.vip)

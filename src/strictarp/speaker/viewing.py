"""A new view of the API: which IPs there are, who is a member, what this node may own."""

from __future__ import annotations

from strictarp.hello import ids
from strictarp.speaker import claims, handover
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Core
from strictarp.speaker.ownership import announce_again, note_view
from strictarp.speaker.slots import Phase, Slot
from strictarp.speaker.view import View, Vip


def take_view(core: Core, view: View) -> None:
    """Replace the view. IPs that are in it no more are given up; what changed is looked at."""
    if view.members != core.view.members or view.nodes != core.view.nodes:
        _take_members(core, view)
    for gone in [slot for slot in core.slots.values() if slot.address not in view.vips]:
        _remove(core, gone)
    for address, vip in view.vips.items():
        slot = core.by_address.get(address)
        if slot is None:
            slot = Slot(vip)
            core.slots[slot.vip] = core.by_address[address] = slot
            for peer in core.peers.listing.get(slot.vip, ()):
                slot.saw_epoch(peer.owned[slot.vip])  # heard while it was of no interest here
        elif slot.view == vip:
            continue
        else:
            if slot.owned and vip.asks_again(slot.view):
                announce_again(core, slot)
            if (vip.wish, _drained(core, vip)) != (slot.view.wish, _drained(core, slot.view)):
                slot.move_after = core.now  # what people want now is no echo of another node's view
            slot.view = vip
            note_view(core, slot)
            handover.withdraw_if_needless(core, slot)
        if slot.phase is Phase.ACCEPTED and not vip.eligible:
            handover.expire_accepted(core, slot)
        if slot.phase is Phase.CLAIMING and not vip.eligible:
            claims.abort(core, slot, "no longer eligible")
        core.look((slot.vip,))
    core.view = view
    core.look(core.waiting)


def _drained(core: Core, vip: Vip) -> bool:
    mine = vip.candidate(core.node)
    return mine is not None and mine.drained


def _take_members(core: Core, view: View) -> None:
    core.names = {ids.node_id(name): name for name in view.members}
    core.lease_macs = {mac: ids.node_id(name) for name, member in view.members.items() for mac in member.macs}
    by_address = {member.address: name for name, member in view.members.items() if member.address}
    by_address |= view.nodes
    core.node_addresses = {address: ids.node_id(name) for address, name in by_address.items()}
    core.all_names = core.names | {ids.node_id(name): name for name in by_address.values()}


def _remove(core: Core, slot: Slot) -> None:
    if slot.owned:
        handover.release_to_nobody(core, slot, "not announced any more")
    for timer in (Timer.SLOT, Timer.RELEASE):
        core.agenda.cancel(timer, slot.vip)
    core.waiting.discard(slot.vip)
    core.looks.pop(slot.vip, None)
    del core.slots[slot.vip], core.by_address[slot.address]

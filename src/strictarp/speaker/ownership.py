"""Becoming owner and ceasing to be, and the announcements that tell caches about it."""

from __future__ import annotations

from strictarp.arp import frames as arp
from strictarp.hello import ids
from strictarp.speaker.actions import Disowned, Kind, Owning
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Change, Core
from strictarp.speaker.slots import Phase, Slot


def announce_rounds(core: Core, slot: Slot) -> None:
    """All rounds of `settings.announce`, from now."""
    slot.announced_at = core.now
    core.announcements.plan(slot.vip, slot.epoch, [core.now + offset for offset in core.settings.announce])
    _schedule(core)


def announce_again(core: Core, slot: Slot) -> None:
    """All rounds anew because somebody asked; rounds under way serve as well, which bounds the rate."""
    rounds = core.settings.announce[-1] if core.settings.announce else 0
    least = max(rounds, core.settings.enforce)
    if slot.announced_at is None or core.now - slot.announced_at >= least:
        announce_rounds(core, slot)


def enforce(core: Core, slot: Slot) -> None:
    """One round now, but not within `settings.enforce` of the last such."""
    if slot.enforced_at is not None and core.now - slot.enforced_at < core.settings.enforce:
        return
    slot.enforced_at = core.now
    core.announcements.plan(slot.vip, slot.epoch, (core.now,))
    _schedule(core)


def announce_due(core: Core) -> None:
    """Send the announcements that are due and still true."""
    for vip, epoch in core.announcements.take_due(core.now):
        slot = core.slots.get(vip)
        if slot is not None and slot.owned and slot.epoch == epoch:
            _announce(core, slot)
    _schedule(core)


def _schedule(core: Core) -> None:
    due = core.announcements.next()
    if due is not None:
        core.agenda.set(Timer.ANNOUNCE, 0, due)


def _announce(core: Core, slot: Slot) -> None:
    """Gratuitous ARP in both forms, because some hosts heed only one, then requests to single hosts, which
    every cache believes: the gateway, and the clients heard asking (as an answer would: arp.c arp_process).
    """
    mac, ip = core.mac, slot.address
    core.send_announcement(slot, arp.gratuitous_request(mac, ip))
    core.send_announcement(slot, arp.gratuitous_reply(mac, ip))
    told = dict(slot.askers)
    if core.gateway is not None and core.gateway_mac:
        told[core.gateway] = core.gateway_mac
    for address, to in told.items():
        core.send_announcement(slot, arp.request(mac, ip, address, to=to))


def own(core: Core, slot: Slot, epoch: int) -> None:
    """This node owns the IP from now on, and says so."""
    previous = slot.previous[0]
    without = core.now - slot.free_since if slot.free_since is not None else 0
    slot.leave_phase()
    slot.phase = Phase.OWN
    slot.epoch = epoch
    slot.saw_epoch(epoch)
    slot.free_since = None
    slot.releasing = None
    core.agenda.cancel(Timer.SLOT, slot.vip)
    core.agenda.cancel(Timer.RELEASE, slot.vip)
    core.waiting.discard(slot.vip)
    core.owned[slot.address] = slot
    _changed(core, slot)
    core.told.append(Owning(slot.address, epoch, core.name_of(previous) if previous else ""))
    core.report(Kind.TOOK_OVER, slot, node=previous, micros=without)
    core.urgent_hello()
    announce_rounds(core, slot)
    note_scores(core, slot)
    core.look((slot.vip,))


def disown(core: Core, slot: Slot) -> None:
    """This node answers for the IP no more; the next hello, sent at once, does not list it."""
    slot.leave_phase()
    slot.previous = (core.sender.node, core.sender.incarnation, core.seq)
    slot.free_since = core.now
    core.agenda.cancel(Timer.SLOT, slot.vip)
    core.outscored.discard(slot.vip)
    del core.owned[slot.address]
    _changed(core, slot)
    core.told.append(Disowned(slot.address))
    core.urgent_hello(at_once=True)
    core.look((slot.vip,))


def _changed(core: Core, slot: Slot) -> None:
    core.set_version = (core.set_version + 1) & 0xFFFFFFFF
    core.set_hash ^= ids.entry_hash(slot.vip, slot.epoch)
    core.changes.pop(slot.vip, None)
    core.changes[slot.vip] = Change(slot.epoch if slot.owned else None)


def note_scores(core: Core, slot: Slot) -> None:
    """Remember whether the view names a candidate of higher score for an IP of this node."""
    scores = {candidate.node: candidate.score for candidate in slot.view.candidates}
    mine = scores.get(core.node)
    if slot.owned and mine is not None and max(scores.values()) > mine:
        core.outscored.add(slot.vip)
    else:
        core.outscored.discard(slot.vip)

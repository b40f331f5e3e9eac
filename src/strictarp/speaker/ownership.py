"""Becoming owner and ceasing to be, and the announcements that tell caches about it."""

from __future__ import annotations

from strictarp.hello import ids
from strictarp.hello.messages import State
from strictarp.speaker import resolution
from strictarp.speaker.actions import Disowned, Kind, Owning, Taking
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Change, Core
from strictarp.speaker.peers import Peer
from strictarp.speaker.slots import Cause, Phase, Slot


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


def refresh(core: Core) -> None:
    """One round for each own IP, spread over the time until the next refresh."""
    period = core.settings.refresh
    for number, slot in enumerate(core.owned.values()):
        core.announcements.plan(slot.vip, slot.epoch, (core.now + period * number // len(core.owned),))
    core.agenda.set(Timer.REFRESH, 0, core.now + period)
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
    """To all, then questions to single hosts: the gateway, and the clients heard asking."""
    mac, ip = core.mac, slot.address
    for data in resolution.announcements(mac, ip):
        core.send_announcement(slot, data)
    told = dict(slot.askers)
    told |= {each: to for each, to in core.gateways.items() if to and len(each) == len(ip)}
    for address, to in told.items():
        core.send_announcement(slot, resolution.directed(mac, ip, address, to=to))


def own(core: Core, slot: Slot, epoch: int, cause: Taking | None = None) -> None:
    """This node owns the IP from now on, and says so. cause: without one, what became of the last owner."""
    cause = cause or _cause_of_claim(core, slot)
    if cause is Taking.HANDED_OVER or (cause is Taking.RELEASED and _was_offered(slot)):
        # Its giver may see other scores: two such nodes would hand the IP to and fro without end.
        slot.move_after = core.now + core.settings.season
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
    core.report(Kind.TOOK_OVER, slot, node=previous, detail=cause.value, micros=without)
    # What was claimed is listed before it is answered for: frozen in between, this node would own what nobody
    # knows of. What is handed over is left to this node by all who heard so; its hellos go at their pace.
    core.urgent_hello(at_once=cause is not Taking.HANDED_OVER)
    announce_rounds(core, slot)
    note_view(core, slot)
    core.look((slot.vip,))


def _was_offered(slot: Slot) -> bool:
    """Whether the last owner wanted this node to have the IP, and only its RELEASE was lost."""
    return slot.took is not None and slot.took.giver == slot.previous[:2]


def _cause_of_claim(core: Core, slot: Slot) -> Taking:
    node, incarnation, _ = slot.previous
    if not node:
        return Taking.NEW
    if node == core.sender.node:
        return Taking.AGAIN
    peer = core.peers.by_key.get((node, incarnation))
    there = peer is not None and (peer.state is State.LEAVING or core.peers.is_live(peer, core.now))
    return Taking.RELEASED if there else Taking.SILENCE


def disown(core: Core, slot: Slot) -> None:
    """This node answers for the IP no more; the next hello, sent at once, does not list it."""
    slot.leave_phase()
    slot.previous = (core.sender.node, core.sender.incarnation, core.seq)
    slot.free_since = core.now
    core.agenda.cancel(Timer.SLOT, slot.vip)
    core.misplaced.discard(slot.vip)
    core.beside.discard(slot.vip)
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


def leads(core: Core, slot: Slot) -> bool:
    """Whether this node owns the first address of the Service that this IP is another address of."""
    return slot.view.beside in core.owned


def leading_peer(core: Core, slot: Slot) -> Peer | None:
    """The live peer that owns the first address of the Service, if it may own this IP, too."""
    first = core.by_address.get(slot.view.beside)
    if first is None or first.owned:
        return None
    peer = core.peers.owner(first.vip, core.now, isolated=core.isolated)
    if peer is None or not any(ids.node_id(each.node) == peer.node for each in slot.view.candidates):
        return None
    return peer


def leader(core: Core, address: bytes) -> Slot | None:
    """What to offer so that an address moves: the first address of its Service, if that is here, leads it."""
    named = core.by_address.get(address)
    first = core.by_address.get(named.view.beside) if named is not None else None
    return first if first is not None and first.owned else named


def note_view(core: Core, slot: Slot) -> None:
    """Remember what makes an IP of this node move: what `better_places` says, a Service's other address."""
    if slot.owned and slot.view.beside:
        core.beside.add(slot.vip)
    else:
        core.beside.discard(slot.vip)
    if slot.owned and better_places(core, slot)[1]:
        core.misplaced.add(slot.vip)
    else:
        core.misplaced.discard(slot.vip)


def better_places(core: Core, slot: Slot) -> tuple[Cause, list[str]]:
    """Where an IP of this node is rather to be, by its view, and why: as wished for; elsewhere than on a
    drained node; where the score is higher. No node: here is as good.
    """
    wish, mine = slot.view.wish, slot.view.candidate(core.node)
    if wish and wish != core.node:
        return Cause.WISH, [wish]
    if mine is None or wish:
        return Cause.SCORE, []
    others = [each for each in slot.view.candidates if each.node != core.node and not each.drained]
    if mine.drained:
        return Cause.DRAINED, [each.node for each in others]
    return Cause.SCORE, [each.node for each in others if each.score > mine.score]

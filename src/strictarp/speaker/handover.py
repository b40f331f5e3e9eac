"""Planned moves: the successor is named and ready before the owner stops.

OFFER to a seasoned candidate, its ACCEPT, then the owner stops and says RELEASE, and only that lets the
successor answer. Each frame may be lost: offers are repeated, and go to the next candidate. An owner that
must go while nobody is seasoned, as when all speakers are restarted at once, offers to the joining.
"""

from __future__ import annotations

from collections.abc import Sequence

from strictarp.hello import ids
from strictarp.hello.messages import Accept, Offer, Release, State
from strictarp.speaker import claims
from strictarp.speaker.actions import Finished, Kind, Taking
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Core
from strictarp.speaker.ownership import better_places, disown, leading_peer, leads, own
from strictarp.speaker.peers import Peer
from strictarp.speaker.presence import say_hello
from strictarp.speaker.slots import Accepted, Cause, Heir, Offering, Phase, Releasing, Slot

_PATIENT = frozenset({Cause.SCORE, Cause.WISH, Cause.DRAINED, Cause.TOGETHER})
"""What can wait for a node that is ready, and until there is one owner."""
_FORCED = frozenset({Cause.DRAIN, Cause.INELIGIBLE})
"""The owner cannot keep the IP."""


def consider(core: Core, slot: Slot) -> None:
    """Whether an own IP should be somewhere else; if so, offer it."""
    if slot.phase is not Phase.OWN:
        return
    if core.drain_until is not None:
        offer(core, slot, Cause.DRAIN)
    elif not slot.view.eligible:
        offer(core, slot, Cause.INELIGIBLE)
    elif core.now >= max(slot.move_after, slot.contested_until):
        _improve(core, slot)


def _improve(core: Core, slot: Slot) -> None:
    """Offer an IP that may stay to whom it should rather be with, if there is such a node."""
    leader = leading_peer(core, slot)
    cause, places = better_places(core, slot)
    if leader is not None and cause is not Cause.WISH:
        if leader.state is State.SEASONED:
            offer(core, slot, Cause.TOGETHER, to=(core.name_of(leader.node),))
    elif places and not (cause is Cause.SCORE and leads(core, slot)):
        offer(core, slot, cause, to=places)


def offer(core: Core, slot: Slot, cause: Cause, *, to: Sequence[str] | None = None) -> None:
    """Offer an own IP to the first live seasoned candidates: of those in `to`, where that is given. If none
    is seasoned and the owner cannot stay, to the joining ones.
    """
    found = [each.node for each in slot.view.candidates if each.node != core.node]
    known = [ids.node_id(each) for each in found if to is None or each in to]
    live = [target for target in known if core.peers.live_seasoned(target, core.now) is not None]
    if not live and cause in _PATIENT:
        return  # nobody of them is seasoned yet: a hello will tell
    if not live and cause in _FORCED:
        live = [target for target in known if _taker(core, target) is not None]
    slot.phase = Phase.OFFERING
    slot.offering = Offering(cause, live[: core.settings.offer_targets], slot.highest + 1)
    _say_offer(core, slot, slot.offering)


def _say_offer(core: Core, slot: Slot, offering: Offering) -> None:
    """The next OFFER, to the next target after some; when none is left, nobody takes it."""
    if offering.sent == core.settings.offers_each:
        offering.next_target()
    peer = _taker(core, offering.targets[0]) if offering.targets else None
    while offering.targets and peer is None:
        offering.next_target()
        peer = _taker(core, offering.targets[0]) if offering.targets else None
    if peer is None:
        _nobody_takes(core, slot, offering.cause)
        return
    if not offering.sent:
        offering.nonce = core.chance.getrandbits(32)
        offering.since = core.now
    offering.sent += 1
    core.say(Offer(slot.vip, offering.epoch, offering.nonce), to=peer.mac)
    core.agenda.set(Timer.SLOT, slot.vip, core.now + core.settings.offer)


def _taker(core: Core, node: int) -> Peer | None:
    """The live peer of a node, if it may take an IP: it is seasoned, or joining and has listened."""
    peer = core.peers.live_of(node, core.now)
    if peer is None or peer.state is State.SEASONED:
        return peer
    listened = core.now - peer.since >= core.settings.settle
    return peer if listened and peer.state is State.JOINING else None


def advance_offer(core: Core, slot: Slot) -> None:
    """No answer to the last OFFER."""
    if slot.offering is not None:
        _say_offer(core, slot, slot.offering)


def _nobody_takes(core: Core, slot: Slot, cause: Cause) -> None:
    _call_off(core, slot)
    if cause is Cause.INELIGIBLE:
        release_to_nobody(core, slot, cause.value)
        return
    if slot.move_after <= core.now:
        core.report(Kind.NOT_TAKEN, slot, detail=cause.value)
        slot.move_after = core.now + core.settings.move_retry


def withdraw_if_needless(core: Core, slot: Slot) -> None:
    """Offer no more what has no reason to move any longer. An ACCEPT that is under way comes to nothing."""
    offering = slot.offering
    if offering is None:
        return
    match offering.cause:
        case Cause.DRAIN:
            needless = core.drain_until is None
        case Cause.INELIGIBLE:
            needless = slot.view.eligible
        case Cause.SCORE | Cause.WISH | Cause.DRAINED as cause:
            why, places = better_places(core, slot)
            needless = why is not cause or not {ids.node_id(each) for each in places} >= {*offering.targets}
        case _:
            needless = False
    if needless:
        _call_off(core, slot)


def _call_off(core: Core, slot: Slot) -> None:
    core.agenda.cancel(Timer.SLOT, slot.vip)
    slot.offering = None
    slot.phase = Phase.OWN


def wait_for_one_owner(core: Core, slot: Slot) -> None:
    """Another owner was met: moves that can wait do so until all nodes have said hello to each other. Two
    owners that each hand the IP to where it is wished would move it twice.
    """
    slot.contested_until = core.now + 2 * core.interval
    if slot.offering is not None and slot.offering.cause in _PATIENT:
        _call_off(core, slot)


def hear_offer(core: Core, peer: Peer, message: Offer) -> None:
    """Take what a peer offers, if it is this node's to take; the answer decides nothing yet.

    It names a higher epoch than the offer where this node has seen that one: of a claim that came to nothing
    and that the owner did not hear, for example.
    """
    slot = core.slots.get(message.vip)
    if slot is None or not _can_take(core, slot, peer):
        return
    until = core.now + core.settings.accept
    epoch = max(message.epoch, slot.highest + 1)
    before = slot.took
    if before is not None and before.is_of(peer.key, message.nonce):
        # Said again, or read late by a process that was stopped: others may claim by now what was released.
        until, epoch = before.until, before.epoch
        if core.now > until or slot.highest >= epoch:
            return
    slot.phase = Phase.ACCEPTED
    slot.accepted = slot.took = Accepted(peer.key, epoch, message.nonce, until)
    core.waiting.discard(slot.vip)
    core.agenda.set(Timer.SLOT, slot.vip, until + 1)
    core.say(Accept(message.vip, epoch, message.nonce), to=peer.mac)


def _can_take(core: Core, slot: Slot, peer: Peer) -> bool:
    if core.drain_until is not None or not core.lease_holds or not slot.view.eligible:
        return False
    if not (core.seasoned or claims.may_join_in(core, slot)):
        return False
    if slot.phase not in (Phase.FREE, Phase.FOREIGN, Phase.ACCEPTED):
        return False
    if slot.accepted is not None and slot.accepted.giver != peer.key:
        return False
    if _leaves_to_others(core, slot, peer):
        return False
    return not core.peers.others_own(peer, slot.vip, core.now)


def _leaves_to_others(core: Core, slot: Slot, giver: Peer) -> bool:
    """A drained node takes an IP only when no other candidate but its giver is ready."""
    mine = slot.view.candidate(core.node)
    if mine is None or not mine.drained:
        return False
    others = {ids.node_id(each.node) for each in slot.view.candidates if not each.drained}
    ready = [core.peers.live_seasoned(node, core.now) for node in others - {giver.node}]
    return any(peer is not None for peer in ready)


def expire_accepted(core: Core, slot: Slot) -> None:
    """The RELEASE did not come in time: from now on only an ordinary claim."""
    slot.leave_phase()
    core.look((slot.vip,))


def hear_accept(core: Core, peer: Peer, message: Accept) -> None:
    """The successor is ready: stop first, then say so."""
    slot = core.slots.get(message.vip)
    offering = slot.offering if slot is not None else None
    if slot is None or offering is None or not offering.targets:
        return
    if message.nonce != offering.nonce or peer.node != offering.targets[0] or message.epoch < offering.epoch:
        return
    late = core.now - offering.since > core.settings.accept - 2 * core.settings.delay
    if late or message.epoch <= slot.highest:
        # Read late by a process that was stopped: the target's time runs out before a RELEASE gets there. Or
        # somebody, deaf perhaps, has claimed with this epoch meanwhile: who heard that does not take it.
        _offer_anew(core, slot, offering)
        return
    offering.epoch = message.epoch
    stop_and_release(core, slot, offering, peer)


def _offer_anew(core: Core, slot: Slot, offering: Offering) -> None:
    """With another nonce, which gives the target its whole time again, and above all epochs; once, or a slow
    segment never ends.
    """
    if not offering.anew:
        offering.anew = True
        offering.epoch = slot.highest + 1
        offering.sent = 0
        _say_offer(core, slot, offering)


def stop_and_release(core: Core, slot: Slot, offering: Offering, peer: Peer) -> None:
    """Hand the IP to `peer`, which accepted it."""
    disown(core, slot)
    slot.saw_epoch(offering.epoch)
    slot.penalty_until = core.now + core.settings.penalty
    slot.defer(core.now + core.settings.claim + core.interval)
    slot.releasing = Releasing(peer.node, offering.epoch, offering.nonce, core.now)
    _leave_to(core, slot, peer)
    core.report(Kind.HANDED_OVER, slot, node=peer.node, detail=offering.cause.value)
    _say_release(core, slot, slot.releasing)


def _say_release(core: Core, slot: Slot, releasing: Releasing) -> None:
    core.say(Release(slot.vip, releasing.epoch, releasing.nonce, releasing.to))
    repeats = core.settings.release_repeat
    if releasing.repeats < len(repeats):
        core.agenda.set(Timer.RELEASE, slot.vip, releasing.since + repeats[releasing.repeats])
        releasing.repeats += 1
    else:
        slot.releasing = None


def repeat_release(core: Core, slot: Slot) -> None:
    """Say RELEASE again, unless the target's hello lists the IP by now."""
    releasing = slot.releasing
    if releasing is None:
        return
    owner = core.peers.owner(slot.vip, core.now, isolated=core.isolated)
    if owner is not None and owner.node == releasing.to:
        slot.releasing = None
        return
    _say_release(core, slot, releasing)


def release_to_nobody(core: Core, slot: Slot, why: str) -> None:
    """Stop answering; whoever may takes the IP by an ordinary claim."""
    disown(core, slot)
    slot.penalty_until = core.now + core.settings.penalty
    slot.defer(core.now + core.settings.claim + core.interval)
    core.report(Kind.RELEASED, slot, detail=why)
    core.say(Release(slot.vip, slot.epoch, 0, 0))


def hear_release(core: Core, peer: Peer, message: Release, seq: int) -> None:
    """An owner has stopped: go on in its place if it named this node in time, else leave room for its
    successor. No HELLO that it sent before counts any more.
    """
    core.peers.drop(peer, message.vip)
    peer.window.hello = max(peer.window.hello, seq)
    slot = core.slots.get(message.vip)
    if slot is None or slot.owned:
        return
    accepted = slot.accepted
    if message.to == core.sender.node and accepted is not None and _may_take_now(core, slot, peer, message):
        slot.previous = (peer.node, peer.key[1], max(peer.hello_seq, 0))
        own(core, slot, accepted.epoch, Taking.HANDED_OVER)
        return
    slot.saw_epoch(message.epoch)
    if message.to not in (0, core.sender.node) and slot.phase is not Phase.CLAIMING:
        slot.defer(core.now + core.settings.claim)
        heir = core.peers.live_of(message.to, core.now)
        if heir is not None:
            _leave_to(core, slot, heir)
    core.look((message.vip,))


def _leave_to(core: Core, slot: Slot, heir: Peer) -> None:
    """Its hello that lists the IP may be kept back for a moment, or its process be stopped before."""
    slot.heir = Heir(heir.key, core.now + core.settings.accept + 2 * core.settings.delay)


def _may_take_now(core: Core, slot: Slot, peer: Peer, message: Release) -> bool:
    accepted = slot.accepted
    return (
        accepted is not None
        and core.now <= accepted.until
        and core.lease_holds
        and slot.view.eligible
        and accepted.is_of(peer.key, message.nonce)
        and slot.highest < accepted.epoch == message.epoch
    )


def begin_drain(core: Core, *, leave: bool) -> None:
    """Hand everything over; claims of this node end here.

    What it has accepted it takes, and hands on: its giver may have stopped already.
    """
    core.leave_after_drain |= leave
    if core.drain_until is None:
        core.drain_until = core.now + core.settings.drain_grace
        core.seasoned = False
        core.agenda.set(Timer.DRAIN, 0, core.drain_until)
        for slot in core.slots.values():
            if slot.phase is Phase.CLAIMING:
                slot.leave_phase()
                core.agenda.cancel(Timer.SLOT, slot.vip)
        core.urgent_hello(at_once=True)
    core.look(core.slots)
    finish_drain(core)


def end_drain(core: Core) -> None:
    """The node stays: it may own again once it is seasoned anew."""
    if core.drain_until is None or core.leave_after_drain:
        return
    core.drain_until = None
    core.drained = False
    core.agenda.cancel(Timer.DRAIN, 0)
    core.joined_at = core.now if core.joined_at is not None else None
    for slot in core.owned.values():
        withdraw_if_needless(core, slot)
    core.urgent_hello(at_once=True)
    core.look(core.slots)


def drain_time_is_up(core: Core) -> None:
    """What nobody took is given up."""
    for slot in list(core.owned.values()):
        release_to_nobody(core, slot, "nobody took it before the end of the drain")
    finish_drain(core)


def finish_drain(core: Core) -> None:
    """Say so once nothing is owned, nor accepted, and each RELEASE has been heard, or been said often."""
    if core.drain_until is None or core.drained or core.owned:
        return
    if any(slot.releasing is not None or slot.phase is Phase.ACCEPTED for slot in core.slots.values()):
        return
    core.drained = True
    core.agenda.cancel(Timer.DRAIN, 0)
    core.report(Kind.DRAINED)
    if core.leave_after_drain:
        core.leaving = True
        say_hello(core)
        core.left = True
    core.told.append(Finished())

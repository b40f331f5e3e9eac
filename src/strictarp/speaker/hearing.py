"""Frames of the other speakers: who may be believed, and what their hellos change."""

from __future__ import annotations

from strictarp.hello import frames, ids
from strictarp.hello.frames import Frame, FrameError, Verdict
from strictarp.hello.messages import (
    Accept,
    Challenge,
    Claim,
    Hello,
    Offer,
    Release,
    Response,
    Spent,
    State,
    Sync,
    SyncRequest,
    Witness,
)
from strictarp.speaker import claims, handover, syncing
from strictarp.speaker.actions import Kind
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Core, Pending
from strictarp.speaker.ownership import disown, enforce
from strictarp.speaker.peers import Peer
from strictarp.speaker.presence import hear_anything
from strictarp.speaker.slots import Phase, Slot

_FOREIGN = Phase.FOREIGN
_NONCE_LENGTH = 8
_MOST_PENDING = 512


def hear(core: Core, data: bytes) -> None:
    """A frame of our EtherType. A malformed, foreign, forged or repeated one is counted, nothing else."""
    if core.keys is None:
        return
    try:
        frame = frames.decode(data, core.sender.cluster, core.keys)
    except FrameError as error:
        core.counters[error.verdict] += 1
        if data[6:12] != core.mac and len(data) >= 14:
            hear_anything(core)
        return
    if frame.source == core.mac:  # no socket here hears what it sends
        core.counters[Verdict.REPLAYED] += 1
        return
    hear_anything(core)
    peer = core.peers.by_key.get((frame.node, frame.incarnation))
    message = frame.message
    if peer is not None and isinstance(message, Hello):
        hear_hello(core, peer, frame, message)
        return
    if frame.node == core.sender.node:
        core.counters[Verdict.OWN_NODE] += 1
        if core.counters[Verdict.OWN_NODE] == 1:
            core.report(Kind.SAME_NAME, mac=frame.source, detail="another speaker has this node's name")
        return
    if isinstance(message, Spent):
        return  # from a proxy to a proxy
    if isinstance(message, Challenge):
        _answer_challenge(core, frame, message)
    elif peer is None:
        _hear_unproven(core, frame)
    elif peer.window.accept(frame.seq):
        _hear_other(core, peer, frame)
    else:
        core.counters[Verdict.REPLAYED] += 1


def _hear_other(core: Core, peer: Peer, frame: Frame) -> None:
    match frame.message:
        case Claim() as message:
            claims.hear_claim(core, peer, frame, message)
        case Witness() as message:
            claims.hear_witness(core, message)
        case Offer() as message:
            handover.hear_offer(core, peer, message)
        case Accept() as message:
            handover.hear_accept(core, peer, message)
        case Release() as message:
            handover.hear_release(core, peer, message, frame.seq)
        case SyncRequest() as message:
            syncing.answer_request(core, peer, message)
        case Sync() as message:
            syncing.take_page(core, peer, message)
        case _:
            pass  # a Response that nobody waits for any more


def _answer_challenge(core: Core, frame: Frame, message: Challenge) -> None:
    """Prove that this incarnation lives. The lease holds here, or the step would have begun anew."""
    if core.last_hello is not None:
        core.say(Response(message.nonce), to=frame.source)
        core.urgent_hello()


def _hear_unproven(core: Core, frame: Frame) -> None:
    """An incarnation that this node does not know: absent until it answers a fresh nonce, because its
    frames may be a recording.
    """
    key = (frame.node, frame.incarnation)
    if isinstance(frame.message, Hello):
        core.counters[Verdict.UNPROVEN] += 1
        pending = core.pending.get(key)
        if pending is None:
            if len(core.pending) >= _MOST_PENDING:
                del core.pending[next(iter(core.pending))]
            pending = core.pending[key] = Pending(core.chance.randbytes(_NONCE_LENGTH))
        if pending.hello is None or frame.seq > pending.hello.seq:
            pending.hello = frame
        if pending.asked is None or core.now - pending.asked >= core.settings.urgent:
            pending.asked = core.now
            core.say(Challenge(pending.nonce), to=frame.source)
        return
    pending = core.pending.get(key)
    if isinstance(frame.message, Response) and pending is not None and frame.message.nonce == pending.nonce:
        del core.pending[key]
        peer = core.peers.add(key, frame.source, core.now)
        peer.window.accept(frame.seq)
        if pending.hello is not None and isinstance(pending.hello.message, Hello):
            hear_hello(core, peer, pending.hello, pending.hello.message)
        return
    core.counters[Verdict.UNPROVEN] += 1


def hear_hello(core: Core, peer: Peer, frame: Frame, hello: Hello) -> None:
    """A proven peer lives, and owns what it lists."""
    if not peer.window.accept_hello(frame.seq):
        core.counters[Verdict.REPLAYED] += 1
        return
    was_live = core.peers.is_live(peer, core.now)
    was_isolated = peer.isolated
    before = peer.state
    _count_hello(core, peer)
    core.peers.take_head(peer, hello, core.now)
    peer.hello_seq = frame.seq
    peer.mac = frame.source
    core.macs[frame.source] = frame.node
    core.heard_ever.add(frame.node)
    syncing.take_list(core, peer, hello)
    if before is State.SEASONED and (peer.state is not before or peer.isolated > was_isolated):
        _miss_seasoned(core)
    if hello.state is State.LEAVING:
        _say_goodbye(core, peer)
        return
    if not was_live:
        core.urgent_hello()
        core.report(Kind.PEER_HEARD, node=peer.node, mac=peer.mac)
        peer.silent_reported = False
        core.look(peer.owned)
        if (Timer.PEER, peer.number) not in core.agenda:
            core.agenda.set(Timer.PEER, peer.number, peer.heard + peer.silence)
    if peer.isolated != was_isolated:
        core.look(peer.owned)
    if peer.state is State.SEASONED and before is not State.SEASONED:
        core.look(core.misplaced)
    _meet_list(core, peer)


def _count_hello(core: Core, peer: Peer) -> None:
    """Hellos come no further apart than h and its jitter, so a wider gap tells how many were lost."""
    core.hellos[peer.node] += 1
    interval = peer.interval
    missing = (core.now - peer.heard + interval // 2) // interval - 1 if interval else 0
    if missing > 0:
        core.hellos_lost[peer.node] += missing


def _say_goodbye(core: Core, peer: Peer) -> None:
    core.look(peer.owned)
    core.report(Kind.PEER_LEFT, node=peer.node)
    core.agenda.cancel(Timer.PEER, peer.number)


def _meet_list(core: Core, peer: Peer) -> None:
    """What this node owns or claims, and the peer lists."""
    slots = core.slots
    for vip, epoch in peer.owned.items():
        slot = slots.get(vip)
        if slot is None:
            continue
        if epoch > slot.highest:
            slot.saw_epoch(epoch)
        if slot.phase is _FOREIGN:
            continue
        if slot.owned:
            _meet_owner(core, slot, peer, epoch)
        elif slot.phase is Phase.CLAIMING and (core.isolated or not peer.isolated):
            claims.abort(core, slot, "its owner says hello", hold=peer.silence, node=peer.node)


def _meet_owner(core: Core, slot: Slot, peer: Peer, epoch: int) -> None:
    """Two owners, after a partition: the higher epoch goes on, then the lower rank. Rank alone would give
    the IP back to the old owner, a second move.
    """
    mine = (-slot.epoch, ids.tie_rank(core.sender.node, slot.vip))
    theirs = (-epoch, ids.tie_rank(peer.node, slot.vip))
    slot.saw_epoch(epoch)
    if theirs < mine:
        disown(core, slot)
        slot.penalty_until = core.now + core.settings.penalty
        core.report(Kind.YIELDED, slot, node=peer.node, mac=peer.mac)
        return
    core.report(Kind.CONTESTED, slot, node=peer.node, mac=peer.mac)
    handover.wait_for_one_owner(core, slot)
    core.urgent_hello()
    enforce(core, slot)


def next_deadline(core: Core) -> int | None:
    """The earliest time on the agenda. A peer's silence is put off here, when its time comes up: not with
    each of its hellos, and without a wake-up.
    """
    agenda = core.agenda
    while (first := agenda.next()) is not None:
        time, (timer, number) = first
        peer = core.peers.by_number.get(number) if timer is Timer.PEER else None
        if peer is None or peer.heard + peer.silence == time:
            return time
        agenda.set(Timer.PEER, number, peer.heard + peer.silence)
    return None


def fall_silent(core: Core, number: int) -> None:
    """The exact time at which a peer's silence makes it absent."""
    peer = core.peers.by_number.get(number)
    if peer is None:
        return
    due = peer.heard + peer.silence
    if due > core.now:
        core.agenda.set(Timer.PEER, number, due)
        return
    if not peer.silent_reported:
        peer.silent_reported = True
        core.report(Kind.PEER_SILENT, node=peer.node, mac=peer.mac, micros=core.now - peer.heard)
    core.unsynced.discard(peer)
    core.look(peer.owned)
    if peer.state is State.SEASONED:
        _miss_seasoned(core)


def _miss_seasoned(core: Core) -> None:
    """A joining node left what is free to the seasoned; this may have been the last of them."""
    if not core.seasoned:
        core.look(core.some_waiting())

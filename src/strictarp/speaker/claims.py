"""Claiming a free IP: ask the wire and the other speakers three times, then own it, unless one objects."""

from __future__ import annotations

from collections.abc import Sequence

from strictarp.arp.frames import MARK_LENGTH
from strictarp.hello import ids
from strictarp.hello.frames import Frame
from strictarp.hello.messages import MAX_CLAIM_ENTRIES, Claim, Entry, State, Witness
from strictarp.speaker import resolution
from strictarp.speaker.actions import Kind
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Core
from strictarp.speaker.ownership import leading_peer, leads, own
from strictarp.speaker.peers import Peer
from strictarp.speaker.presence import may_claim
from strictarp.speaker.settings import MS
from strictarp.speaker.slots import Claiming, Phase, Slot

PROBES = 3
_PROBE_STEP = (3, 10)
"""Probes at 0, 30 and 60 % of the claim time: the last one leaves 2 D for its answer."""


def may_claim_slot(core: Core, slot: Slot) -> bool:
    """Whether this node may claim this IP at all, now."""
    if not slot.view.eligible or not may_claim(core):
        return False
    if not core.seasoned and _any_seasoned(core, slot):
        return False
    return not _waits_for_deaf(core, slot)


def may_join_in(core: Core, slot: Slot) -> bool:
    """Whether a joining node may be handed this IP: it has listened, and nobody seasoned lives."""
    listened = core.joined_at is not None and core.now - core.joined_at >= core.settings.settle
    return listened and may_claim_slot(core, slot)


def _any_seasoned(core: Core, slot: Slot) -> bool:
    """Of thousands of IPs that wait in a cold cluster each asks this at each hello: it must cost nothing."""
    if core.seasoned_peers is None:
        peers = [(node, _live_peer(core, node)) for node in core.peers.by_node]
        core.seasoned_peers = {
            node for node, peer in peers if peer is not None and peer.state is State.SEASONED
        }
    found = core.seasoned_peers
    return bool(found) and any(ids.node_id(each.node) in found for each in slot.view.candidates)


def _live_candidate(core: Core, node: str) -> Peer | None:
    return _live_peer(core, ids.node_id(node))


def _live_peer(core: Core, node: int) -> Peer | None:
    """The live peer of a node, if it may claim: one that calls itself isolated cannot."""
    peer = core.peers.live_of(node, core.now)
    return peer if peer is not None and (core.isolated or not peer.isolated) else None


def _waits_for_deaf(core: Core, slot: Slot) -> bool:
    """Whether a better candidate lives by the API but was never heard here: it may own the IP, and only
    its Lease or the API can say that it is gone.
    """
    for candidate in slot.view.candidates:
        if candidate.node == core.node:
            return False
        member = core.view.members.get(candidate.node)
        if member is not None and not member.not_ready and ids.node_id(member.node) not in core.heard_ever:
            return True
    return False


def start_time(core: Core, slot: Slot) -> int:
    """When this node's turn comes: a slot for each live candidate that goes first. By then a joining node has
    listened for `settle`.
    """
    first = _going_first(core, slot)
    since = slot.free_since if slot.free_since is not None else core.now
    if not core.seasoned:
        since = max(since, _cold_start(core, first))
    slots = len(first)
    if first and core.now < slot.penalty_until:
        slots += 1  # one of them may leave a slot to this node, not knowing of its penalty
    return max(since + slots * core.settings.slot, slot.defer_until)


def _cold_start(core: Core, first: Sequence[Peer]) -> int:
    """When a cluster without any seasoned node may begin: those that go first must have settled, too, so that
    nodes started one after another still begin in order. One that starts again and again is not waited for.
    """
    joined = core.joined_at if core.joined_at is not None else core.now
    settle = core.settings.settle
    latest = max([peer.since for peer in first], default=joined)
    return min(max(joined, latest), joined + settle) + settle


def _going_first(core: Core, slot: Slot) -> list[Peer]:
    """Live candidates of this node's standing that order before it; with a penalty, all of them. Who owns the
    Service's first address goes before all.

    A joining node meets no seasoned one here, so it counts the joining: a cold cluster starts in order.
    """
    if leads(core, slot):
        return []
    found = []
    leader = leading_peer(core, slot)
    penalised = core.now < slot.penalty_until
    for candidate in slot.view.candidates:
        if candidate.node == core.node:
            if not penalised:
                break
            continue
        peer = _live_candidate(core, candidate.node)
        if peer is not None and peer.state is core.state:
            found.append(peer)
    if leader is not None and leader.state is core.state and leader not in found:
        found.append(leader)
    return found


def begin(core: Core, slot: Slot) -> None:
    """Claim the IP with the next epoch."""
    slot.phase = Phase.CLAIMING
    slot.epoch = slot.highest + 1
    slot.saw_epoch(slot.epoch)
    slot.claiming = Claiming(core.now, core.chance.randbytes(MARK_LENGTH))
    core.waiting.discard(slot.vip)
    core.report(Kind.CLAIM_STARTED, slot, node=slot.previous[0])
    _ask(core, slot, slot.claiming)


def _ask(core: Core, slot: Slot, claiming: Claiming) -> None:
    _say_claim(core, slot)
    nonce = claiming.nonce if any(claiming.nonce) else b"\1" * MARK_LENGTH
    core.probes.append(resolution.probe(core.mac, slot.address, nonce=nonce))
    core.asks_gateway = True
    claiming.probes += 1
    if claiming.probes == PROBES:
        due = claiming.started + core.settings.claim
    else:
        due = claiming.started + core.settings.claim * claiming.probes * _PROBE_STEP[0] // _PROBE_STEP[1]
    core.agenda.set(Timer.SLOT, slot.vip, due)


def _say_claim(core: Core, slot: Slot) -> None:
    node, incarnation, seq = slot.previous
    peer = core.peers.by_key.get((node, incarnation))
    if peer is not None:
        seq = peer.hello_seq
    core.claims.setdefault((node, incarnation, max(seq, 0)), []).append(Entry(slot.vip, slot.epoch))


def advance(core: Core, slot: Slot, due: int) -> None:
    """The claim's time has come: ask again, or own. due: when it should have been."""
    claiming = slot.claiming
    if claiming is None:
        return
    if claiming.probes < PROBES:
        _ask(core, slot, claiming)
        return
    late = core.now - due
    if late > core.settings.late:
        # Frames that object may still wait in a socket of a process that was stopped.
        core.report(Kind.CLAIM_LATE, slot, micros=late)
        slot.leave_phase()
        core.look((slot.vip,))
        if may_claim_slot(core, slot):
            begin(core, slot)
        return
    # Another node that became seasoned meanwhile is no reason: nobody else is further than this claim.
    if not slot.view.eligible or not may_claim(core) or _waits_for_deaf(core, slot):
        abort(core, slot, "no longer eligible")
    elif _is_alone(core, claiming):
        core.report(Kind.CLAIM_ALONE, slot)
        abort(core, slot, "neither a peer nor the gateway is heard", hold=core.interval)
    else:
        for mac in claiming.kernels:
            core.report(Kind.KERNEL_ANSWERS, slot, node=core.node_of(mac) or 0, mac=mac)
            slot.spoke[mac] = core.now
        own(core, slot, slot.epoch)


def _is_alone(core: Core, claiming: Claiming) -> bool:
    """Whether the wire may be dead, rather than the owner: nobody that must be there was heard."""
    if not core.expects_peers:
        return False
    if core.heard_any is not None and core.heard_any < claiming.started - core.interval // 2:
        return True  # longer than any live peer leaves between two hellos: this node has gone deaf
    if core.peers.any_live(core.now):
        return False
    heard = core.gateway_answered if core.gateways_to_ask else core.heard_stranger
    return heard is None or heard < claiming.started


def abort(core: Core, slot: Slot, why: str, *, hold: int = 0, node: int = 0) -> None:
    """Give the claim up, for at least `hold` µs."""
    core.report(Kind.CLAIM_LOST, slot, node=node, detail=why)
    slot.leave_phase()
    slot.defer(core.now + hold)
    core.agenda.cancel(Timer.SLOT, slot.vip)
    core.look((slot.vip,))


def hear_claim(core: Core, peer: Peer, frame: Frame, claim: Claim) -> None:
    """Another node claims: rules 5 and 6."""
    witnessed: dict[Peer, list[Entry]] = {}
    for entry in claim.entries:
        slot = core.slots.get(entry.vip)
        if slot is None:
            continue
        if slot.owned:
            slot.saw_epoch(entry.epoch)
            core.urgent_hello()
        elif peer.isolated and not core.isolated:
            # It hears nobody, so it never ends a claim, and would stop those of others for ever.
            slot.saw_epoch(entry.epoch)
        elif slot.phase is Phase.CLAIMING:
            _compete(core, slot, peer, entry.epoch)
        else:
            slot.saw_epoch(entry.epoch)
            owner = core.peers.owner(entry.vip, core.now, isolated=core.isolated)
            if owner is not None and owner is not peer and _is_news(owner, claim):
                witnessed.setdefault(owner, []).append(Entry(entry.vip, owner.owned[entry.vip]))
            else:
                _give_way(core, slot)
    for owner, entries in witnessed.items():
        _say_witness(core, frame.source, owner, entries)


def _is_news(owner: Peer, claim: Claim) -> bool:
    """Whether the claimant misses a hello of this owner. By sequence number: an age says nothing about
    what the claimant has heard, and would stop the rightful claim after a crash again and again.
    """
    same = owner.key == (claim.previous, claim.previous_incarnation)
    return not same or owner.hello_seq > claim.highest_seq


def _compete(core: Core, slot: Slot, peer: Peer, epoch: int) -> None:
    """Two claims: the higher epoch, then the lower rank, nothing from the API, so that both agree."""
    mine = (-slot.epoch, ids.tie_rank(core.sender.node, slot.vip))
    theirs = (-epoch, ids.tie_rank(peer.node, slot.vip))
    slot.saw_epoch(epoch)
    if theirs < mine:
        abort(core, slot, "a better claim", hold=_claim_hold(core), node=peer.node)
    else:
        _say_claim(core, slot)


def _give_way(core: Core, slot: Slot) -> None:
    slot.defer(core.now + _claim_hold(core))
    core.look((slot.vip,))


def _claim_hold(core: Core) -> int:
    return core.settings.claim + core.interval // 2


def _say_witness(core: Core, to: bytes, owner: Peer, entries: Sequence[Entry]) -> None:
    age = (core.now - owner.heard) // MS
    for start in range(0, len(entries), MAX_CLAIM_ENTRIES):
        part = tuple(entries[start : start + MAX_CLAIM_ENTRIES])
        core.say(Witness(*owner.key, max(owner.hello_seq, 0), age, part), to=to)


def hear_witness(core: Core, witness: Witness) -> None:
    """Somebody heard the owner of what this node claims."""
    owner = core.peers.by_key.get((witness.owner, witness.incarnation))
    heard = core.now - witness.age_ms * MS
    silence = owner.silence if owner is not None else core.settings.silence
    if owner is not None and witness.seq > owner.hello_seq and heard > owner.heard:
        owner.heard = heard
        core.agenda.set(Timer.PEER, owner.number, heard + silence)
    for entry in witness.entries:
        slot = core.slots.get(entry.vip)
        if slot is None or slot.phase is not Phase.CLAIMING or witness.owner == core.sender.node:
            continue
        slot.saw_epoch(entry.epoch)
        core.report(Kind.WITNESSED, slot, node=witness.owner, micros=witness.age_ms * MS)
        abort(
            core, slot, "its owner was heard", hold=max(0, silence - (core.now - heard)), node=witness.owner
        )

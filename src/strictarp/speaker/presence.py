"""This node's own presence: hellos, the lease that hangs on them, seasoning, isolation, draining's end."""

from __future__ import annotations

from strictarp.hello.frames import Sender
from strictarp.hello.messages import Hello, State
from strictarp.speaker.actions import DiscardQueued, Disowned, Kind
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Core
from strictarp.speaker.settings import MINUTE, MS
from strictarp.speaker.syncing import entries_to_tell

_TELLINGS = 4
"""Hellos that tell a longer interval before it takes effect: peers must know it before they need it."""


def lose_stale_lease(core: Core) -> bool:
    """Rule 1, the first line of every step: a node that was silent for its lease starts from nothing.

    Others may own its IPs by now. The same for one that was stopped amid the actions of its last step: a
    hello that it counts as said was not. Returns whether that happened.
    """
    if core.last_hello is None or (core.lease_holds and not core.stalled):
        return False
    start_over(core, core.now - core.last_hello)
    return True


def start_over(core: Core, micros: int) -> None:
    """Own nothing, know nobody, be somebody new. micros: how long since the last hello."""
    core.out.append(DiscardQueued())
    core.report(Kind.FROZEN, micros=micros, detail=f"{len(core.owned)} IPs given up")
    for slot in core.owned.values():
        core.told.append(Disowned(slot.address))
    for slot in core.slots.values():
        slot.leave_phase()
        slot.free_since = None
        slot.releasing = None
    core.owned.clear()
    core.misplaced.clear()
    core.beside.clear()
    core.set_hash = 0
    core.set_version = 0
    core.changes.clear()
    core.unsynced.clear()
    core.peers.clear()
    core.pending.clear()
    core.claims.clear()
    core.probes.clear()
    core.announcements.clear()
    core.asked.clear()
    core.to_audit.clear()
    core.answerers.clear()
    core.unanswered_since.clear()
    for timer in (Timer.PEER, Timer.SLOT, Timer.RELEASE, Timer.ANNOUNCE, Timer.HELLO):
        core.agenda.cancel_all(timer)
    core.sender = Sender(core.sender.cluster, core.sender.node, core.chance.getrandbits(64))
    core.seq = 0
    core.failures = [time for time in core.failures if core.now - time < 60 * MINUTE] + [core.now]
    core.seasoned = False
    core.joined_at = core.now if core.speaking else None
    core.last_hello = None
    core.lease_end = -1
    core.stalled = False
    core.isolated = False
    core.heard_any = core.now
    core.interval = core.settings.told_interval(len(core.names))
    core.longer_told = 0
    core.ticked = core.now
    core.urgent_hello(at_once=True)
    core.look(core.slots)


def begin(core: Core) -> None:
    """There is a link and a key: say hello, if this is new."""
    if core.settings.refresh and (Timer.REFRESH, 0) not in core.agenda:
        core.agenda.set(Timer.REFRESH, 0, core.now + core.settings.refresh)
    if core.speaking and core.last_hello is None:
        core.joined_at = core.now
        core.heard_any = core.now
        core.ticked = core.now
        core.urgent_hello(at_once=True)


def flush_hello(core: Core) -> None:
    """Say the hello that the step asked for, or put it off until `settings.urgent` has passed."""
    if not core.wants_hello:
        return
    allowed = 0 if core.last_hello is None else core.last_hello + core.settings.urgent
    if core.wants_hello_at_once or core.now >= allowed:
        say_hello(core)
    else:
        core.agenda.set(Timer.URGENT, 0, allowed)
    core.wants_hello = core.wants_hello_at_once = False


def say_hello(core: Core) -> None:
    """One hello, and the time of the next. Only here the lease is renewed; without a link it runs out."""
    if core.joined_at is None:
        return
    if core.speaking:
        told = _interval_to_tell(core)
        entries, gone = entries_to_tell(core)
        owned = len(core.owned)
        core.say(
            Hello(
                core.state, core.isolated, told // MS, owned, core.set_version, core.set_hash, entries, gone
            )
        )
        core.last_hello = core.now
        core.lease_end = core.now + core.lease
    core.agenda.cancel(Timer.URGENT, 0)
    spread = core.interval * core.settings.jitter_permille // 1_000
    due = core.now + core.interval + core.chance.randint(-spread, spread)
    # Urgent hellos put the regular one off, but not its tick: who provokes them must not stop this node.
    core.agenda.set(Timer.HELLO, 0, min(due, core.ticked + 2 * core.interval))


def _interval_to_tell(core: Core) -> int:
    """h as the next hello tells it. A shorter one takes effect at once, a longer one after some tellings."""
    told = core.settings.told_interval(len(core.names))
    if told <= core.interval:
        core.interval = told
        core.longer_told = 0
        return told
    core.longer_told += 1
    if core.longer_told > _TELLINGS:
        core.interval = told
        core.longer_told = 0
    return told


def tick(core: Core) -> None:
    """What the own hello's time is also good for: seasoning, isolation, silent peers long gone."""
    core.ticked = core.now
    _season(core)
    _isolate(core)
    forgotten = core.now - core.settings.remember
    for peer in [peer for peer in core.peers.by_key.values() if peer.heard < forgotten]:
        core.peers.forget(peer)
        core.unsynced.discard(peer)


def season_time(core: Core) -> int:
    """J: doubled for each failure within the hour, up to a limit."""
    recent = sum(core.now - time < 60 * MINUTE for time in core.failures)
    return min(core.settings.season << min(recent, 10), max(core.settings.season, core.settings.season_most))


def _season(core: Core) -> None:
    if core.seasoned or core.joined_at is None or core.drain_until is not None:
        return
    if core.now - core.joined_at >= season_time(core):
        core.seasoned = True
        core.report(Kind.SEASONED)
        core.look(core.waiting)


def _isolate(core: Core) -> None:
    quiet = core.now - core.heard_any if core.heard_any is not None else 0
    if quiet > core.silence:
        core.asks_gateway = True
    isolated = core.expects_peers and quiet > core.settings.isolation
    if isolated and not core.isolated:
        core.report(Kind.ISOLATED, micros=quiet)
    elif core.isolated and not isolated:
        core.report(Kind.CONNECTED)
    core.isolated = isolated


def hear_anything(core: Core) -> None:
    """A frame of any kind came from another MAC."""
    core.heard_any = core.now
    if core.isolated:
        core.isolated = False
        core.report(Kind.CONNECTED)
        core.urgent_hello()


def may_claim(core: Core) -> bool:
    """Whether the state of this node allows any claim; a joining one has more to ask (`claims`)."""
    return core.lease_holds and core.state in (State.JOINING, State.SEASONED)

"""One entry of a Linux neighbour table over time, as a machine without a clock. Pure.

After Linux net/core/neighbour.c: neigh_update, __neigh_event_send, neigh_timer_handler, neigh_probe. Times
are seconds of any clock, and `now` is an argument. Each verb returns the entry as it is afterwards, and the
requests that the kernel sends; `due` tells when `expire` is to be called.
"""

from __future__ import annotations

import enum

import msgspec

from strictarp.arp.frames import BROADCAST_MAC, NO_MAC


class State(enum.StrEnum):
    """NUD states, by the words of iproute2."""

    NONE = "NONE"
    INCOMPLETE = "INCOMPLETE"
    REACHABLE = "REACHABLE"
    STALE = "STALE"
    DELAY = "DELAY"
    PROBE = "PROBE"
    FAILED = "FAILED"
    NOARP = "NOARP"
    PERMANENT = "PERMANENT"


_FIXED = (State.NOARP, State.PERMANENT)
_CONNECTED = (State.REACHABLE, *_FIXED)
_VALID = (*_CONNECTED, State.STALE, State.DELAY, State.PROBE)


class Timing(msgspec.Struct, frozen=True):
    """Values of net.ipv4.neigh, seconds and counts.

    reachable: what the kernel drew from half to one and a half of base_reachable_time.
    """

    locktime: float = 1.0
    reachable: float = 30.0
    delay_first_probe: float = 5.0
    retransmit: float = 1.0
    unicast_probes: int = 3
    multicast_probes: int = 3
    multicast_reprobes: int = 0


DEFAULT_TIMING = Timing()


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A request leaves. to: Ethernet destination. source: that of the packet that waits last, 0 for none."""

    to: bytes
    source: int = 0


class Entry(msgspec.Struct, frozen=True):
    """What the kernel knows of a neighbour. due: when its timer runs out, None without one.

    waiting: source addresses of the packets in its queue.
    """

    updated: float
    state: State = State.NONE
    mac: bytes = NO_MAC
    confirmed: float = float("-inf")
    used: float = float("-inf")
    probes: int = 0
    due: float | None = None
    waiting: tuple[int, ...] = ()

    @property
    def valid(self) -> bool:
        """Packets can be sent to its MAC."""
        return self.state in _VALID


Outcome = tuple[Entry, tuple[Ask, ...]]


def is_open(entry: Entry, now: float, timing: Timing) -> bool:
    """The locktime after its last real change is over: another MAC is taken."""
    return now > entry.updated + timing.locktime


def update(
    entry: Entry, mac: bytes, state: State, now: float, *, override: bool, timing: Timing = DEFAULT_TIMING
) -> Entry:
    """A frame told the MAC (neigh_update). state: REACHABLE or STALE.

    A different MAC without `override` changes nothing. A refresh with the same MAC does not extend the lock.
    """
    if entry.state in _FIXED:
        return entry
    same = entry.valid and mac == entry.mac
    if state is State.REACHABLE:
        # Even a frame whose MAC is not taken confirms, when it is a reply to us.
        entry = msgspec.structs.replace(entry, confirmed=now)
    if entry.valid and not same and not override:
        return entry
    if same and state in (State.STALE, entry.state):
        return entry
    due = entry.due
    if state is not entry.state:
        due = now + timing.reachable if state is State.REACHABLE else None
    confirmed = entry.confirmed
    if not same and state is not State.REACHABLE:
        confirmed = now - 2 * timing.reachable
    return msgspec.structs.replace(
        entry, updated=now, state=state, mac=mac, due=due, confirmed=confirmed, waiting=(), probes=0
    )


def use(entry: Entry, now: float, *, source: int = 0, timing: Timing = DEFAULT_TIMING) -> Outcome:
    """A packet with this source address is to be sent (neigh_event_send)."""
    entry = msgspec.structs.replace(entry, used=now)
    if entry.state is State.STALE:
        due = now + timing.delay_first_probe
        return msgspec.structs.replace(entry, state=State.DELAY, updated=now, due=due), ()
    if entry.state is State.INCOMPLETE:
        return msgspec.structs.replace(entry, waiting=(*entry.waiting, source)), ()
    if entry.valid:
        return entry, ()
    entry = msgspec.structs.replace(
        entry,
        state=State.INCOMPLETE,
        updated=now,
        probes=timing.unicast_probes,
        waiting=(source,),
        due=now + timing.retransmit,
    )
    return _probe(entry, timing)


def _probe(entry: Entry, timing: Timing) -> Outcome:
    """arp_solicit: unicast first, to the MAC that is known, then broadcast."""
    to = entry.mac if entry.probes < timing.unicast_probes else BROADCAST_MAC
    source = entry.waiting[-1] if entry.waiting else 0
    return msgspec.structs.replace(entry, probes=entry.probes + 1), (Ask(to, source),)


def expire(entry: Entry, now: float, *, timing: Timing = DEFAULT_TIMING) -> Outcome:
    """Its timer ran out (neigh_timer_handler); nothing happens before `due`."""
    if entry.due is None or now < entry.due:
        return entry, ()
    if entry.state is State.REACHABLE:
        return _leave_reachable(entry, now, timing), ()
    if entry.state is State.DELAY:
        if now <= entry.confirmed + timing.delay_first_probe:
            due = entry.confirmed + timing.reachable
            return msgspec.structs.replace(entry, state=State.REACHABLE, updated=now, due=due), ()
        entry = msgspec.structs.replace(entry, state=State.PROBE, updated=now, probes=0)
    entry = msgspec.structs.replace(entry, due=now + timing.retransmit)
    last = timing.multicast_reprobes if entry.state is State.PROBE else timing.multicast_probes
    if entry.probes >= timing.unicast_probes + last:
        failed = msgspec.structs.replace(
            entry, state=State.FAILED, updated=now, due=None, waiting=(), mac=NO_MAC
        )
        return failed, ()
    return _probe(entry, timing)


def _leave_reachable(entry: Entry, now: float, timing: Timing) -> Entry:
    if now < entry.confirmed + timing.reachable:
        return msgspec.structs.replace(entry, due=entry.confirmed + timing.reachable)
    if now <= entry.used + timing.delay_first_probe:
        due = now + timing.delay_first_probe
        return msgspec.structs.replace(entry, state=State.DELAY, updated=now, due=due)
    return msgspec.structs.replace(entry, state=State.STALE, updated=now, due=None)

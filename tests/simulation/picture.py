"""The state of a run at one entry of its trace, as the invariants need it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from simulation.clock import LocalClock
from simulation.trace import Conditions, Entry, Member, What
from strictarp.hello import ids
from strictarp.hello.messages import State
from strictarp.speaker.actions import Kind, Report
from strictarp.speaker.settings import Settings
from strictarp.speaker.view import View

_ROUNDING = 2
_STATES = {state.value: state for state in State}
_DISTURBING = {What.DIED, What.STOPPED, What.WOKE, What.PLAN, What.FOREIGN, What.LINKS, What.SEES}


class Violation(NamedTuple):
    """A promise that was not kept. promise: its name; at: true time."""

    promise: str
    at: int
    address: bytes
    words: str


class Proc:
    """A node's speaker process. owned: VIP → epoch. lease_end: until when its last hello lets it answer."""

    def __init__(self, member: Member, settings: Settings) -> None:
        clock = LocalClock(0, member.drift)
        self.member = member
        self.label = member.label
        self.lease = clock.span(settings.silence) + _ROUNDING
        self.stall = clock.span(settings.stall) + _ROUNDING
        self.penalty = clock.span(settings.penalty) + _ROUNDING
        self.alive = False
        self.born(0)

    def born(self, now: int) -> None:
        """A new process."""
        self.stopped = False
        self.amid: int | None = None
        """When the machine said what it was then stopped from doing."""
        self.woke_at = now
        self.last_hello = -1
        self.lease_end = -1
        self.state = State.JOINING
        self.isolated = False
        self.incarnation = 0
        self.joined_at = now
        self.frozen_at = -1
        self.frozen_amid = False
        self.owned: dict[bytes, int] = {}
        self.behind_until: dict[bytes, int] = {}
        """VIP → until when it lets all others go first."""
        self.view: View | None = None
        self.heard: set[str] = set()

    @property
    def running(self) -> bool:
        """Whether it does anything."""
        return self.alive and not self.stopped

    def entitled(self, vip: bytes, now: int) -> bool:
        """Whether it may answer for the VIP, if it runs. Stopped amid its actions, it starts over."""
        if self.amid is not None and now - self.amid > self.stall:
            return False
        return self.alive and vip in self.owned and now <= self.lease_end


class Picture:
    """What is so after the entries seen so far. hearers: ports of those who ask, by label."""

    def __init__(self, members: Sequence[Member], settings: Settings, hearers: dict[str, int]) -> None:
        self.procs = {member.label: Proc(member, settings) for member in members}
        self.by_name = {
            (member.cluster, name): member.label
            for member in members
            for name in (member.name, f"{ids.node_id(member.name):016x}")
        }
        self.hearers = hearers
        self.conditions = Conditions()
        self.foreign: set[bytes] = set()
        self.bad_until: dict[tuple[int, int], int] = {}
        self.owners: dict[bytes, list[Proc]] = {}
        self.deaf_since: dict[int, int] = {}
        self.lossy_until = -(10**12)

    def apply(self, entry: Entry) -> None:  # noqa: C901, PLR0912 - one case a kind of entry
        """Take in the next entry."""
        now, what, who, address, info = entry
        if what is What.LINKS:
            for pair in self.conditions.bad:
                self.bad_until[pair] = now
            if self.conditions.lossy:
                self.lossy_until = now
            self.deaf_since = {port: self.deaf_since.get(port, now) for port in info.deaf}
            self.conditions = info
            return
        if what is What.FOREIGN:
            (self.foreign.add if info else self.foreign.discard)(address)
            return
        proc = self.procs.get(who)
        if proc is None:
            return
        match what:
            case What.HELLO:
                state, proc.isolated, incarnation, said_at = info
                if incarnation != proc.incarnation or (state == State.JOINING != proc.state):
                    proc.joined_at = now
                proc.incarnation = incarnation
                proc.state = _STATES[state]
                proc.last_hello = now
                proc.lease_end = said_at + proc.lease
            case What.OWNS:
                proc.owned[address] = info
                self.owners.setdefault(address, []).append(proc)
            case What.DISOWNS:
                self._drop(proc, address)
            case What.STARTED:
                proc.alive = True
                proc.born(now)
            case What.DIED:
                for vip in list(proc.owned):
                    self._drop(proc, vip)
                proc.alive = False
            case What.STOPPED:
                proc.stopped = True
                proc.amid = info
            case What.WOKE:
                proc.stopped = False
                proc.woke_at = now
                if proc.amid is not None and (now - proc.amid <= proc.stall or not proc.owned):
                    proc.amid = None
            case What.SEES:
                proc.view = info
            case What.REPORTS if isinstance(info, Report):
                if info.kind is Kind.FROZEN:
                    proc.frozen_at = now
                    proc.frozen_amid, proc.amid = proc.amid is not None, None
                elif info.kind is Kind.PEER_HEARD:
                    # By its id while the API has not told the name yet.
                    proc.heard.add(self.by_name[proc.member.cluster, info.node])
                elif info.kind in (Kind.YIELDED, Kind.RELEASED, Kind.HANDED_OVER):
                    proc.behind_until[info.address] = now + proc.penalty
            case _:
                pass

    def _drop(self, proc: Proc, vip: bytes) -> None:
        proc.owned.pop(vip, None)
        owners = self.owners.get(vip, [])
        if proc in owners:
            owners.remove(proc)

    def both_ways(self, a: int, b: int) -> bool:
        """Whether two ports reach each other."""
        down = self.conditions.down
        return not down or ((a, b) not in down and (b, a) not in down)

    def common_hearer(self, a: Proc, b: Proc) -> bool:
        """Whether somebody who asks would get answers from both."""
        return any(
            self.both_ways(port, a.member.port) and self.both_ways(port, b.member.port)
            for port in self.hearers.values()
        )

    def bad_since_or_until(self, a: Proc, b: Proc, now: int) -> int:
        """When frames between the two, either way, were last lost or late."""
        pairs = ((a.member.port, b.member.port), (b.member.port, a.member.port))
        if any(pair in self.conditions.bad for pair in pairs):
            return now
        return max(self.bad_until.get(pair, -(10**12)) for pair in pairs)

    def component(self, proc: Proc) -> Iterable[Proc]:
        """The running speakers of its cluster that it reaches and that reach it, itself included."""
        return [
            other
            for other in self.procs.values()
            if other.running
            and other.member.cluster == proc.member.cluster
            and (other is proc or self.both_ways(other.member.port, proc.member.port))
        ]

    def covered(self, vip: bytes, hearer: int, now: int) -> bool:
        """Whether a question of this hearer is answered by a speaker."""
        for proc in self.owners.get(vip, ()):
            if proc.running and now <= proc.lease_end and self.both_ways(hearer, proc.member.port):
                return True
        return False


class Disturbances:
    """When something last happened to a VIP that may cost time: a failure, a view that changed, a plan."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._all = -(10**12)
        self._of: dict[bytes, int] = {}
        self._mates: dict[bytes, bytes] = {}
        """Of two addresses of one Service the other one: what happens to one moves both."""

    def last(self, vip: bytes) -> int:
        """Of this VIP."""
        return max(self._all, self._of.get(vip, -(10**12)))

    def note(self, entry: Entry, picture: Picture) -> None:
        """Look at an entry before the picture takes it in."""
        now, what, who, address, info = entry
        if what not in _DISTURBING:
            return
        if what in (What.DIED, What.STOPPED, What.WOKE):
            self._all = now
        elif what is What.PLAN:
            self._later(address, now)
        elif what is What.FOREIGN:
            # A claim that met the foreign host waits for so long.
            self._later(address, now + self._settings.foreign)
        elif what is What.LINKS:
            old: Conditions = picture.conditions
            if (old.down, old.bad, old.unclean) != (info.down, info.bad, info.unclean):
                self._all = now
        elif what is What.SEES:
            self._compare(picture.procs[who].view, info, now)

    def _later(self, vip: bytes, time: int) -> None:
        if vip:
            for each in (vip, self._mates.get(vip, vip)):
                self._of[each] = max(time, self.last(each))
        else:
            self._all = time

    def _compare(self, old: View | None, new: View, now: int) -> None:
        before = old.vips if old is not None else {}
        for each in new.vips.values():
            if each.beside:
                self._mates |= {each.address: each.beside, each.beside: each.address}
        for vip in before.keys() | new.vips.keys():
            if before.get(vip) != new.vips.get(vip):
                self._later(vip, now)
        if old is None or old.members.keys() != new.members.keys():
            self._all = now

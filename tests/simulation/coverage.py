"""I2: somebody answers, within the failure bound of the last thing that went wrong."""

from __future__ import annotations

from simulation.bounds import Bounds
from simulation.picture import Disturbances, Picture, Proc, Violation
from simulation.trace import Entry, What
from strictarp.hello.messages import State

_LOOK = {
    What.STOPPED,
    What.WOKE,
    What.DIED,
    What.LINKS,
    What.SEES,
    What.FOREIGN,
    What.PLAN,
}
_NEVER = 10**18
Place = tuple[bytes, str]
"""A VIP and a hearer of it."""


class Coverage:
    """Checks that each hearer gets an answer where the protocol promises one."""

    def __init__(
        self, picture: Picture, disturbances: Disturbances, bounds: Bounds, *, gateway: int | None
    ) -> None:
        self.picture = picture
        self.disturbances = disturbances
        self.bounds = bounds
        self.gateway = gateway
        self.found: list[Violation] = []
        self.vips: set[bytes] = set()
        self.settled = 2 * bounds.settings.settle * 102 // 100 + bounds.hello
        self.ripe_at = 0
        """When a joining node has waited long enough next."""
        self.news = False
        """Whether this hello says something new of its node."""
        self.uncovered: dict[Place, int] = {}
        self.promised: dict[Place, int] = {}
        self.gaps: list[int] = []
        self.told: set[Place] = set()

    def before(self, entry: Entry) -> None:
        """The state so far lasts until this entry."""
        if self.uncovered:
            self._judge(entry.time)
        self.news = False
        if entry.what is What.HELLO:
            proc = self.picture.procs[entry.who]
            self.news = (proc.state, proc.incarnation) != (entry.info[0], entry.info[2])

    def after(self, entry: Entry) -> None:
        """The picture has taken the entry in."""
        what = entry.what
        if what in _LOOK or self.news:
            self._look(entry.time)
        elif what is What.HELLO:
            self._look_again(entry.time)
        elif what is What.REPORTS:
            self.ripe_at = 0  # a node may have heard the one that it waited for
        elif what is What.OWNS or what is What.DISOWNS:
            self._look_again(entry.time)
            if entry.address in self.vips:
                self._look_at(entry.address, entry.time)

    def _look_again(self, now: int) -> None:
        """Nobody's state or view has changed, only time has passed: an owner's lease ran out, which no entry
        tells, or was renewed; or a joining node has waited long enough.
        """
        ripe = now >= self.ripe_at
        if ripe:
            self._see_who_ripens(now)
        lapsed = {
            vip
            for proc in self.picture.procs.values()
            if proc.owned and proc.lease_end < now
            for vip in proc.owned
        }
        for vip in sorted(lapsed & self.vips):
            self._look_at(vip, now)
        for place in list(self.uncovered):
            vip, port = place[0], self.picture.hearers[place[1]]
            if vip in lapsed:
                continue
            if self.picture.covered(vip, port, now):
                self._close(place, now)
            elif ripe and place not in self.promised and self._is_promised(vip, port, now):
                self.promised[place] = now

    def end(self, now: int) -> None:
        """The run is over."""
        self._judge(now)

    def _look(self, now: int) -> None:
        self.vips = {vip for proc in self.picture.procs.values() if proc.view for vip in proc.view.vips}
        for place in [place for place in self.uncovered if place[0] not in self.vips]:
            self.uncovered.pop(place)
            self.promised.pop(place, None)
        for vip in sorted(self.vips):
            self._look_at(vip, now)
        self._see_who_ripens(now)

    def _see_who_ripens(self, now: int) -> None:
        times = (proc.joined_at + self.settled for proc in self.picture.procs.values())
        self.ripe_at = min((time for time in times if time > now), default=_NEVER)

    def _look_at(self, vip: bytes, now: int) -> None:
        for hearer, port in self.picture.hearers.items():
            place = (vip, hearer)
            if self.picture.covered(vip, port, now):
                self._close(place, now)
                continue
            self.uncovered.setdefault(place, now)
            if self._is_promised(vip, port, now):
                self.promised.setdefault(place, now)
            else:
                self.promised.pop(place, None)

    def _close(self, place: Place, now: int) -> None:
        since = self.uncovered.pop(place, None)
        if since is not None and place in self.promised:
            self.gaps.append(now - since)
        self.promised.pop(place, None)
        self.told.discard(place)

    def _judge(self, now: int) -> None:
        for place, since in self.uncovered.items():
            promised = self.promised.get(place)
            if promised is None or place in self.told:
                continue
            vip, hearer = place
            start = max(since, promised, self.disturbances.last(vip))
            if now <= start + self.bounds.failure:
                continue
            bound = self._bound(vip, self.picture.hearers[hearer], start)
            if now > start + bound:
                self.told.add(place)
                words = (
                    f"{hearer} gets no answer for {(now - start) / 1000:.0f} ms, {bound / 1000:.0f} allowed"
                )
                self.found.append(Violation("I2", now, vip, words))

    def _bound(self, vip: bytes, hearer: int, start: int) -> int:
        """T + P + 2 D, and S for each position that differs, or is taken by a node that has just gone, or by
        one that yielded the IP or gave it away lately and so lets the others go first; more where an owner
        must first find out that it is isolated, all are joining, or frames are lost.
        """
        bounds, picture = self.bounds, self.picture
        able = self._able(vip, hearer)
        bound = bounds.failure + bounds.pace
        orders = {proc.view.vips[vip].candidates for proc in able if proc.view}
        everybody = [proc for proc in picture.procs.values() if proc.alive and proc.view is not None]
        orders |= {
            proc.view.vips[vip].candidates for proc in everybody if proc.view and vip in proc.view.vips
        }
        if len(orders) > 1 or not any(proc.state is State.SEASONED for proc in able):
            bound += bounds.all_slots
        else:
            lately = [
                proc
                for proc in picture.procs.values()
                if proc not in able and proc.last_hello > start - bounds.silence
            ]
            behind = [proc for proc in able if proc.behind_until.get(vip, 0) > start]
            bound += bounds.slot * (len(lately) + len(behind))
        if picture.conditions.deaf:
            bound += bounds.isolation
        if picture.conditions.lossy or picture.lossy_until > start - bounds.silence:
            bound += 2 * bounds.another_round
        return bound

    def _able(self, vip: bytes, hearer: int) -> list[Proc]:
        """Speakers that may own it by their own view, reach the hearer, and need not wait for a deaf peer."""
        return [
            proc
            for proc in self.picture.procs.values()
            if proc.running
            and proc.view is not None
            and vip in proc.view.vips
            and proc.view.vips[vip].eligible
            and proc.state in (State.JOINING, State.SEASONED)
            and proc.last_hello >= 0
            and self.picture.both_ways(hearer, proc.member.port)
            and not self._waits_for_deaf(proc, vip)
        ]

    def _waits_for_deaf(self, proc: Proc, vip: bytes) -> bool:
        """A better candidate that lives by the API was never heard (rule 12)."""
        view = proc.view
        if view is None:
            return True
        for candidate in view.vips[vip].candidates:
            if candidate.node == proc.member.name:
                return False
            member = view.members.get(candidate.node)
            label = self.picture.by_name[(proc.member.cluster, candidate.node)]
            if member is not None and not member.not_ready and label not in proc.heard:
                return True
        return False

    def _is_promised(self, vip: bytes, hearer: int, now: int) -> bool:
        picture = self.picture
        if picture.conditions.unclean or vip in picture.foreign:
            return False
        able = [proc for proc in self._able(vip, hearer) if self._is_not_alone(proc)]
        if any(proc.state is State.SEASONED for proc in able):
            return True
        # Joining nodes wait for the settling of those that order before them, once.
        return any(
            now - proc.joined_at >= self.settled and not self._sees_seasoned(proc, vip) for proc in able
        )

    def _sees_seasoned(self, proc: Proc, vip: bytes) -> bool:
        """A joining node leaves it to a live seasoned candidate (rule 4)."""
        names = {candidate.node for candidate in proc.view.vips[vip].candidates} if proc.view else set()
        return any(
            other is not proc
            and other.alive
            and other.member.cluster == proc.member.cluster
            and other.member.name in names
            and other.state is State.SEASONED
            and self.picture.both_ways(proc.member.port, other.member.port)
            for other in self.picture.procs.values()
        )

    def _is_not_alone(self, proc: Proc) -> bool:
        """A lone node whose gateway is silent does not claim (rule 5), unless neither the API lists anybody
        else nor has it ever heard one.
        """
        if len(list(self.picture.component(proc))) > 1:
            return True
        if proc.view is not None and set(proc.view.members) <= {proc.member.name} and not proc.heard:
            return True
        return self.gateway is not None and self.picture.both_ways(self.gateway, proc.member.port)

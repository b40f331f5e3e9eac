"""I3 and I4: nothing moves without a reason, one failure moves an IP once, planned moves are short."""

from __future__ import annotations

from typing import NamedTuple

from simulation.bounds import Bounds
from simulation.picture import Disturbances, Picture, Proc, Violation
from simulation.trace import Entry, What
from strictarp.hello import ids
from strictarp.hello.messages import State
from strictarp.speaker.actions import Kind, Report

_RECENT = 1_000_000


class Given(NamedTuple):
    """A hand-over: when, by whom, and whether anybody's claim had begun within T before."""

    at: int
    giver: Proc
    hampered: bool


class Moves:
    """Checks why owners stop, how often an IP moves, and the gap of a hand-over."""

    def __init__(self, picture: Picture, disturbances: Disturbances, bounds: Bounds) -> None:
        self.picture = picture
        self.disturbances = disturbances
        self.bounds = bounds
        self.found: list[Violation] = []
        self.moved: dict[tuple[bytes, str, bool], list[tuple[int, Proc]]] = {}
        """VIP, hearer, whether it was handed over → when, and who decided it: its giver, else its new owner.
        A planned move counts apart from those that failures cause.
        """
        self.given: dict[tuple[bytes, str], Given] = {}
        """VIP, node that it was handed to → how. Each part of a divided segment moves it for itself."""
        self.owned_until: dict[bytes, list[tuple[str, int, int]]] = {}
        """VIP → (owner, epoch, until) of those that stopped."""
        self.claimed: dict[bytes, int] = {}
        """VIP → when a claim began last."""
        self.owned_since: dict[bytes, int] = {}
        """VIP → when somebody became its owner last."""
        self.epochs: dict[tuple[str, bytes], int] = {}
        self.draining: dict[str, int] = {}
        """Node → since when it is."""
        self.moving: dict[tuple[str, bytes], int] = {}
        self.handovers: dict[tuple[bytes, str], tuple[int, int, str]] = {}
        """VIP, target → when it was released, until when the target must own it, and the giver."""
        self.gaps: list[int] = []
        self.seasoned_at = 0
        self.links_at = 0
        """When the segment changed last."""

    def before(self, entry: Entry) -> None:
        """The state so far lasts until this entry."""
        for (vip, target), (since, deadline, _) in list(self.handovers.items()):
            if entry.time > deadline:
                del self.handovers[vip, target]
                words = (
                    f"{target} was to take it over, but does not within {(deadline - since) / 1000:.1f} ms"
                )
                self.found.append(Violation("I4", entry.time, vip, words))
        now, what, who, address, info = entry
        if what is What.DISOWNS:
            epoch = self.picture.procs[who].owned.get(address, 0)
            self.epochs[who, address] = epoch
            self.owned_until.setdefault(address, []).append((who, epoch, now))
            self._froze(now, self.picture.procs[who], address)
        elif what is What.DIED:
            # Its last hello may be on its way.
            for vip, epoch in self.picture.procs[who].owned.items():
                self.owned_until.setdefault(vip, []).append((who, epoch, now))
        elif what is What.LINKS:
            self.links_at = now
        elif what is What.HELLO and info[0] == State.SEASONED != self.picture.procs[who].state:
            self.seasoned_at = now

    def after(self, entry: Entry) -> None:
        """The picture has taken the entry in."""
        now, what, who, address, info = entry
        match what:
            case What.OWNS:
                self._owns(now, self.picture.procs[who], address)
            case What.REPORTS if isinstance(info, Report):
                self._report(now, self.picture.procs[who], info)
            case What.PLAN if info == "drain":
                self.draining[who] = now
                self._forget_target(who)
            case What.PLAN:
                self.moving[who, address] = now
            case What.STARTED:
                self.draining.pop(who, None)
            case What.DIED | What.STOPPED:
                self._forget_target(who, giver=True)
            case What.SEES:
                self._forget_target(who)
            case What.LINKS if self.picture.conditions.bad:
                self.handovers.clear()
            case What.HELLO if info[0] == State.JOINING and now > self.picture.procs[who].woke_at:
                # It stays. The hello of waking up is said before it takes the order that waits for it.
                self.draining.pop(who, None)
            case _:
                pass

    def end(self, now: int) -> None:
        """The run is over: addresses of one Service are together by now, if nothing has gone wrong lately and
        none of them has just moved.
        """
        if self.picture.conditions.bad or self.picture.conditions.lossy:
            return
        for vip, owners in self.picture.owners.items():
            if len(owners) != 1:
                continue
            (proc,) = owners
            view = proc.view.vips.get(vip) if proc.view is not None else None
            if view is None or len(others := self.picture.owners.get(view.beside, [])) != 1 or proc in others:
                continue
            (other,) = others
            apart_since = max(self.owned_since[vip], self.owned_since[view.beside])
            last = max(self.disturbances.last(vip), self.seasoned_at, apart_since)
            may = {candidate.node for candidate in view.candidates}
            if now - last < self.bounds.settings.move_retry + _RECENT or other.member.name not in may:
                continue
            if other.state is State.SEASONED and other.running:
                words = f"{proc.label} owns it, and {other.label} the first address of its Service"
                self.found.append(Violation("together", now, vip, words))

    def _forget_target(self, who: str, *, giver: bool = False) -> None:
        """The target, or the giver amid its RELEASE, can not do its part any more."""
        for key in [
            (vip, target)
            for (vip, target), (_, _, source) in self.handovers.items()
            if who == target or (giver and who == source)
        ]:
            del self.handovers[key]

    def _taken_over(self, now: int, proc: Proc, vip: bytes) -> Given | None:
        """Somebody owns it now: how it was handed to that node, if so. Who meets it there leaves it to it."""
        handover = self.handovers.pop((vip, proc.label), None)
        if handover is not None:
            self.gaps.append(now - handover[0])
        for each, target in list(self.handovers):
            if each == vip and self.picture.both_ways(
                self.picture.procs[target].member.port, proc.member.port
            ):
                del self.handovers[each, target]
        return self.given.pop((vip, proc.label), None)

    def _owns(self, now: int, proc: Proc, vip: bytes) -> None:
        self.owned_since[vip] = now
        given = self._taken_over(now, proc, vip)
        planned = given is not None and now - given.at <= self.bounds.promised
        drained_at = self.draining.get(proc.label)
        if planned and drained_at is not None and now - drained_at <= self.bounds.promised:
            return  # it had accepted before, takes what its giver has let go, and hands that on
        late = given is not None and given.hampered and now - given.at <= self.bounds.claimed_instead
        if late and not planned:
            return  # a claim ended what it had accepted, so it claims what it was to have
        side = given.giver if given is not None and planned else proc
        for hearer, port in self.picture.hearers.items():
            if not self.picture.both_ways(port, proc.member.port):
                continue
            since = max(self.disturbances.last(vip), self.seasoned_at)
            # Nodes that see different scores may move it to and fro, but not sooner than this.
            since = max(since, now - self.bounds.settings.season * 98 // 100)
            key = (vip, hearer, planned)
            moves = [move for move in self.moved.get(key, ()) if move[0] > since]
            self.moved[key] = [*moves, (now, side)]
            # Two that could not hear each other until just now may both end their claims (I1 allows as much),
            # and two owners hand it over.
            apart = [now - self.picture.bad_since_or_until(side, other, now) for _, other in moves]
            if any(calm > self.bounds.silence for calm in apart) and not self.picture.conditions.unclean:
                words = f"{proc.label} becomes owner, the second move since the last failure"
                self.found.append(Violation("I3", now, vip, words))

    def _froze(self, now: int, proc: Proc, vip: bytes) -> None:
        """An owner that starts over must have been silent for its lease."""
        if proc.frozen_at == now and not proc.frozen_amid and now <= proc.lease_end - 4:
            self.found.append(Violation("I3", now, vip, f"{proc.label} starts over though its lease holds"))

    def _report(self, now: int, proc: Proc, report: Report) -> None:
        vip = report.address
        if report.kind is Kind.CLAIM_STARTED:
            self.claimed[vip] = now
        elif report.kind is Kind.YIELDED:
            self._yielded(now, proc, vip)
        elif report.kind in (Kind.RELEASED, Kind.HANDED_OVER):
            if not self._has_reason(now, proc, vip):
                words = f"{proc.label} gives it away without a reason"
                self.found.append(Violation("I3", now, vip, words))
            if report.kind is Kind.HANDED_OVER:
                self._handed_over(now, proc, vip, report.node)

    def _yielded(self, now: int, proc: Proc, vip: bytes) -> None:
        """Healing: the higher epoch wins, of equal ones the lower rank."""
        mine = (-self.epochs.get((proc.label, vip), 0), _rank(proc, vip))
        others = [
            (other.label, other.owned[vip]) for other in self.picture.owners.get(vip, ()) if other is not proc
        ]
        recent = now - _RECENT
        others += [
            (label, epoch)
            for label, epoch, until in self.owned_until.get(vip, ())
            if until >= recent and label != proc.label
        ]
        if not any((-epoch, _rank(self.picture.procs[label], vip)) < mine for label, epoch in others):
            self.found.append(
                Violation("healing", now, vip, f"{proc.label} yields, but its epoch is the highest")
            )

    def _has_reason(self, now: int, proc: Proc, vip: bytes) -> bool:
        if proc.label in self.draining:
            return True
        view = proc.view.vips.get(vip) if proc.view is not None else None
        if view is None or not view.eligible or proc.view is None:
            return True
        service = {vip, view.beside} | {
            each.address for each in proc.view.vips.values() if each.beside == vip
        }
        if any(now - self.moving.get((proc.label, each), -(10**12)) < _RECENT for each in service):
            return True
        if view.beside and self._owned_elsewhere(now, proc, view.beside):
            return True
        mine = view.candidate(proc.member.name)
        if view.wish not in ("", proc.member.name) or mine is None or mine.drained:
            return True
        return max(candidate.score for candidate in view.candidates) > mine.score

    def _owned_elsewhere(self, now: int, proc: Proc, vip: bytes) -> bool:
        """Another node owns it, or did lately: its last hello counts for a while."""
        if any(other is not proc for other in self.picture.owners.get(vip, ())):
            return True
        lately = now - self.bounds.silence
        return any(
            label != proc.label and until >= lately for label, _, until in self.owned_until.get(vip, ())
        )

    def _handed_over(self, now: int, proc: Proc, vip: bytes, name: str) -> None:
        target = self.picture.procs[self.picture.by_name[(proc.member.cluster, name)]]
        hampered = now - self.claimed.get(vip, -(10**12)) < self.bounds.silence
        self.given[vip, target.label] = Given(now, proc, hampered)
        if not target.running or self.picture.conditions.bad or self.picture.conditions.reorders:
            return
        wanted = target.view.vips.get(vip) if target.view is not None else None
        if wanted is None or not wanted.eligible:
            return  # what the API says has changed since it accepted
        if hampered:
            return  # the giver had been stopped for almost T: a claim names an epoch as high as its offer's
        others = [each for each in self.picture.procs.values() if each is not target]
        calm = [now - self.picture.bad_since_or_until(target, other, now) for other in others]
        if min(calm) < self.bounds.silence:
            return  # who claimed while it was cut off names a higher epoch, and ends what was accepted
        if not self._release_is_in_time(now):
            return  # then an ordinary claim follows, which I2 is about
        lossy = self.picture.conditions.lossy
        bound = self.bounds.handover_lossy if lossy else self.bounds.handover
        self.handovers[vip, target.label] = (now, now + bound, proc.label)

    def _release_is_in_time(self, now: int) -> bool:
        """Whether A suffices where frames are slower than it is made for. The giver releases only when OFFER
        and ACCEPT have left 2 D of A. So the RELEASE may take that much longer than the OFFER, which went the
        same way: enough for the usual spread, unless the segment has changed since or the target is busy.
        """
        if self.picture.conditions.slowest <= self.bounds.handover_way:
            return True
        settings = self.bounds.settings
        return now - self.links_at > settings.accept and self.bounds.lag <= settings.delay


def _rank(proc: Proc, vip: bytes) -> int:
    return ids.tie_rank(ids.node_id(proc.member.name), ids.vip_id(vip))

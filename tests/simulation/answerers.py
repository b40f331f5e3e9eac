"""I1, healing and freeze: who answers, and whether another may at the same time."""

from __future__ import annotations

from itertools import combinations

from simulation.bounds import Bounds
from simulation.picture import Picture, Proc, Violation
from simulation.trace import Entry, What
from strictarp.speaker.actions import Kind, Report

_CHANGES = {What.OWNS, What.DISOWNS, What.STOPPED, What.WOKE, What.DIED, What.LINKS}


class Answerers:
    """Checks each answer sent, each new owner, and how long two owners last."""

    def __init__(self, picture: Picture, bounds: Bounds) -> None:
        self.picture = picture
        self.bounds = bounds
        self.found: list[Violation] = []
        self.open: dict[tuple[bytes, str, str], int] = {}
        """VIP and two owners that somebody hears both → since when."""
        self.lost: dict[frozenset[str], list[int]] = {}
        self.told: set[tuple[bytes, str, str]] = set()
        self.parted: tuple[bytes, str, frozenset[str]] = (b"", "", frozenset())
        """VIP, who gave it up last, and who owned it beside that one."""
        self.heirs: dict[tuple[bytes, str], tuple[int, frozenset[str]]] = {}
        """VIP, node that it was handed to → when, and who owned it beside the giver."""

    def before(self, entry: Entry) -> None:
        """The state so far lasts until this entry."""
        if self.open:
            self._judge(entry.time)
        now, what, who, address, _ = entry
        if what is What.ANSWERS:
            self._answer(now, self.picture.procs[who], address)
        elif what is What.DISOWNS:
            beside = {other for vip, *pair in self.open if vip == address and who in pair for other in pair}
            self.parted = (address, who, frozenset(beside - {who}))

    def after(self, entry: Entry) -> None:
        """The picture has taken the entry in."""
        now, what, who, address, info = entry
        if what is What.LOST:
            self.lost.setdefault(frozenset((who, info)), []).append(now)
        elif what is What.OWNS:
            self._new_owner(now, self.picture.procs[who], address)
        elif what is What.REPORTS and isinstance(info, Report) and info.kind is Kind.HANDED_OVER:
            self._handed_over(now, self.picture.procs[who], info)
        if what in _CHANGES or (what is What.HELLO and self.open):
            self._track(now)

    def end(self, now: int) -> None:
        """The run is over."""
        self._judge(now)

    def _answer(self, now: int, proc: Proc, vip: bytes) -> None:
        """An owner answers only until its last hello + L; after a freeze not before a new claim."""
        if proc.entitled(vip, now):
            return
        frozen = proc.woke_at > proc.lease_end
        promise = "freeze" if frozen else "I1"
        why = "after a freeze without a new claim" if frozen else "without the right to"
        self.found.append(Violation(promise, now, vip, f"{proc.label} answers {why}"))

    def _handed_over(self, now: int, giver: Proc, report: Report) -> None:
        """Whoever takes it answers instead of the giver: beside whom that one did, if beside anybody."""
        vip, who, beside = self.parted
        if (vip, who) == (report.address, giver.label):
            self.heirs[vip, self.picture.by_name[giver.member.cluster, report.node]] = (now, beside)

    def _new_owner(self, now: int, proc: Proc, vip: bytes) -> None:
        """I1: nobody becomes owner while another may answer, if no frame between them was lost in the last T.
        And who hears nothing claims nothing: its hello would make the owner yield (rule 5, alone).
        """
        deaf = now - self.picture.deaf_since.get(proc.member.port, now)
        if deaf > self.bounds.hearing_nothing:
            self.found.append(
                Violation("I1", now, vip, f"{proc.label} becomes owner though it hears nothing")
            )
        given, beside = self.heirs.pop((vip, proc.label), (now, frozenset()))
        if now - given > self.bounds.promised:
            beside = frozenset()
        for other in self.picture.owners.get(vip, ()):
            if other is proc or not other.entitled(vip, now) or other.label in beside:
                continue
            if not self.picture.common_hearer(proc, other):
                continue
            lost = self.lost.get(frozenset((proc.label, other.label)), [-(10**12)])[-1]
            calm = now - max(lost, self.picture.bad_since_or_until(proc, other, now))
            if calm > self.bounds.silence:
                words = f"{proc.label} becomes owner while {other.label} is"
                self.found.append(Violation("I1", now, vip, words))

    def _track(self, now: int) -> None:
        """Which pairs of owners answer the same hearer now."""
        current: set[tuple[bytes, str, str]] = set()
        for vip, owners in self.picture.owners.items():
            if len(owners) < 2:
                continue
            able = [proc for proc in owners if proc.running and proc.entitled(vip, now)]
            for a, b in combinations(able, 2):
                if self.picture.common_hearer(a, b):
                    current.add((vip, min(a.label, b.label), max(a.label, b.label)))
        for gone in self.open.keys() - current:
            del self.open[gone]
        for new in current:
            self.open.setdefault(new, now)

    def _judge(self, now: int) -> None:
        for key, since in self.open.items():
            vip, a, b = key
            if key in self.told:
                continue
            first, second = self.picture.procs[a], self.picture.procs[b]
            until = min(now, first.lease_end, second.lease_end)
            start = max(since, self.picture.bad_since_or_until(first, second, until))
            lost = sum(
                start - self.bounds.hello <= time <= until for time in self.lost.get(frozenset((a, b)), ())
            )
            if until > start + self.bounds.healing + lost * self.bounds.hello:
                self.told.add(key)
                words = f"{a} and {b} both answer for {(until - start) / 1000:.1f} ms"
                self.found.append(Violation("healing", now, vip, words))

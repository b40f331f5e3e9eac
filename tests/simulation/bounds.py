"""The figures that the protocol promises, in µs of true time, each with where it comes from.

Local clocks drift by up to 1 %, so a local interval may take 1 % longer in true time. `lag` is how late, at
most, the nodes of the run handle a frame or a timer; `slowest` the largest one-way delay of the run.
"""

from __future__ import annotations

from functools import cached_property

from strictarp.speaker.settings import Settings


class Bounds:
    """The bounds of one run."""

    def __init__(self, settings: Settings, *, lag: int, slowest: int, nodes: int, vips: int) -> None:
        self.settings = settings
        self.lag = lag
        self.slowest = slowest
        self.nodes = nodes
        self.vips = vips

    @cached_property
    def silence(self) -> int:
        """T. One answerer is promised when no frame between the two was lost in the last T."""
        return _drifted(self.settings.silence)

    @cached_property
    def failure(self) -> int:
        """An owner fails: somebody answers after T + P + 2 D, with k = 0. Three steps of two nodes are
        late at most: the timer of silence, the end of the claim, and a hello that the owner still sent.
        """
        return _drifted(self.settings.silence + self.settings.claim) + 2 * self.slowest + 3 * self.lag

    @cached_property
    def hearing_nothing(self) -> int:
        """A claim may end while any peer was heard less than T ago; then only if the gateway answers."""
        return _drifted(self.settings.silence) + self.slowest + 2 * self.lag

    @cached_property
    def slot(self) -> int:
        """S: for each live candidate that goes first."""
        return _drifted(self.settings.slot) + self.lag

    @cached_property
    def another_round(self) -> int:
        """The failure bound is for no loss. With some, a claim may lose to one that a WITNESS then ends, and
        waits P + h/2 for it. Two such rounds are allowed; three were never seen below 5 % loss.
        """
        return _drifted(self.settings.claim + self.settings.hello // 2) + self.slot

    @cached_property
    def pace(self) -> int:
        """One node may have to claim all IPs, so many of them in each slot."""
        return self.slot * ((self.vips - 1) // self.settings.claims_at_once)

    @cached_property
    def all_slots(self) -> int:
        """Every other node goes first."""
        return self.slot * (self.nodes - 1)

    @cached_property
    def hello(self) -> int:
        """The longest time between two hellos: h with its jitter of 5 %."""
        longest = self.settings.hello * (1_000 + self.settings.jitter_permille) // 1_000
        return _drifted(longest) + self.lag

    @cached_property
    def isolation(self) -> int:
        """Until an owner that hears nothing has said so in three hellos: Tiso, the hello tick that sees it,
        and two more.
        """
        return _drifted(self.settings.isolation) + 4 * self.hello

    @cached_property
    def healing(self) -> int:
        """Two answerers after a partition: 1.05 h + D until the next hello is heard. 2 D more for the
        CHALLENGE of an incarnation that is new to the listener.
        """
        return self.hello + 3 * self.slowest + 3 * self.lag

    @cached_property
    def handover(self) -> int:
        """Gap of a planned move: the RELEASE's way, D."""
        return self.slowest + self.lag

    @cached_property
    def handover_way(self) -> int:
        """The successor waits A from its ACCEPT on. Where no frame takes longer than this, the ways of that
        and of the RELEASE fit into A whatever happens.
        """
        return self.settings.accept * 98 // 100 // 2 - self.lag

    @cached_property
    def promised(self) -> int:
        """For so long an ACCEPT binds who said it: A."""
        return _drifted(self.settings.accept) + self.lag

    @cached_property
    def claimed_instead(self) -> int:
        """Where an ACCEPT came to nothing its target claims: A, its turn, P."""
        return self.promised + self.all_slots + self.pace + _drifted(self.settings.claim) + self.lag

    @cached_property
    def handover_lossy(self) -> int:
        """With a light loss: until the last repetition of the RELEASE."""
        return self.handover + _drifted(self.settings.release_repeat[-1]) + self.lag


def _drifted(local: int) -> int:
    return local * 102 // 100

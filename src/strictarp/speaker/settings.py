"""The protocol's intervals. All in microseconds of a clock that also counts suspend (CLOCK_BOOTTIME).

The defaults suit machines whose event loop is late by a few milliseconds. Where it is later (a virtual
machine without KVM: tens of milliseconds) `hello`, `claim` and `late` must grow together: a hello that is
late by `silence` loses every IP, and a claim that ends later than `late` starts again. There, 200 ms
for `hello` and `claim` and half of that for `late` work.
"""

from __future__ import annotations

import msgspec

MS = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND


class Settings(msgspec.Struct, frozen=True, gc=False):
    """One set of intervals; all nodes of a segment should agree on `claim`, `delay` and `slot`.

    hello, jitter_permille: interval of hellos, ± so many thousandths; told in each hello, so peers may
        differ. At least 1 ms per node of the cluster.
    silence_permille: a peer is silent after so many thousandths of *its* hello interval. 3,500: at 3,000 the
        third hello races the timer.
    claim: from the first probe of a claim to the first answer. Three probes, at 0, 30 and 60 % of it.
    delay: the largest one-way delay between nodes that is expected; claim > 2 x delay + late.
    late: a claim whose end is noticed later than this starts again.
    slot: how long a candidate leaves to each one that orders before it.
    claims_at_once: claims that a node begins within one slot, at most; the others follow in the next ones.
    accept: how long an accepted offer may wait for its release; less than claim - 2 x delay.
    isolation: without any foreign frame for so long a node calls itself isolated.
    settle: a joining node listens so long before it may claim at all.
    season, season_most: unbroken lease until a node is seasoned; doubled for each failure within the hour.
    penalty: how long a node that yielded or gave an IP away lets all others go first.
    foreign: how long a claim waits after a host that is no node of the cluster answered for the IP.
    urgent: least time between urgent hellos.
    enforce: least time between the announcements of an owner that sees another claim its IP.
    announce: times of the announcements (gratuitous ARP, both forms) after becoming owner; more than 1 s
        apart, because Linux ignores a change within that time (neigh locktime).
    announce_rate: IPs announced a second, at most; two frames each.
    refresh: each own IP is announced once in so long, for switches that forget a MAC which only answers; 0:
        never, caches that asked need it not.
    audit: owner and runner-up each ask the wire for an IP once in so long; 0: never.
    offer: between the repetitions of an OFFER; offers_each, offer_targets: how many to how many nodes.
    release_repeat: when a RELEASE is said again until the target's hello lists the IP.
    drain_grace: how long a draining node keeps an IP that nobody takes.
    move_retry: how long a planned move that nobody took is left alone.
    remember: how long a silent peer's incarnation is remembered.
    """

    hello: int = 100 * MS
    jitter_permille: int = 50
    silence_permille: int = 3_500
    claim: int = 100 * MS
    delay: int = 5 * MS
    late: int = 20 * MS
    slot: int = 50 * MS
    claims_at_once: int = 100
    accept: int = 60 * MS
    isolation: int = SECOND
    settle: int = 3 * SECOND
    season: int = 30 * SECOND
    season_most: int = 10 * MINUTE
    penalty: int = 2 * SECOND
    foreign: int = 2 * SECOND
    urgent: int = 20 * MS
    enforce: int = SECOND
    announce: tuple[int, ...] = (0, 1_100 * MS, 2_200 * MS, 3_300 * MS, 4_400 * MS)
    announce_rate: int = 1_000
    refresh: int = 0
    audit: int = MINUTE
    offer: int = 15 * MS
    offers_each: int = 3
    offer_targets: int = 3
    release_repeat: tuple[int, ...] = (5 * MS, 10 * MS, 20 * MS, 40 * MS)
    drain_grace: int = 5 * SECOND
    move_retry: int = 5 * SECOND
    remember: int = 10 * MINUTE

    def __post_init__(self) -> None:
        """Raises ValueError naming the setting, its value and what it must be."""
        positive = ("hello", "claim", "slot", "accept", "isolation", "settle", "season")
        for name in (*positive, "announce_rate", "claims_at_once"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: {getattr(self, name)}, must be above 0")
        if self.hello // MS > 0xFFFF or self.hello % MS:
            raise ValueError(f"hello: {self.hello} µs, must be whole milliseconds up to 65535")
        self._must(self.refresh >= 0, "refresh", "0 or above")
        self._must(self.audit >= 0, "audit", "0 or above")
        self._must(self.silence_permille > 2_000, "silence_permille", "above 2000 (two hellos)")
        self._must(self.claim > 2 * self.delay + self.late, "claim", "above 2 x delay + late")
        self._must(self.accept < self.claim - 2 * self.delay, "accept", "below claim - 2 x delay")
        self._must(self.isolation > self.silence, "isolation", "above the silence time")
        self._must(self.settle > self.silence + self.claim, "settle", "above silence time + claim")

    def _must(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name}: {getattr(self, name)}, must be {rule} (all in µs)")

    @property
    def silence(self) -> int:
        """T for a peer with our own interval, and our own lease L."""
        return silence_of(self.hello, self.silence_permille)

    @property
    def stall(self) -> int:
        """A step whose frames leave later than this was interrupted: what it counts as said was not.

        Short enough that a hello that leaves so late still comes before the silence time of the one before
        it; long enough for a step about thousands of IPs.
        """
        return self.silence // 4

    def told_interval(self, nodes: int) -> int:
        """h in a cluster of so many nodes: at least 1 ms each, so that hellos stay a trickle."""
        return max(self.hello, nodes * MS)


def silence_of(hello: int, permille: int) -> int:
    """How long after its last hello a node with this interval counts as gone."""
    return hello * permille // 1_000

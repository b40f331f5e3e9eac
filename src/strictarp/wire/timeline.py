"""All watched addresses: what to ask next, what was heard, what changed. A machine without I/O.

Whoever drives it sends the questions that `due` names and says so (`asked`), feeds every ARP frame (`heard`),
and calls `expire` when `wakes_at` has come. Times are seconds of one clock that never runs backwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Iterator
from ipaddress import IPv4Address

from strictarp.arp import frames, probing
from strictarp.arp.frames import NO_MAC, REQUEST, ArpFrame, MalformedFrame
from strictarp.arp.probing import Verdict
from strictarp.wire.watched import Asker, Change, How, Limits, Watched


class Timeline:
    """The addresses, in the order they were given; `heard_frames`, `malformed`, `foreign` count frames."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.watched: dict[IPv4Address, Watched] = {}
        self.heard_frames = 0
        self.malformed = 0
        self.foreign = 0
        self._by_packed: dict[bytes, Watched] = {}
        self._next: dict[IPv4Address, float] = {}
        self._asks: list[tuple[float, int]] = []
        self._rounds: list[tuple[float, int]] = []

    def follow(self, ips: Iterable[IPv4Address], now: float) -> None:
        """Watch these from now on, and no others; what is known of those that stay is kept."""
        wanted = dict.fromkeys(ips)
        new = [ip for ip in wanted if ip not in self.watched]
        self.watched = {ip: self.watched.get(ip) or Watched(str(ip), self.limits) for ip in wanted}
        self._by_packed = {ip.packed: each for ip, each in self.watched.items()}
        self._next = {ip: when for ip, when in self._next.items() if ip in self.watched}
        for ip in new:
            self._plan(ip, now)

    # --- asking -------------------------------------------------------------------------------------------

    def due(self, now: float) -> IPv4Address | None:
        """An address whose time to be asked for has come; then `asked` or `blind` must be told of it."""
        while self._asks and self._asks[0][0] <= now:
            when, number = heapq.heappop(self._asks)
            ip = IPv4Address(number)
            if self._next.get(ip) == when:
                return ip
        return None

    def asked(self, ip: IPv4Address, now: float, asker: Asker) -> list[Change]:
        """The question for `ip` left, from `asker`; the next is due an interval later, and never earlier."""
        each = self.watched[ip]
        told = list(each.close_round())
        each.asked(now, asker)
        self._plan(ip, now + self.limits.interval)
        heapq.heappush(self._rounds, (now + self.limits.wait, int(ip)))
        return told

    def blind(self, ip: IPv4Address, now: float, reason: str) -> list[Change]:
        """`ip` cannot be asked for at present; it is tried again after the interval."""
        self._plan(ip, now + self.limits.interval)
        return list(self.watched[ip].blind(now, reason))

    def _plan(self, ip: IPv4Address, when: float) -> None:
        self._next[ip] = when
        heapq.heappush(self._asks, (when, int(ip)))

    # --- hearing ------------------------------------------------------------------------------------------

    def heard(self, data: bytes, now: float, here: Container[bytes]) -> list[Change]:
        """A frame came in on a link where the addresses `here` (packed) live. Nothing is ever raised."""
        self.heard_frames += 1
        try:
            frame = frames.decode(data)
        except MalformedFrame:
            self.malformed += 1
            return []
        each = self._by_packed.get(frame.sender_ip)
        if each is None or frame.sender_ip not in here or frame.sender_mac == NO_MAC:
            self.foreign += 1
            return []
        asker = each.asker
        if probing.is_answer(frame, ip=frame.sender_ip, asker_mac=asker.mac, asker_ip=asker.ip):
            each.answered(frame.sender_mac, now)
            return []
        return list(each.claimed(frame.sender_mac, now, _how(frame)))

    def expire(self, now: float) -> list[Change]:
        """Judge the rounds whose window has passed."""
        told: list[Change] = []
        while self._rounds and self._rounds[0][0] <= now:
            due, number = heapq.heappop(self._rounds)
            each = self.watched.get(IPv4Address(number))
            if each is not None and each.round_ends == due:
                told += each.close_round()
        return told

    def wakes_at(self) -> float | None:
        """When `due` or `expire` has something to do next."""
        times = [queue[0][0] for queue in (self._asks, self._rounds) if queue]
        return min(times, default=None)

    # --- the whole ----------------------------------------------------------------------------------------

    def verdicts(self) -> Iterator[Verdict]:
        """Every verdict that any address has had, for the exit code; one that was never judged is unknown."""
        for each in self.watched.values():
            yield from each.seen or {Verdict.UNKNOWN}


def _how(frame: ArpFrame) -> How:
    if frame.is_gratuitous:
        return How.ANNOUNCEMENT
    return How.TRAFFIC if frame.operation == REQUEST else How.ANSWER

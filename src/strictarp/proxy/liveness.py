"""Which nodes are dead, after their speakers' hellos and their kernels' answers: a machine without I/O.

A node counts as dead when it was heard on this segment, was silent for several of its own hello intervals,
and its kernel does not answer for the node's InternalIP either: a speaker that merely stopped costs nothing.
At most half of the peers, but at least one, are given up at a time; more silence is more likely our own.
A dead node lives again when it speaks, or when its kernel answers: it is asked on, slowly. Who cannot be
asked is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.hello.frames import Beat
from strictarp.proxy.settings import Liveness as Limits

PATIENT_ASK = 5.0
"""Seconds between questions to a node that is given up."""
HEARD_BEFORE = 2
"""Hellos after which a node counts as heard before on this segment."""
_REMEMBERED = 8
_LATE = 64
"""Frames that a current one may be behind the last hello: some seconds."""
_TOLERANCE = 0.001


class Member(msgspec.Struct, frozen=True, gc=False):
    """A node of the cluster other than ours, which can be asked by ARP or NDP on the links that reach it.

    address: its IPv4 InternalIP. address6: that of IPv6. Empty where it has none; it has at least one.
    """

    name: str
    address: bytes = b""
    address6: bytes = b""

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Those that it has, IPv4 first."""
        return tuple(each for each in (self.address, self.address6) if each)

    def next_hop(self, destination: bytes) -> bytes:
        """Its address in the family of `destination`, empty when it has none."""
        return self.address if len(destination) == 4 else self.address6


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Ask a node's kernel on a link whether it lives."""

    link: int
    member: Member


class _Peer(msgspec.Struct):
    """incarnations: the present one last; seq: its highest. asked: how often since it fell silent."""

    member: Member
    link: int
    incarnations: tuple[int, ...]
    seq: int
    heard: int
    silent_at: float
    asked: int = 0
    ask_at: float = 0.0
    dead: bool = False


class Nodes:
    """Feed `hear`, `answered` and `expire`; read `dead` and `next_at` after each."""

    def __init__(self, limits: Limits) -> None:
        self.dead: frozenset[str] = frozenset()
        self.replayed = 0
        self._limits = limits
        self._members: Mapping[int, Member] = {}
        self._peers: dict[int, _Peer] = {}

    def know(self, members: Mapping[int, Member]) -> None:
        """Node id → node, after the API. Who is no member any more, or has moved, is forgotten."""
        self._members = members
        self._peers = {
            number: peer for number, peer in self._peers.items() if members.get(number) == peer.member
        }
        self._settle()

    def hear(self, beat: Beat, link: int, now: float) -> None:
        """An authenticated HELLO came. Old frames count for nothing, nor do incarnations that were left."""
        member = self._members.get(beat.node)
        if member is None:
            return
        silent_at = now + self._limits.silence * beat.hello_ms / 1000
        peer = self._peers.get(beat.node)
        if peer is None:
            self._peers[beat.node] = _Peer(member, link, (beat.incarnation,), beat.seq, 1, silent_at)
            return
        if beat.incarnation != peer.incarnations[-1]:
            if beat.incarnation in peer.incarnations:
                self.replayed += 1
                return
            peer.incarnations = (*peer.incarnations[1 - _REMEMBERED :], beat.incarnation)
        elif beat.seq <= peer.seq:
            self.replayed += 1
            return
        peer.seq, peer.link, peer.silent_at = beat.seq, link, silent_at
        peer.heard += 1
        self._alive(peer)

    def is_current(self, node: int, incarnation: int, seq: int) -> bool:
        """Whether an authenticated frame is of the incarnation that was heard last, and not long ago."""
        peer = self._peers.get(node)
        return peer is not None and incarnation == peer.incarnations[-1] and seq > peer.seq - _LATE

    def answered(self, address: bytes, now: float) -> bool:
        """The kernel of the node with this address answered: it lives, whatever its speaker does.

        It is asked again only after it has spoken and fallen silent once more, or slowly.
        """
        asked = [p for p in self._peers.values() if p.asked and address in p.member.addresses]
        for peer in asked:
            self._spare(peer, now)
        return bool(asked)

    def not_asked(self, ask: Ask, now: float) -> None:
        """There is no way to ask this node: it is not judged, as if its kernel had answered."""
        for peer in self._peers.values():
            if peer.member == ask.member:
                self._spare(peer, now)

    def _spare(self, peer: _Peer, now: float) -> None:
        peer.silent_at = now + PATIENT_ASK
        self._alive(peer)

    def _alive(self, peer: _Peer) -> None:
        peer.asked = 0
        if peer.dead:
            peer.dead = False
            self._settle()

    def expire(self, now: float) -> list[Ask]:
        """Time has passed: whom to ask; who stayed silent is dead now, as far as the guard allows.

        The caller has taken in all frames that wait, so that a late caller finds nobody silent wrongly.
        """
        asks: list[Ask] = []
        if not self._limits.enabled:
            return asks
        for peer in self._peers.values():
            if not self._due(peer, now):
                continue
            if peer.asked >= self._limits.asks and not peer.dead and self._may_give_up_one():
                peer.dead = True
                self._settle()
            # A dead peer, or one that the guard spares, is asked on.
            slow = peer.asked >= self._limits.asks
            peer.asked += 1
            peer.ask_at = now + (PATIENT_ASK if slow else self._limits.ask_interval)
            asks.append(Ask(peer.link, peer.member))
        return asks

    def _due(self, peer: _Peer, now: float) -> bool:
        if peer.heard < HEARD_BEFORE:
            return False
        return now + _TOLERANCE >= (peer.ask_at if peer.asked else peer.silent_at)

    def next_at(self) -> float | None:
        """When to call `expire`, None for never."""
        if not self._limits.enabled:
            return None
        return min(
            (
                peer.ask_at if peer.asked else peer.silent_at
                for peer in self._peers.values()
                if peer.heard >= HEARD_BEFORE
            ),
            default=None,
        )

    def asking(self) -> frozenset[bytes]:
        """Addresses that answers are awaited from: whichever of a node's, its kernel lives."""
        return frozenset(
            address for peer in self._peers.values() if peer.asked for address in peer.member.addresses
        )

    def _may_give_up_one(self) -> bool:
        return len(self.dead) + 1 <= max(1, len(self._peers) // 2)

    def _settle(self) -> None:
        self.dead = frozenset(peer.member.name for peer in self._peers.values() if peer.dead)

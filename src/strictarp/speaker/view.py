"""What the machine is told of the API: one immutable snapshot, replaced as a whole.

It says what this node may do and in which order nodes wait; it never takes an IP from another node.
A stale snapshot is safe: disagreement between nodes costs time, never two answers.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A node that may announce a VIP. score: sum of the preferred weights, higher is wanted. drained: it is
    to own none while another one can.
    """

    node: str
    score: int = 0
    drained: bool = False


class Vip(msgspec.Struct, frozen=True):
    """One VIP of this segment.

    address: packed. candidates: in order of election (`election.order`), the nodes put behind last; may
    include this node. eligible: this node may own it (it is a candidate and has the link). beside: the first
    address of its Service, if that is another one on this segment: both are to have one owner. again:
    Service → its wish for an announcement; a new value of a known Service asks for one. wish: the candidate
    that it is to be handed over to, empty without one.
    """

    address: bytes
    candidates: tuple[Candidate, ...]
    eligible: bool
    beside: bytes = b""
    again: tuple[tuple[str, str], ...] = ()
    wish: str = ""

    def candidate(self, node: str) -> Candidate | None:
        """What the view says of a node that may announce it."""
        return next((each for each in self.candidates if each.node == node), None)

    def asks_again(self, before: Vip) -> bool:
        """A Service that was there before wishes for another announcement now."""
        known = dict(before.again)
        return any(wish and known.get(service, wish) != wish for service, wish in self.again)


class Member(msgspec.Struct, frozen=True):
    """A node whose speaker's Lease was renewed lately, this node included or not.

    macs: of its Lease. address: its InternalIP on this segment, packed, or empty. not_ready: the API calls
    the node NotReady. The shell leaves a node out when its Lease has expired; while its own renewals fail
    it expires none.
    """

    node: str
    macs: tuple[bytes, ...] = ()
    address: bytes = b""
    not_ready: bool = False


class View(msgspec.Struct, frozen=True):
    """vips: packed address → Vip. members: node name → Member. api_alive: whether the API answers now.

    nodes: packed InternalIP on this segment → node, also of nodes that have no speaker.
    """

    vips: Mapping[bytes, Vip]
    members: Mapping[str, Member]
    api_alive: bool = True
    nodes: Mapping[bytes, str] = {}


EMPTY = View({}, {}, api_alive=False)

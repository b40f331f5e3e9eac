"""IPs that moved away from here on plan, as long as connections of them are open here: no I/O. Pure.

Their packets come by way of the next owner (`moves`). When none is open any more its proxy is told, so that
it need not pass on what would only be reset here.
"""

from __future__ import annotations

from collections.abc import Callable, Set

import msgspec

from strictarp.hello.frames import Frame
from strictarp.hello.messages import Accept, Release, Spent
from strictarp.proxy.moves import MOST, SECONDS

LOOK_SECONDS = 2.0
"""Until the first look at what is open, and between two tellings. While something is open the looks get
rarer: each reads all tracked connections of the IP.
"""
LONGEST_LOOK = 16.0
TELL_TIMES = 3
"""A frame may be lost."""


class Telling(msgspec.Struct, frozen=True, gc=False):
    """Say this on a link to the node with this MAC."""

    message: Spent
    link: int
    to: bytes


class _Given(msgspec.Struct):
    """look_at: when to look next. wait: how long it was waited for that. told: how often it was said that
    nothing is open.
    """

    telling: Telling
    look_at: float
    until: float
    wait: float
    told: int = 0


class Giving:
    """Feed `hear`; when `next_at` is over ask for the open ones among `due`, and give them to `looked`.

    `own`: this node's id. `find`: id of a VIP → its address, None unless it is served here. `mac`: this
    node's MAC on a link, None without that link.
    """

    def __init__(
        self, own: int, find: Callable[[int], bytes | None], mac: Callable[[int], bytes | None]
    ) -> None:
        self._own = own
        self._find = find
        self._mac = mac
        self._given: dict[bytes, _Given] = {}

    def hear(self, frame: Frame, link: int, now: float) -> bool:
        """An authenticated frame of a node's present incarnation came; whether `next_at` may have changed."""
        message = frame.message
        vip = self._find(message.vip) if isinstance(message, Accept | Release) else None
        if vip is None:
            return False
        if isinstance(message, Release):  # it comes back
            return message.to == self._own and self._given.pop(vip, None) is not None
        if not isinstance(message, Accept) or frame.destination != self._mac(link):
            return False
        spent = Spent(message.vip, message.epoch, message.nonce)
        known = self._given.get(vip)
        if (known is None and len(self._given) >= MOST) or (known and known.telling.message == spent):
            return False  # too many, or said again
        telling = Telling(spent, link, frame.source)
        self._given[vip] = _Given(telling, now + LOOK_SECONDS, now + SECONDS, LOOK_SECONDS)
        return True

    def next_at(self) -> float | None:
        """When to look, None for never."""
        return min((given.look_at for given in self._given.values()), default=None)

    def due(self, now: float) -> frozenset[bytes]:
        """The IPs to look after now; those whose time is over are forgotten."""
        self._given = {vip: given for vip, given in self._given.items() if now < given.until}
        return frozenset(vip for vip, given in self._given.items() if now >= given.look_at)

    def looked(self, due: Set[bytes], opened: Set[bytes], now: float) -> list[Telling]:
        """What is to be said, when of those that were due `opened` have open connections."""
        said = []
        for vip in due & self._given.keys():
            given = self._given[vip]
            given.wait = min(2 * given.wait, LONGEST_LOOK) if vip in opened else LOOK_SECONDS
            given.look_at = now + given.wait
            given.told = 0 if vip in opened else given.told + 1
            if given.told:
                said.append(given.telling)
            if given.told >= TELL_TIMES:
                del self._given[vip]
        return said

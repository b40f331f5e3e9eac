"""Which sequence numbers count. A sender has one counter for all types of frames.

A HELLO counts only when it is newer than the last: an old one would give back life or IPs. The other types
may overtake each other, so they pass a sliding window (the idea of RFC 4303 3.4.3).
"""

from __future__ import annotations

WIDTH = 1_024
"""Frames that may be overtaken and still count: a drain of hundreds of IPs offers them all at once, and a
bond of several cables reorders such a burst.
"""
_FULL = (1 << WIDTH) - 1


class Window:
    """The sequence numbers seen from one incarnation of one node."""

    __slots__ = ("_bits", "_top", "hello")

    def __init__(self) -> None:
        self._top = -1
        self._bits = 0
        self.hello = -1
        """Highest number of a HELLO, or of a RELEASE, which no older HELLO may undo."""

    def accept_hello(self, seq: int) -> bool:
        """Whether a HELLO with `seq` counts; from then on no older one does."""
        if seq <= self.hello:
            return False
        self.hello = seq
        if seq == self._top + 1:  # nearly always
            self._top = seq
            self._bits = ((self._bits << 1) | 1) & _FULL
        else:
            self.accept(seq)
        return True

    def accept(self, seq: int) -> bool:
        """Whether a frame of another type with `seq` is new; it is old from then on."""
        if seq > self._top:
            shift = seq - self._top
            self._bits = 1 if shift >= WIDTH else ((self._bits << shift) | 1) & _FULL
            self._top = seq
            return True
        age = self._top - seq
        if age >= WIDTH or self._bits >> age & 1:
            return False
        self._bits |= 1 << age
        return True

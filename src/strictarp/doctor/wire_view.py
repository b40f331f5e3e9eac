"""What answered on the wire for each VIP. Pure values."""

from __future__ import annotations

import msgspec


class Answerer(msgspec.Struct, frozen=True):
    """A MAC that answered. who: node and interface, or foreign host, in words; node: "" where none is known.

    forms: which questions it answered, `probe` (sender 0.0.0.0) and `ordinary` (a sender of this host).
    """

    mac: str
    who: str = ""
    node: str = ""
    forms: tuple[str, ...] = ("probe", "ordinary")


class Asked(msgspec.Struct, frozen=True):
    """One VIP, and who answered for it.

    doubled: MACs that answered a single question more than once. culprit: the likely cause of several
    answerers, in words, or "".
    """

    ip: str
    answerers: tuple[Answerer, ...] = ()
    doubled: tuple[str, ...] = ()
    culprit: str = ""
    forms: tuple[str, ...] = ("probe", "ordinary")


class WireView(msgspec.Struct, frozen=True):
    """What answered. interface: asked on, "" where each VIP's route chose it."""

    asked: tuple[Asked, ...] = ()
    interface: str = ""

"""What happens to a machine. The time is the other argument of `Machine.step`."""

from __future__ import annotations

import msgspec

from strictarp.hello.auth import Keys
from strictarp.speaker.view import View


class FrameReceived(msgspec.Struct, frozen=True, gc=False):
    """An Ethernet frame of type 0x88B5, 0x0806 or 0x86DD from the link, whole. Not ours, where avoidable."""

    data: bytes


class TimerDue(msgspec.Struct, frozen=True, gc=False):
    """`Machine.next_deadline()` has passed. Frames that wait in the socket are fed first."""


class ViewChanged(msgspec.Struct, frozen=True):
    """The API's objects amount to something else now."""

    view: View


class LinkChanged(msgspec.Struct, frozen=True, gc=False):
    """The link's MAC, and whether it has a carrier. The first one starts the machine's hellos.

    own6: an IPv6 address of the link's own, to ask hosts from; empty without.
    """

    mac: bytes
    up: bool
    own6: bytes = b""


class GatewayKnown(msgspec.Struct, frozen=True, gc=False):
    """The default gateway of each family on this link (packed addresses), None where there is none."""

    address: bytes | None
    address6: bytes | None = None


class KeysChanged(msgspec.Struct, frozen=True, gc=False):
    """The Secret's keys; before the first one, and after None, the machine says and owns nothing."""

    keys: Keys | None


class DrainRequested(msgspec.Struct, frozen=True, gc=False):
    """Hand every IP over. leave: say LEAVING and stop when done (SIGTERM); else stay, owning nothing."""

    leave: bool = True


class DrainEnded(msgspec.Struct, frozen=True, gc=False):
    """The node may own IPs again, after it has been seasoned again."""


class MoveRequested(msgspec.Struct, frozen=True, gc=False):
    """Hand this VIP (packed), and its Service's other address, over; to this node, or to the first candidate
    that takes it.
    """

    address: bytes
    node: str | None = None


class Resumed(msgspec.Struct, frozen=True, gc=False):
    """The machine was suspended or stopped in a way that the clock may not show: prove everything anew."""


Event = (
    FrameReceived
    | TimerDue
    | ViewChanged
    | LinkChanged
    | GatewayKnown
    | KeysChanged
    | DrainRequested
    | DrainEnded
    | MoveRequested
    | Resumed
)

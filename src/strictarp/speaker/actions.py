"""What a machine asks of its shell, in order: frames first."""

from __future__ import annotations

import enum

import msgspec


class Send(msgspec.Struct, frozen=True, gc=False):
    """Put these bytes on the link, but only if `Machine.may_answer(now)` holds right before: a process that
    was stopped amid its actions must not say what was true before, least of all in a hello.
    """

    data: bytes


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Put these bytes on the link, which say "I own `address`" (an answer or announcement by ARP or NDP), but
    only if `Machine.may_answer(now)` holds right before. announcement: nobody asked.
    """

    data: bytes
    address: bytes
    announcement: bool = False


class Owning(msgspec.Struct, frozen=True, gc=False):
    """From now on this node owns `address`, with `epoch`. previous: name of the last owner known, or ""."""

    address: bytes
    epoch: int
    previous: str


class Disowned(msgspec.Struct, frozen=True, gc=False):
    """From now on this node does not own `address`."""

    address: bytes


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A host that is no node's has `address`, found several times by this node's own claims; as far as this
    node knows, nobody of the cluster has ever announced it. Said again while it lasts.
    """

    address: bytes
    mac: bytes


class DiscardQueued(msgspec.Struct, frozen=True, gc=False):
    """Read and throw away what waits in the link's sockets: it was sent to a node that no longer is."""


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The drain is over: nothing is owned and, if leaving, nothing will be said any more."""


class Kind(enum.StrEnum):
    """What a Report is about; the words of logs, events and metrics."""

    TOOK_OVER = "TookOver"
    YIELDED = "Yielded"
    RELEASED = "Released"
    HANDED_OVER = "HandedOver"
    NOT_TAKEN = "HandOverRefused"
    CLAIM_STARTED = "ClaimStarted"
    CLAIM_LOST = "ClaimLost"
    CLAIM_LATE = "ClaimLate"
    CLAIM_ALONE = "ClaimAlone"
    WITNESSED = "OwnerWitnessed"
    ADDRESS_CONFLICT = "AddressConflict"
    KERNEL_ANSWERS = "KernelAnswers"
    CONTESTED = "Contested"
    SEVERAL_ANSWER = "SeveralAnswer"
    NOBODY_ANSWERS = "NobodyAnswers"
    ISOLATED = "Isolated"
    CONNECTED = "Connected"
    FROZEN = "Frozen"
    SEASONED = "Seasoned"
    PEER_HEARD = "PeerHeard"
    PEER_SILENT = "PeerSilent"
    PEER_LEFT = "PeerLeft"
    SAME_NAME = "SameNodeName"
    DRAINED = "Drained"


class Taking(enum.StrEnum):
    """Why a node took an IP over: the detail of TOOK_OVER."""

    HANDED_OVER = "handed over"
    SILENCE = "its owner fell silent"
    RELEASED = "its owner let it go"
    AGAIN = "owned before"
    NEW = "no owner known"


class Report(msgspec.Struct, frozen=True, gc=False):
    """Something to log or count. Decides nothing.

    address: packed VIP, or empty. node: name of the other node (hex of its id where the name is unknown),
    or "". mac: of the other host, or empty. detail: the rest in words. micros: a duration that belongs to
    it: how late, how long silent, how long without owner.
    """

    kind: Kind
    address: bytes = b""
    node: str = ""
    mac: bytes = b""
    detail: str = ""
    micros: int = 0


Action = Send | Answer | Owning | Disowned | Taken | DiscardQueued | Finished | Report

"""What is known of one IP, and what this node is doing about it."""

from __future__ import annotations

import enum

from strictarp.hello import ids
from strictarp.speaker.peers import Key
from strictarp.speaker.view import Vip

NO_OWNER = (0, 0, 0)
MAX_ASKERS = 4


class Phase(enum.Enum):
    """FREE: nobody known to own it; a DEFER is a FREE slot with `defer_until` ahead."""

    FREE = enum.auto()
    FOREIGN = enum.auto()
    CLAIMING = enum.auto()
    OWN = enum.auto()
    OFFERING = enum.auto()
    ACCEPTED = enum.auto()


class Cause(enum.StrEnum):
    """Why an owner offers an IP to another node."""

    DRAIN = "drain"
    INELIGIBLE = "no longer eligible"
    SCORE = "another node is preferred"
    REQUEST = "requested"
    WISH = "its Service is wished to another node"
    DRAINED = "its node is drained"
    TOGETHER = "its Service's first address is there"


class Claiming:
    """A claim in progress. kernels: MACs of nodes that answered without being its speaker."""

    __slots__ = ("kernels", "nonce", "probes", "started")

    def __init__(self, started: int, nonce: bytes) -> None:
        self.started = started
        self.nonce = nonce
        self.probes = 0
        self.kernels: set[bytes] = set()


class Offering:
    """An offer in progress: to targets[0], `sent` times so far, the first time at `since`. anew: said once
    more from the beginning, because its answer was read too late.
    """

    __slots__ = ("anew", "cause", "epoch", "nonce", "sent", "since", "targets")

    def __init__(self, cause: Cause, targets: list[int], epoch: int) -> None:
        self.cause = cause
        self.targets = targets
        self.epoch = epoch
        self.nonce = 0
        self.sent = 0
        self.since = 0
        self.anew = False

    def next_target(self) -> None:
        """The first target does not take it."""
        del self.targets[0]
        self.sent = 0
        self.anew = False


class Accepted:
    """An offer that this node accepted: a RELEASE by `until` makes it owner."""

    __slots__ = ("epoch", "giver", "nonce", "until")

    def __init__(self, giver: Key, epoch: int, nonce: int, until: int) -> None:
        self.giver = giver
        self.epoch = epoch
        self.nonce = nonce
        self.until = until

    def is_of(self, giver: Key, nonce: int) -> bool:
        """Whether it is this offer that was accepted."""
        return (self.giver, self.nonce) == (giver, nonce)


class Releasing:
    """A RELEASE that is repeated until the target's hello lists the IP."""

    __slots__ = ("epoch", "nonce", "repeats", "since", "to")

    def __init__(self, to: int, epoch: int, nonce: int, since: int) -> None:
        self.to = to
        self.epoch = epoch
        self.nonce = nonce
        self.since = since
        self.repeats = 0


class Heir:
    """Whom an IP was released to: it may own it before any hello of its says so, and be stopped then.

    key: its incarnation. until: it can take the IP so long. seq: of its last hello then; a later one that
    does not list the IP tells that it has not taken it.
    """

    __slots__ = ("key", "seq", "until")

    def __init__(self, key: Key, until: int) -> None:
        self.key = key
        self.until = until
        self.seq: int | None = None


class Slot:
    """One IP of the view.

    epoch: of the own or claimed ownership. highest: the highest epoch seen anywhere. free_since: when it
    was found without an owner. previous: node, incarnation and HELLO number of the last owner known.
    askers: client address → MAC of those heard asking for it lately.
    """

    __slots__ = (
        "accepted",
        "address",
        "announced_at",
        "askers",
        "claiming",
        "contested_until",
        "defer_until",
        "enforced_at",
        "epoch",
        "free_since",
        "heir",
        "highest",
        "move_after",
        "offering",
        "penalty_until",
        "phase",
        "previous",
        "releasing",
        "spoke",
        "taken",
        "took",
        "view",
        "vip",
    )

    def __init__(self, view: Vip) -> None:
        self.view = view
        self.address = view.address
        self.vip = ids.vip_id(view.address)
        self.phase = Phase.FREE
        self.epoch = 0
        self.highest = 0
        self.free_since: int | None = None
        self.defer_until = 0
        self.penalty_until = 0
        self.move_after = 0
        self.contested_until = 0
        """Another owner was met lately; a move that can wait comes no earlier than this."""
        self.enforced_at: int | None = None
        self.announced_at: int | None = None
        """When the last rounds of announcements began."""
        self.previous: tuple[int, int, int] = NO_OWNER
        self.claiming: Claiming | None = None
        self.offering: Offering | None = None
        self.accepted: Accepted | None = None
        self.took: Accepted | None = None
        """The last offer that was accepted, also after its time."""
        self.releasing: Releasing | None = None
        self.heir: Heir | None = None
        self.askers: dict[bytes, bytes] = {}
        self.spoke: dict[bytes, int] = {}
        """Other MAC that spoke for this IP → when that was reported."""
        self.taken: tuple[bytes, int] = (b"", 0)
        """The foreign MAC that answered the last claims, and how many of them."""

    @property
    def owned(self) -> bool:
        """Whether this node answers for it."""
        return self.phase is Phase.OWN or self.phase is Phase.OFFERING

    def defer(self, until: int) -> None:
        """Claim it no earlier than this."""
        self.defer_until = max(self.defer_until, until)

    def leave_phase(self) -> None:
        """Back to FREE; whoever calls it says what follows."""
        self.phase = Phase.FREE
        self.claiming = self.offering = self.accepted = None

    def saw_epoch(self, epoch: int) -> None:
        """An epoch that somebody named for it."""
        self.highest = max(self.highest, epoch)

    def asked_by(self, client: bytes, mac: bytes) -> None:
        """Remember a client that asked for this IP; the oldest is forgotten."""
        self.askers.pop(client, None)
        self.askers[client] = mac
        if len(self.askers) > MAX_ASKERS:
            del self.askers[next(iter(self.askers))]

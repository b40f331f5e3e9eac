"""What the rules share: this node's state, and the frames and reports that a step collects."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable

from strictarp.hello import frames, ids
from strictarp.hello.auth import Keys
from strictarp.hello.frames import GROUP_MAC, Sender
from strictarp.hello.messages import MAX_CLAIM_ENTRIES, Claim, Entry, Message, State
from strictarp.speaker import resolution
from strictarp.speaker import view as views
from strictarp.speaker.actions import Action, Answer, Kind, Report, Send
from strictarp.speaker.agenda import Agenda
from strictarp.speaker.announcements import Announcements
from strictarp.speaker.peers import Key, Peer, Peers
from strictarp.speaker.settings import Settings, silence_of
from strictarp.speaker.slots import Slot

_LOOKED_AT_ONCE = 500


class Core:
    """One node on one segment. `now` is the time of the step in progress, in µs."""

    def __init__(  # noqa: PLR0915 - all the state there is, listed
        self, node: str, cluster: int, settings: Settings, *, keys: Keys | None, chance: random.Random
    ) -> None:
        self.node = node
        self.settings = settings
        self.keys = keys
        self.chance = chance
        self.now = 0
        self.out: list[Action] = []
        """Frames of the step in progress."""
        self.told: list[Action] = []
        """What it has to tell the shell; after the frames, which must not wait for a log."""
        self.stalled = False
        """Frames of the last step were not sent in time."""
        self.agenda = Agenda()
        self.announcements = Announcements(settings.announce_rate)
        self.counters: Counter[str] = Counter()
        # This node.
        self.sender = Sender(cluster, ids.node_id(node), chance.getrandbits(64))
        self.seq = 0
        self.mac = b""
        self.own6 = b""
        """Own IPv6 address of the link, to ask hosts from; empty without."""
        self.link_up = False
        self.leaving = False
        self.left = False
        self.joined_at: int | None = None
        self.seasoned = False
        self.drain_until: int | None = None
        self.leave_after_drain = False
        self.drained = False
        self.failures: list[int] = []
        # Its hellos.
        self.last_hello: int | None = None
        self.lease_end = -1
        """Until when this node may answer: L after its last hello."""
        self.interval = settings.hello
        self.ticked = 0
        """When `presence.tick` was done last."""
        self.silence = settings.silence
        self.longer_told = 0
        self.wants_announcements = False
        self.wants_hello = False
        self.wants_hello_at_once = False
        # What it owns.
        self.slots: dict[int, Slot] = {}
        self.by_address: dict[bytes, Slot] = {}
        self.owned: dict[bytes, Slot] = {}
        self.set_version = 0
        self.set_hash = 0
        self.changes: dict[int, Change] = {}
        """What became of a VIP lately, while the set does not fit into a hello; the longest untold first."""
        self.waiting: set[int] = set()
        """VIPs without a known owner that this node may claim."""
        self.misplaced: set[int] = set()
        """Own VIPs that the view would rather have elsewhere: a wish, a drained node, a higher score."""
        self.beside: set[int] = set()
        """Own VIPs that are another address of a Service whose first one is on this segment, too."""
        self.looked_from = 0
        """How far a tick has come that looks at those waiting in portions."""
        self.looks: dict[int, None] = {}
        # The others.
        self.view = views.EMPTY
        self.names: dict[int, str] = {}
        """Of the members."""
        self.all_names: dict[int, str] = {}
        """Of all nodes, also those without a speaker."""
        self.node_addresses: dict[bytes, int] = {}
        self.asked_about: dict[bytes, int] = {}
        """MAC of no node known → when all nodes were asked for theirs because of it."""
        self.macs: dict[bytes, int] = {}
        """MAC → the node whose hellos come from it."""
        self.told_macs: dict[bytes, int] = {}
        """MAC → the node for whose InternalIP it answers; anybody can say so, so only the latest are kept."""
        self.lease_macs: dict[bytes, int] = {}
        self.peers = Peers(settings.silence_permille)
        self.seasoned_peers: set[int] | None = None
        """Nodes whose peer is live and seasoned, once this step has asked for them."""
        self.unsynced: set[Peer] = set()
        """Peers whose whole set is not known here."""
        self.heard_ever: set[int] = set()
        self.asked: dict[int, Asked] = {}
        """VIP → the audit's question that is on the wire."""
        self.to_audit: list[int] = []
        self.audited_at: int | None = None
        self.answerers: dict[bytes, frozenset[bytes]] = {}
        """VIP's address → the MACs that answered at its last audit."""
        self.unanswered_since: dict[bytes, int] = {}
        """VIP's address → since when nobody answers for it, though its owner lives: as the runner-up finds.
        """
        self.unanswered: Counter[bytes] = Counter()
        """VIP's address → µs that this lasted, of the times that are over."""
        self.hellos: Counter[int] = Counter()
        """Node → hellos heard of it; `hellos_lost`: those that must have come in between."""
        self.hellos_lost: Counter[int] = Counter()
        self.pending: dict[Key, Pending] = {}
        self.gateways: dict[bytes, bytes] = {}
        """Default gateway of each family → its MAC, empty while not heard."""
        self.gateway_answered: int | None = None
        self.heard_any: int | None = None
        self.heard_stranger: int | None = None
        self.isolated = False
        self.claims_since = 0
        self.claims_begun = 0
        """Claims begun, or put off, since then: within one `settings.slot`."""
        self.claims_allowed = settings.claims_at_once
        """How many may begin in it."""
        self.claims_open: set[int] = set()
        """VIPs whose claims began, and may have ended since."""
        # Frames of a claim, collected so that many IPs share one.
        self.claims: dict[tuple[int, int, int], list[Entry]] = {}
        self.probes: list[bytes] = []
        self.asks_gateway = False

    @property
    def speaking(self) -> bool:
        """Whether there is anything to speak with."""
        return self.link_up and self.keys is not None and not self.left

    @property
    def lease(self) -> int:
        """L: how long this node may answer after its last hello."""
        return silence_of(self.interval, self.settings.silence_permille)

    @property
    def lease_holds(self) -> bool:
        """Whether the last hello is fresh enough, now, to answer."""
        return self.now <= self.lease_end

    @property
    def state(self) -> State:
        """What the hellos say of this node."""
        if self.leaving:
            return State.LEAVING
        if self.drain_until is not None:
            return State.DRAINING
        return State.SEASONED if self.seasoned else State.JOINING

    @property
    def expects_peers(self) -> bool:
        """Whether another node is to be heard: the API lists one, or one was heard and has not said goodbye.

        Leases expire of nodes that do not reach the API. Who then goes deaf is not alone because of that.
        """
        if self.names and (len(self.names) > 1 or self.sender.node not in self.names):
            return True
        latest = (max(each, key=lambda peer: peer.heard) for each in self.peers.by_node.values())
        return any(peer.state is not State.LEAVING for peer in latest)

    def name_of(self, node: int) -> str:
        """The node's name, or its id in hex where the API does not know it."""
        return self.all_names.get(node) or f"{node:016x}"

    def node_of(self, mac: bytes) -> int | None:
        """The node whose MAC this is: by its hellos, its Lease or its InternalIP. None: no node's."""
        for known in (self.macs, self.lease_macs, self.told_macs):
            if mac in known:
                return known[mac]
        return None

    def report(
        self,
        kind: Kind,
        slot: Slot | None = None,
        *,
        node: int = 0,
        mac: bytes = b"",
        detail: str = "",
        micros: int = 0,
    ) -> None:
        """Something for logs and metrics."""
        address = slot.address if slot is not None else b""
        self.told.append(Report(kind, address, self.name_of(node) if node else "", mac, detail, micros))

    def say(self, message: Message, *, to: bytes = GROUP_MAC) -> None:
        """Send a message, if there is a link and a key."""
        if self.keys is None or not self.speaking:
            return
        self.seq += 1
        data = frames.encode(message, self.sender, self.keys, seq=self.seq, source=self.mac, to=to)
        self.out.append(Send(data))

    def send_question(self, data: bytes) -> None:
        """Send an ARP or NDP frame that claims nothing."""
        if self.speaking:
            self.out.append(Send(data))

    def send_announcement(self, slot: Slot, data: bytes) -> None:
        """Send an ARP or NDP frame that says that this node owns the IP."""
        if self.speaking:
            self.out.append(Answer(data, slot.address, announcement=True))

    @property
    def gateways_to_ask(self) -> list[bytes]:
        """The gateways that can be asked: an IPv6 one only with an own address."""
        return [gateway for gateway in self.gateways if len(gateway) == 4 or self.own6]

    def inquire(self, address: bytes) -> None:
        """Have a host asked for its own address when the step ends, where that can be done."""
        data = resolution.inquiry(self.mac, self.own6, address)
        if data is not None:
            self.probes.append(data)

    def look(self, vips: Iterable[int]) -> None:
        """Have these VIPs looked at before the step ends, where the view has them."""
        for vip in vips:
            if vip in self.slots:
                self.looks[vip] = None

    def some_waiting(self) -> list[int]:
        """The VIPs that wait, or of thousands the next few hundred: a hello must not take its own interval.

        Those whose time is known have a timer besides.
        """
        start = self.looked_from if self.looked_from < len(self.waiting) else 0
        self.looked_from = start + _LOOKED_AT_ONCE
        return list(itertools.islice(self.waiting, start, self.looked_from))

    def urgent_hello(self, *, at_once: bool = False) -> None:
        """Say hello when the step ends; not at_once: as soon as `settings.urgent` allows."""
        self.wants_hello = True
        self.wants_hello_at_once |= at_once

    def flush_claims(self) -> None:
        """Send the CLAIMs and probes that this step collected."""
        for (node, incarnation, seq), entries in self.claims.items():
            for start in range(0, len(entries), MAX_CLAIM_ENTRIES):
                part = tuple(entries[start : start + MAX_CLAIM_ENTRIES])
                self.say(Claim(node, incarnation, seq, part))
        if self.asks_gateway:
            for gateway in self.gateways_to_ask:
                self.inquire(gateway)
        for data in self.probes:
            self.send_question(data)
        self.claims.clear()
        self.probes.clear()
        self.asks_gateway = False


class Asked:
    """A question of the audit: when, and when first; who owned the IP (node and epoch), and the MACs that
    answered so far.
    """

    __slots__ = ("at", "began", "macs", "owner", "questions")

    def __init__(self, at: int, owner: tuple[int, int]) -> None:
        self.at = self.began = at
        self.owner = owner
        self.questions = 1
        self.macs: set[bytes] = set()


class Pending:
    """A hello from an incarnation that has not proven yet that it lives."""

    __slots__ = ("asked", "hello", "nonce")

    def __init__(self, nonce: bytes) -> None:
        self.nonce = nonce
        self.asked: int | None = None
        self.hello: frames.Frame | None = None


class Change:
    """An own VIP that came (its epoch) or went (None), and how many hellos have told it."""

    __slots__ = ("epoch", "told")

    def __init__(self, epoch: int | None) -> None:
        self.epoch = epoch
        self.told = 0

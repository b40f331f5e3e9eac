"""What is known of the other nodes on the segment, from their hellos.

A peer is one incarnation of a node: a restarted speaker is a new peer, and what the old one owned stays
owned until that one is silent, because two processes may overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strictarp.hello.messages import Entry, Hello, State
from strictarp.hello.replay import Window
from strictarp.speaker.settings import MS, silence_of

Key = tuple[int, int]
"""Node id and incarnation."""
ISOLATED_RUN = 3
"""Hellos with the ISOLATED flag in a row until a peer's IPs are claimable."""


class Collected:
    """Pages of a peer's set, all of one version."""

    __slots__ = ("pages", "total", "version")

    def __init__(self, version: int, total: int) -> None:
        self.version = version
        self.total = total
        self.pages: dict[int, tuple[Entry, ...]] = {}

    @property
    def missing(self) -> int:
        """The first page that is not there."""
        return next(number for number in range(self.total + 1) if number not in self.pages)


class Peer:
    """One proven incarnation.

    heard: when its last HELLO came, or came to a witness. hello_seq: the number of that HELLO, as far as
    this node heard it itself. since: when it proved to live. interval: its h; silence: its T, µs.
    isolated: it calls itself isolated persistently.
    owned: {VIP: epoch}. version, set_hash, set_size: of its set as its last HELLO told it; synced: `owned`
    is that set; collected: pages of it, while it is not.
    """

    __slots__ = (
        "collected",
        "heard",
        "hello_seq",
        "interval",
        "isolated",
        "isolated_run",
        "key",
        "mac",
        "node",
        "number",
        "owned",
        "set_hash",
        "set_size",
        "silence",
        "silent_reported",
        "since",
        "state",
        "synced",
        "version",
        "window",
    )

    def __init__(self, key: Key, number: int, mac: bytes, since: int) -> None:
        self.key = key
        self.node = key[0]
        self.number = number
        self.mac = mac
        self.since = since
        self.window = Window()
        self.heard = 0
        self.hello_seq = -1
        self.interval = 0
        self.silence = 0
        self.state = State.JOINING
        self.isolated_run = 0
        self.isolated = False
        self.owned: dict[int, int] = {}
        self.version = -1
        self.set_hash = 0
        self.set_size = 0
        self.synced = True
        self.collected: Collected | None = None
        self.silent_reported = True


class Peers:
    """All of them, and who lists which VIP."""

    def __init__(self, silence_permille: int) -> None:
        self._permille = silence_permille
        self._numbers = 0
        self.by_key: dict[Key, Peer] = {}
        self.by_number: dict[int, Peer] = {}
        self.by_node: dict[int, list[Peer]] = {}
        self.listing: dict[int, list[Peer]] = {}
        """VIP → peers whose list holds it, live or not."""

    def clear(self) -> None:
        """Forget them all."""
        self.by_key.clear()
        self.by_number.clear()
        self.by_node.clear()
        self.listing.clear()

    def add(self, key: Key, mac: bytes, now: int) -> Peer:
        """A peer that has just proven that it lives."""
        self._numbers += 1
        peer = Peer(key, self._numbers, mac, now)
        self.by_key[key] = peer
        self.by_number[peer.number] = peer
        self.by_node.setdefault(key[0], []).append(peer)
        return peer

    def forget(self, peer: Peer) -> None:
        """As if it had never been heard."""
        self.set_owned(peer, {})
        del self.by_key[peer.key], self.by_number[peer.number]
        others = self.by_node[peer.node]
        others.remove(peer)
        if not others:
            del self.by_node[peer.node]

    def is_live(self, peer: Peer, now: int) -> bool:
        """Heard less than T ago, and not leaving."""
        return now - peer.heard < peer.silence and peer.state is not State.LEAVING

    def any_live(self, now: int) -> bool:
        """Whether anybody is there."""
        return any(self.is_live(peer, now) for peer in self.by_key.values())

    def live_nodes(self, now: int) -> set[int]:
        """The nodes of all live peers."""
        return {peer.node for peer in self.by_key.values() if self.is_live(peer, now)}

    def live_of(self, node: int, now: int) -> Peer | None:
        """The live peer of this node; of two incarnations the one heard last."""
        live = [peer for peer in self.by_node.get(node, ()) if self.is_live(peer, now)]
        return max(live, key=_heard) if live else None

    def live_seasoned(self, node: int, now: int) -> Peer | None:
        """The live peer of this node, if it is seasoned."""
        peer = self.live_of(node, now)
        return peer if peer is not None and peer.state is State.SEASONED else None

    def owner(self, vip: int, now: int, *, isolated: bool) -> Peer | None:
        """The live owner of a VIP by its own word. isolated: this node is, so it believes isolated peers."""
        live = [
            peer
            for peer in self.listing.get(vip, ())
            if (isolated or not peer.isolated) and self.is_live(peer, now)
        ]
        return max(live, key=lambda peer: peer.owned[vip]) if live else None

    def others_own(self, peer: Peer, vip: int, now: int) -> bool:
        """Whether any live peer but this one lists the VIP, isolated or not."""
        return any(other is not peer and self.is_live(other, now) for other in self.listing.get(vip, ()))

    def take_head(self, peer: Peer, hello: Hello, now: int) -> None:
        """What every HELLO says, apart from its list."""
        peer.heard = now
        peer.state = hello.state
        interval = hello.hello_ms * MS
        if interval != peer.interval:
            peer.interval, peer.silence = interval, silence_of(interval, self._permille)
        if hello.isolated or peer.isolated_run:
            peer.isolated_run = peer.isolated_run + 1 if hello.isolated else 0
            peer.isolated = peer.isolated_run >= ISOLATED_RUN

    def set_owned(self, peer: Peer, owned: Mapping[int, int]) -> tuple[list[int], list[int]]:
        """Replace its list. Returns the VIPs that left it, and those that are new or have a new epoch."""
        left = [vip for vip in peer.owned if vip not in owned]
        came = [vip for vip, epoch in owned.items() if peer.owned.get(vip) != epoch]
        for vip in left:
            self.drop(peer, vip)
        self.put(peer, ((vip, owned[vip]) for vip in came))
        return left, came

    def put(self, peer: Peer, entries: Iterable[tuple[int, int]]) -> None:
        """It lists these VIPs too, with these epochs."""
        for vip, epoch in entries:
            if vip not in peer.owned:
                self.listing.setdefault(vip, []).append(peer)
            peer.owned[vip] = epoch

    def drop(self, peer: Peer, vip: int) -> None:
        """It does not list this VIP any more."""
        if peer.owned.pop(vip, None) is None:
            return
        others = self.listing[vip]
        others.remove(peer)
        if not others:
            del self.listing[vip]


def _heard(peer: Peer) -> int:
    return peer.heard

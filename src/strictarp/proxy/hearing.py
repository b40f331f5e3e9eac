"""Listens to the speakers and asks by ARP on the node's links, for `liveness` and `moves`. Thin.

Nothing is polled: the kernel filters frames, one timer waits for the first silence, and the sockets for ARP
answers exist only while somebody is asked.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from strictarp.arp import bpf, frames
from strictarp.arp.rawsocket import RawSocket
from strictarp.hello.auth import Keys
from strictarp.hello.frames import (
    ETHERTYPE,
    GROUP_MAC,
    Frame,
    FrameError,
    Sender,
    decode,
    decode_beat,
    encode,
)
from strictarp.hello.messages import ENCODERS, HELLO_TYPE, Accept, Message, Offer, Release, Spent
from strictarp.netlink.rtnl import SCOPE_GLOBAL, covers
from strictarp.proxy.liveness import Ask, Member, Nodes
from strictarp.proxy.seam import HostLinks
from strictarp.proxy.settings import Liveness as Limits
from strictarp.proxy.status import answering_links

log = logging.getLogger(__name__)

_LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x30, 0x15, 0x06
_TYPE_OFFSET = 14 + 5
_TYPES = (HELLO_TYPE, *(ENCODERS[kind][0] for kind in (Offer, Accept, Release, Spent)))
SPOKEN: bpf.Program = (
    *bpf.ethertype(ETHERTYPE)[:-1],
    bpf.Instruction(_LOAD_BYTE, 0, 0, _TYPE_OFFSET),
    *(bpf.Instruction(_JUMP_EQUAL, len(_TYPES) - index, 0, number) for index, number in enumerate(_TYPES)),
    bpf.Instruction(_RETURN, 0, 0, 0),
    bpf.Instruction(_RETURN, 0, 0, bpf.WHOLE_FRAME),
)
"""HELLO, OFFER, ACCEPT, RELEASE and SPENT frames for this host, and no other of the speakers' frames."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """This node on a link."""

    link: int
    mac: bytes
    addresses: tuple[tuple[bytes, int], ...]

    def source_for(self, target: bytes) -> bytes | None:
        """Our own address in the subnet of `target`, None when it is not on this link."""
        return next((own for own, prefix in self.addresses if covers(own, prefix, target)), None)


def places(host: HostLinks, members: Iterable[Member]) -> dict[int, Place]:
    """Links on whose subnets other nodes have their InternalIP, by index. Pure.

    Elsewhere ARP could not tell whether a silent node lives: with strictARP its kernel is silent there.
    """
    targets = [member.address for member in members]
    found = {}
    for link in answering_links(host.links):
        own = tuple(
            (entry.address, entry.prefix)
            for entry in host.addresses
            if entry.index == link.index and entry.scope == SCOPE_GLOBAL
        )
        place = Place(link.index, link.mac, own)
        if link.carrier and len(link.mac) == 6 and any(place.source_for(target) for target in targets):
            found[link.index] = place
    return found


class Hearing:
    """The sockets and the timer around `Nodes`. `on_change` is called when the set of dead nodes changes,
    `on_frame` for each authenticated frame of a known node that is no HELLO, with its link.

    Make it in a running loop. Nothing is heard until `learn` gave members, links, cluster and keys.
    """

    def __init__(
        self,
        limits: Limits,
        on_change: Callable[[frozenset[str]], None],
        on_frame: Callable[[Frame, int], None] = lambda _frame, _link: None,
    ) -> None:
        self.unreadable = 0
        self._on_frame = on_frame
        self._nodes = Nodes(limits)
        self._on_change = on_change
        self._told: frozenset[str] = frozenset()
        self._cluster = 0
        self._keys: Keys | None = None
        self._members: Mapping[int, Member] = {}
        self._places: dict[int, Place] = {}
        self._hellos: dict[int, RawSocket] = {}
        self._answers: dict[int, RawSocket] = {}
        self._awaited: frozenset[bytes] = frozenset()
        self._timer: asyncio.TimerHandle | None = None
        self._incarnation = secrets.randbits(64)
        self._said = 0

    def close(self) -> None:
        """Close all sockets and stop the timer."""
        self._close_all(self._hellos)
        self._close_all(self._answers)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def learn(
        self, members: Mapping[int, Member], host: HostLinks, *, cluster: int | None, keys: Keys | None
    ) -> None:
        """What is known of the cluster and of this node now; safe to repeat."""
        self._nodes.know(members)
        self._members = members
        self._keys = keys
        self._cluster = cluster or 0
        wanted = places(host, members.values()) if keys is not None and cluster is not None else {}
        before, after = ({i: place.mac for i, place in some.items()} for some in (self._places, wanted))
        for index in [i for i, s in self._hellos.items() if after.get(i) != before.get(i) or s.broken]:
            self._close(self._hellos, index)
            self._close(self._answers, index)
        self._places = wanted
        for index in wanted.keys() - self._hellos.keys():
            self._open(self._hellos, index, ETHERTYPE, SPOKEN, self._on_spoken)
        self._after()

    def _open(
        self,
        sockets: dict[int, RawSocket],
        index: int,
        ethertype: int,
        program: bpf.Program,
        on_frame: Callable[[int, bytes], bool],
    ) -> None:
        groups = (GROUP_MAC,) if ethertype == ETHERTYPE else ()
        try:
            made = RawSocket(index, ethertype, program, groups=groups)
        except OSError as error:
            log.warning("link not heard", extra={"fields": {"link": index, "reason": str(error)}})
            return
        sockets[index] = made
        made.watch(asyncio.get_running_loop(), lambda frame: self._frame(on_frame, index, frame))

    def _frame(self, on_frame: Callable[[int, bytes], bool], index: int, frame: bytes) -> None:
        if on_frame(index, frame):  # later, since it may close the socket that is being read
            asyncio.get_running_loop().call_soon(self._after)

    def _close(self, sockets: dict[int, RawSocket], index: int) -> None:
        old = sockets.pop(index, None)
        if old is not None:
            old.unwatch(asyncio.get_running_loop())
            old.close()

    def _close_all(self, sockets: dict[int, RawSocket]) -> None:
        for index in list(sockets):
            self._close(sockets, index)

    def _on_spoken(self, index: int, frame: bytes) -> bool:
        if self._keys is None:
            return False
        try:
            if frame[_TYPE_OFFSET] == HELLO_TYPE:
                beat = decode_beat(frame, self._cluster, self._keys)
                return self._nodes.hear(beat, index, time.monotonic())
            spoken = decode(frame, self._cluster, self._keys)
        except (FrameError, IndexError):
            self.unreadable += 1
            return False
        known = spoken.node in self._members and isinstance(spoken.message, Spent)
        if known or self._nodes.is_current(spoken.node, spoken.incarnation, spoken.seq):
            self._on_frame(spoken, index)
        return False

    def reachable(self, node: int, link: int, destination: bytes) -> Member | None:
        """A node that can be the next hop to `destination` on a link; None when no address of that family
        there is in a subnet of this node.
        """
        member, place = self._members.get(node), self._places.get(link)
        return member if member and place and place.source_for(member.next_hop(destination)) else None

    def say(self, message: Message, own: int, *, link: int, to: bytes) -> None:
        """Send a message as node `own` to a host on a link, if it is heard. It may be lost.

        The proxy's incarnation is not its speaker's, so that nothing it says counts as the speaker's.
        """
        place, socket = self._places.get(link), self._hellos.get(link)
        if place is None or socket is None or self._keys is None:
            return
        self._said += 1
        sender = Sender(self._cluster, own, self._incarnation)
        socket.send(encode(message, sender, self._keys, seq=self._said, source=place.mac, to=to))

    def _on_answer(self, _index: int, frame: bytes) -> bool:
        """Any ARP packet of the node's kernel shows that it lives: answers, and its own questions."""
        try:
            arp = frames.decode(frame)
        except frames.MalformedFrame:
            return False
        return arp.sender_ip in self._awaited and self._nodes.answered(arp.sender_ip, time.monotonic())

    def _expire(self) -> None:
        """Read what waits, then let time have passed: a busy loop must not take its own delay for silence."""
        self._timer = None
        for sockets, on_frame in ((self._hellos, self._on_spoken), (self._answers, self._on_answer)):
            for index, socket in sockets.items():
                while (frame := socket.receive()) is not None:
                    on_frame(index, frame)
        asks = self._nodes.expire(time.monotonic())
        self._after()
        for ask in asks:
            self._ask(ask)

    def _ask(self, ask: Ask) -> None:
        place = self._places.get(ask.link)
        own = place.source_for(ask.address) if place else None
        socket = self._answers.get(ask.link)
        if place is None or own is None or socket is None:
            self._nodes.answered(ask.address, time.monotonic())  # who cannot be asked is not given up
        else:
            socket.send(frames.request(place.mac, own, ask.address))

    def _after(self) -> None:
        """Follow what the machine says now: answers to await, the timer, and who is dead."""
        awaited = self._nodes.asking()
        if awaited != self._awaited:
            self._await(awaited)
        due = self._nodes.next_at()
        loop = asyncio.get_running_loop()
        if due is not None and (self._timer is None or self._timer.when() > _loop_time(due) + 0.001):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(_loop_time(due), self._expire)
        if self._nodes.dead != self._told:
            self._told = self._nodes.dead
            self._on_change(self._told)

    def _await(self, awaited: frozenset[bytes]) -> None:
        """ARP sockets for answers of these addresses, none for nobody."""
        self._awaited = awaited
        if not awaited:
            self._close_all(self._answers)
            return
        program = bpf.arp_about(bpf.aggregate(awaited))
        for index in self._hellos:
            if index in self._answers:
                self._answers[index].set_filter(program)
            else:
                self._open(self._answers, index, frames.ETHERTYPE_ARP, program, self._on_answer)


def _loop_time(moment: float) -> float:
    """A moment of time.monotonic on the loop's clock, which may be another one in tests."""
    return asyncio.get_running_loop().time() + moment - time.monotonic()

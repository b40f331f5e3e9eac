"""Listens to the speakers and asks kernels on the node's links, for `liveness` and `moves`. Thin.

Hellos wake nobody: they wait in a socket of their own and are read ten times a second, and before a silence
is judged. A hundred nodes would else wake this process a thousand times a second, for nothing. What wakes it
are the frames of planned moves; the sockets for answers (ARP, NDP) exist only while somebody is asked.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from strictarp.arp import bpf
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
from strictarp.proxy import asking
from strictarp.proxy.asking import Place
from strictarp.proxy.liveness import Ask, Member, Nodes
from strictarp.proxy.seam import HostLinks
from strictarp.proxy.settings import Liveness as Limits

log = logging.getLogger(__name__)

_LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x30, 0x15, 0x06
_TYPE_OFFSET = 14 + 5
READ_EVERY = 0.1
"""Seconds between two looks at the hellos that have come: a silence is noticed so much later at most."""

_MOST_WAITING = 4096
"""Frames; the buffer of a socket holds fewer."""


def _of_types(*numbers: int) -> bpf.Program:
    """Speakers' frames of these types for this host, and no others."""
    return (
        *bpf.ethertype(ETHERTYPE)[:-1],
        bpf.Instruction(_LOAD_BYTE, 0, 0, _TYPE_OFFSET),
        *(
            bpf.Instruction(_JUMP_EQUAL, len(numbers) - index, 0, number)
            for index, number in enumerate(numbers)
        ),
        bpf.Instruction(_RETURN, 0, 0, 0),
        bpf.Instruction(_RETURN, 0, 0, bpf.WHOLE_FRAME),
    )


BEATS = _of_types(HELLO_TYPE)
MOVES = _of_types(*(ENCODERS[kind][0] for kind in (Offer, Accept, Release, Spent)))


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
        self._moves: dict[int, RawSocket] = {}
        self._answers: dict[int, dict[int, RawSocket]] = {each: {} for each in asking.ETHERTYPES}
        self._awaited: frozenset[bytes] = frozenset()
        self._timer: asyncio.TimerHandle | None = None
        self._incarnation = secrets.randbits(64)
        self._said = 0
        self._left_out: set[tuple[str, int]] = set()

    def close(self) -> None:
        """Close all sockets and stop the timer."""
        for sockets in self._all_sockets():
            self._close_all(sockets)
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
        wanted = asking.places(host, members.values()) if keys is not None and cluster is not None else {}
        before, after = ({i: place.mac for i, place in some.items()} for some in (self._places, wanted))
        broken = {i for sockets in self._all_sockets() for i, socket in sockets.items() if socket.broken}
        for index in [i for i in before if after.get(i) != before[i] or i in broken]:
            for sockets in self._all_sockets():
                self._close(sockets, index)
        self._places = wanted
        for index in wanted.keys() - self._hellos.keys():
            self._open(self._hellos, index, ETHERTYPE, BEATS)
        for index in wanted.keys() - self._moves.keys():
            self._open(self._moves, index, ETHERTYPE, MOVES, self._on_move)
        self._after()

    @property
    def links(self) -> frozenset[int]:
        """Where it hears."""
        return frozenset(self._moves)

    def _all_sockets(self) -> tuple[dict[int, RawSocket], ...]:
        return self._hellos, self._moves, *self._answers.values()

    def _open(
        self,
        sockets: dict[int, RawSocket],
        index: int,
        ethertype: int,
        program: bpf.Program,
        on_frame: Callable[[int, bytes], None] | None = None,
    ) -> None:
        """on_frame: called for each frame at once; else they wait to be read."""
        groups = (GROUP_MAC,) if ethertype == ETHERTYPE else ()
        try:
            made = RawSocket(index, ethertype, program, groups=groups)
        except OSError as error:
            log.warning("link not heard", extra={"fields": {"link": index, "reason": str(error)}})
            return
        sockets[index] = made
        if on_frame is not None:
            made.watch(asyncio.get_running_loop(), partial(on_frame, index))

    def _close(self, sockets: dict[int, RawSocket], index: int) -> None:
        old = sockets.pop(index, None)
        if old is not None:
            old.unwatch(asyncio.get_running_loop())
            old.close()

    def _close_all(self, sockets: dict[int, RawSocket]) -> None:
        for index in list(sockets):
            self._close(sockets, index)

    def _read_hellos(self) -> None:
        for index, socket in self._hellos.items():
            for frame in _waiting(socket):
                self._on_hello(index, frame)

    def _on_hello(self, index: int, frame: bytes) -> None:
        if self._keys is None:
            return
        try:
            beat = decode_beat(frame, self._cluster, self._keys)
        except FrameError:
            self.unreadable += 1
            return
        self._nodes.hear(beat, index, time.monotonic())

    def _on_move(self, index: int, frame: bytes) -> None:
        if self._keys is None:
            return
        try:
            spoken = decode(frame, self._cluster, self._keys)
        except FrameError:
            self.unreadable += 1
            return
        self._read_hellos()  # they say which incarnation of a speaker is the present one
        known = spoken.node in self._members and isinstance(spoken.message, Spent)
        if known or self._nodes.is_current(spoken.node, spoken.incarnation, spoken.seq):
            self._on_frame(spoken, index)

    def reachable(self, node: int, link: int, destination: bytes) -> Member | None:
        """A node that can be the next hop to `destination` on a link; None when no address of that family
        there is in a subnet of this node, which is told once.
        """
        member, place = self._members.get(node), self._places.get(link)
        if member is None or place is None:
            return None
        if place.source_for(member.next_hop(destination)) is None:
            self._leave_out(member.name, len(destination))
            return None
        return member

    def _leave_out(self, name: str, width: int) -> None:
        if (name, width) in self._left_out:
            return
        self._left_out.add((name, width))
        family = "IPv4" if width == 4 else "IPv6"
        reason = f"it has no {family} InternalIP in a subnet of this node there"
        log.warning(
            "connections of IPs that come from a node are not passed on",
            extra={"fields": {"node": name, "family": family, "reason": reason}},
        )

    def say(self, message: Message, own: int, *, link: int, to: bytes) -> None:
        """Send a message as node `own` to a host on a link, if it is heard. It may be lost.

        The proxy's incarnation is not its speaker's, so that nothing it says counts as the speaker's.
        """
        place, socket = self._places.get(link), self._moves.get(link)
        if place is None or socket is None or self._keys is None:
            return
        self._said += 1
        sender = Sender(self._cluster, own, self._incarnation)
        socket.send(encode(message, sender, self._keys, seq=self._said, source=place.mac, to=to))

    def _on_answer(self, _index: int, frame: bytes) -> None:
        now = time.monotonic()
        if True in [self._nodes.answered(each, now) for each in asking.alive(frame)]:
            # Later, since it may close the socket that is being read.
            asyncio.get_running_loop().call_soon(self._after)

    def _expire(self) -> None:
        """Read what waits, then let time have passed: a busy loop must not take its own delay for silence."""
        self._timer = None
        self._read_hellos()
        for sockets in self._answers.values():
            for index, socket in sockets.items():
                for frame in _waiting(socket):
                    self._on_answer(index, frame)
        asks = self._nodes.expire(time.monotonic())
        self._after()
        for ask in asks:
            self._ask(ask)
        self._after()

    def _ask(self, ask: Ask) -> None:
        place = self._places.get(ask.link)
        question = asking.question(place, ask.member) if place else None
        socket = self._answers[question.ethertype].get(ask.link) if question else None
        if question is None or socket is None:
            self._nodes.not_asked(ask, time.monotonic())
        else:
            socket.send(question.frame)

    def _after(self) -> None:
        """Follow what the machine says now: answers to await, the timer, and who is dead."""
        awaited = self._nodes.asking()
        if awaited != self._awaited:
            self._await(awaited)
        self._plan()
        if self._nodes.dead != self._told:
            self._told = self._nodes.dead
            self._on_change(self._told)

    def _plan(self) -> None:
        """Look at the hellos again, at the latest when somebody may be silent or is to be asked."""
        loop = asyncio.get_running_loop()
        dues = [loop.time() + READ_EVERY] if self._hellos else []
        silence = self._nodes.next_at()
        if silence is not None:
            dues.append(_loop_time(silence))
        if dues and (self._timer is None or self._timer.when() > min(dues) + 0.001):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(min(dues), self._expire)

    def _await(self, awaited: frozenset[bytes]) -> None:
        """Sockets for answers of these addresses, none for nobody."""
        self._awaited = awaited
        programs = asking.filters(awaited)
        for ethertype, sockets in self._answers.items():
            program = programs.get(ethertype)
            if program is None:
                self._close_all(sockets)
                continue
            for index in self._hellos:
                if index in sockets:
                    sockets[index].set_filter(program)
                else:
                    self._open(sockets, index, ethertype, program, self._on_answer)


def _waiting(socket: RawSocket) -> Iterator[bytes]:
    """All frames that wait in a socket; not also those that a flood adds meanwhile, or it would never end."""
    for _ in range(_MOST_WAITING):
        frame = socket.receive()
        if frame is None:
            return
        yield frame


def _loop_time(moment: float) -> float:
    """A moment of time.monotonic on the loop's clock, which may be another one in tests."""
    return asyncio.get_running_loop().time() + moment - time.monotonic()

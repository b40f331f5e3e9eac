"""One machine on one link: its sockets, its timer, and what it asks to be done. Thin.

Frames that wait are always fed before a timer: the machine must not take this process's own delay for the
silence of others.

Where the kernel may answer for this process (`kernel_answers`), the questions that it has answered wait in a
socket of their own, which wakes nobody, and are heard at the next timer: they count as before, and who
asked is known; only no answer is sent a second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

from strictarp.arp import answering, bpf
from strictarp.arp.frames import ETHERTYPE_ARP
from strictarp.arp.groups import Groups
from strictarp.arp.ndp_frames import ALL_NODES_MAC, ETHERTYPE_IPV6, solicited_node
from strictarp.arp.rawsocket import RawSocket
from strictarp.hello.frames import ETHERTYPE, GROUP_MAC
from strictarp.hello.messages import ENCODERS, HELLO_TYPE, Release
from strictarp.speaker import resolution
from strictarp.speaker.actions import (
    Action,
    Answer,
    DiscardQueued,
    Disowned,
    Finished,
    Owning,
    Report,
    Send,
    Taken,
)
from strictarp.speaker.events import Event, FrameReceived, GatewayKnown, LinkChanged, TimerDue, ViewChanged
from strictarp.speaker.kernel_answers import KernelAnswers
from strictarp.speaker.latency import Latency
from strictarp.speaker.links import Place
from strictarp.speaker.machine import Machine
from strictarp.speaker.view import View

log = logging.getLogger(__name__)

_FRAMES_AT_ONCE = 512
_RELEASE_TYPE = ENCODERS[Release][0]
_RETRY_SECONDS = 1.0
_TYPE_OFFSET = 14 + 5
"""Of a speaker's message, from the start of its frame."""


class Traffic:
    """Frames about one VIP: requests for it while it was owned, answers, announcements to all."""

    __slots__ = ("announcements", "answers", "requests")

    def __init__(self) -> None:
        self.requests = self.answers = self.announcements = 0


Told = Owning | Disowned | Taken | Report | Finished
"""Actions that are not about frames: for whoever keeps logs, metrics and events."""


def now() -> int:
    """µs of CLOCK_BOOTTIME, which goes on while the host is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Segment:
    """Runs a machine on a link, in the running loop and network namespace, until `close`.

    on_told: called, in order, for what the machine has to say. Counters: answers, announcements, and
    `withheld`, frames that the lease forbade at the last moment; `answers_of_kernel`, those of the answers
    that the kernel gave.

    kernel_lease: for how many µs after each hello the kernel may answer ARP for this process; never more
    than the machine's own lease. 0: not at all.
    """

    def __init__(
        self,
        place: Place,
        machine: Machine,
        on_told: Callable[[Segment, Told], None],
        *,
        kernel_lease: int = 0,
    ) -> None:
        self.place = place
        self.machine = machine
        self.counts: Counter[str] = Counter()
        self.latency = Latency()
        """From the kernel's receipt of a question to its answer, where this process gave it."""
        self.traffic: defaultdict[bytes, Traffic] = defaultdict(Traffic)
        """By VIP, for those that this node has owned."""
        self.finished = asyncio.Event()
        self._on_told = on_told
        self._loop = asyncio.get_running_loop()
        self._hellos: RawSocket | None = None
        self._questions: RawSocket | None = None
        self._answered: RawSocket | None = None
        """Questions that the kernel has answered; there while the kernel may answer."""
        self._solicitations: RawSocket | None = None
        self._groups: Groups | None = None
        self._kernel = KernelAnswers(kernel_lease)
        self._kernel_may_answer = kernel_lease > 0
        self._said: int | None = None
        """When the hello was composed that was sent amid the present actions."""
        self._timer: asyncio.TimerHandle | None = None
        self._due: int | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._ranges: tuple[bpf.Range, ...] = ()
        self._prefixes: tuple[bpf.Prefix, ...] = ()
        self._view: View | None = None
        self._link_told: LinkChanged | None = None
        self.feed(GatewayKnown(place.gateway, place.gateway6))
        self._open()

    # --- life ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Say and hear nothing more."""
        self._close_sockets()
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        self._timer = self._retry = None

    def _open(self) -> None:
        """Sockets for hellos, ARP and NDP; when the link does not let us, again in a second."""
        self._retry = None
        self._try_to_open()
        self._tell_link()

    def _try_to_open(self) -> None:
        try:
            self._hellos = RawSocket(
                self.place.index, ETHERTYPE, bpf.ethertype(ETHERTYPE), groups=(GROUP_MAC,)
            )
            self._questions = RawSocket(self.place.index, ETHERTYPE_ARP, self._arp_filter())
            self._solicitations = RawSocket(
                self.place.index, ETHERTYPE_IPV6, self._ndp_filter(), groups=(ALL_NODES_MAC,)
            )
            self._groups = Groups(self.place.index)
        except OSError as error:
            self._close_sockets()
            log.warning("link not usable", extra={"fields": {"link": self.place.name, "reason": str(error)}})
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._open)
            return
        self._let_kernel_answer()
        self._hellos.watch(self._loop, self._on_hello)
        for socket in (self._questions, self._solicitations):
            socket.watch(self._loop, partial(self._on_question, socket))
        self._join_groups()

    def _let_kernel_answer(self) -> None:
        """From the next hello on. The sockets tell what is answered from what is not before anything is."""
        if not self._kernel_may_answer:
            return
        answered = bpf.marked(answering.ANSWERED, bpf.arp())
        try:
            self._answered = self._answered or RawSocket(self.place.index, ETHERTYPE_ARP, answered)
            if self._questions is not None:
                self._questions.set_filter(self._arp_filter())
            self._kernel.open(self.place.index, self.place.mac, self.machine.owned)
        except OSError as error:
            self._kernel.close()
            self._hear_all_questions()
            fields = {"link": self.place.name, "reason": str(error)}
            log.info("this process answers ARP on the link itself", extra={"fields": fields})

    def _hear_all_questions(self) -> None:
        """No program of ours marks frames here."""
        if self._answered is not None:
            self._answered.close()
            self._answered = None
        if self._questions is not None:
            with contextlib.suppress(OSError):  # the link is going: `move` opens new sockets
                self._questions.set_filter(self._arp_filter())

    @property
    def kernel_answers(self) -> bool:
        """Whether a program of ours answers ARP on the link, while the lease holds."""
        return self._kernel.active

    def _mend(self) -> None:
        """Open sockets anew that died with the link: another may have its index by now, and look alike."""
        broken = self._kernel.broken or any(socket.broken for socket in self._sockets)
        if self.place.up and self._retry is None and broken:
            self._close_sockets()
            self._open()

    def _tell_link(self) -> None:
        """Without sockets nothing passes: a hello that is not sent must not count as said."""
        if not self.place.up:
            self._kernel.cut()
        now = LinkChanged(self.place.mac, self.place.up and bool(self._sockets), self.place.own6)
        if now != self._link_told:
            self._link_told = now
            self.feed(now)

    def _close_sockets(self) -> None:
        self._kernel.close()
        for socket in self._sockets:
            self.counts["lost"] += socket.dropped
            socket.unwatch(self._loop)
            socket.close()
        if self._groups is not None:
            self._groups.close()
        self._hellos = self._questions = self._answered = self._solicitations = self._groups = None

    @property
    def _sockets(self) -> list[RawSocket]:
        every = (self._hellos, self._questions, self._answered, self._solicitations)
        return [socket for socket in every if socket is not None]

    def move(self, place: Place) -> None:
        """The same link, as it is now: another MAC, carrier, subnets or gateway."""
        before, self.place = self.place, place
        if place.mac != before.mac and self._questions is not None:
            self._let_kernel_answer()
        if (place.gateway, place.gateway6) != (before.gateway, before.gateway6):
            self._refilter()
            self.feed(GatewayKnown(place.gateway, place.gateway6))
        if place.up and not before.up and self._retry is None:
            self._close_sockets()
            self._open()
        self._mend()
        self._tell_link()

    def show(self, view: View) -> None:
        """What the API says now."""
        if view == self._view:
            return
        self._view = view
        for gone in self.traffic.keys() - view.vips.keys():
            del self.traffic[gone]
        self._refilter()
        self.feed(ViewChanged(view))

    def _refilter(self) -> None:
        """Hear about the VIPs, the nodes and the gateways only: a storm of other ARP costs no wake-up."""
        addresses = [*self._view.vips, *self._view.nodes] if self._view is not None else []
        addresses += [each for each in (self.place.gateway, self.place.gateway6) if each is not None]
        ranges = bpf.aggregate(each for each in addresses if len(each) == 4)
        prefixes = bpf.aggregate6(each for each in addresses if len(each) == 16)
        with contextlib.suppress(OSError):  # the link is going: `move` opens new sockets
            if ranges != self._ranges:
                self._ranges = ranges
                if self._questions is not None:
                    self._questions.set_filter(self._arp_filter())
            if prefixes != self._prefixes:
                self._prefixes = prefixes
                if self._solicitations is not None:
                    self._solicitations.set_filter(self._ndp_filter())
        self._join_groups()

    def _arp_filter(self) -> bpf.Program:
        about = bpf.arp_about(self._ranges) if self._ranges else bpf.nothing()
        return about if self._answered is None else bpf.marked(answering.ANSWERED, about, others=True)

    def _ndp_filter(self) -> bpf.Program:
        return bpf.ndp_about(self._prefixes) if self._prefixes else bpf.nothing()

    def _join_groups(self) -> None:
        """Those of all VIPs that this node may own: a takeover must not wait for a switch to learn them."""
        vips = self._view.vips.values() if self._view is not None else ()
        wanted = {solicited_node(vip.address) for vip in vips if vip.eligible and len(vip.address) == 16}
        if self._groups is None or self._solicitations is None or self._groups.show(wanted):
            return
        with contextlib.suppress(OSError):
            self._solicitations.hear_all_groups()

    # --- what comes in ------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Let the machine know, and do what it says."""
        at = now()
        self._do(self.machine.step(event, at), at)
        self._plan_timer()

    def _on_hello(self, data: bytes) -> None:
        if _type_of(data) == _RELEASE_TYPE:
            self._hear_questions()
        self.feed(FrameReceived(data))

    def _hear_questions(self) -> None:
        """Those that came before a RELEASE were the last owner's to answer, and it may have."""
        for socket in (self._questions, self._solicitations):
            if socket is not None:
                self._read(socket)

    def _on_answered(self, data: bytes) -> None:
        """A question that the kernel has answered."""
        asked = self.machine.answer(data, now())
        if asked is None:
            self.feed(FrameReceived(data))
            return
        self.counts["answers"] += 1
        self.counts["answers_of_kernel"] += 1
        traffic = self.traffic[asked.address]
        traffic.requests += 1
        traffic.answers += 1

    def _on_question(self, socket: RawSocket, data: bytes) -> None:
        answer = self.machine.answer(data, now())
        if answer is None:
            self.feed(FrameReceived(data))
            return
        traffic = self.traffic[answer.address]
        traffic.requests += 1
        if self._put(answer.data):
            self.counts["answers"] += 1
            traffic.answers += 1
            self.latency.add(socket.age() // 1000)

    def _plan_timer(self) -> None:
        due = self.machine.next_deadline()
        if due == self._due and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = None
        if due is not None:
            self._timer = self._loop.call_later(max(0, due - now()) / 1e6, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for socket in self._sockets:
            self._read(socket)
        self._mend()
        self.feed(TimerDue())

    def _read(self, socket: RawSocket) -> None:
        """What waits there, but not for ever."""
        take = self._taker(socket)
        for _ in range(_FRAMES_AT_ONCE):
            data = socket.receive()
            if data is None:
                return
            take(data)

    def _taker(self, socket: RawSocket) -> Callable[[bytes], None]:
        if socket is self._hellos:
            return self._on_hello
        if socket is self._answered:
            return self._on_answered
        return partial(self._on_question, socket)

    # --- what goes out ------------------------------------------------------------------------------------

    def _do(self, actions: list[Action], at: int) -> None:
        """at: the time of the step."""
        self._said = None
        if self._kernel.active:
            self._take_from_kernel(actions)
        for action in actions:
            match action:
                case Send(data=data):
                    if self._send(data) and _is_hello(data):
                        self._said = at
                case Answer():
                    self._answer(action)
                case DiscardQueued():
                    self._kernel.cut()
                    for socket in self._sockets:
                        self.counts["discarded"] += socket.discard()
                case Finished():
                    self.finished.set()
                    self._on_told(self, action)
                case _:
                    self._tell_kernel(action)
                    self._on_told(self, action)
        if self._said is not None:
            self._kernel.said(self._said)

    def _take_from_kernel(self, actions: list[Action]) -> None:
        """What is owned no more, before the frames that say so."""
        for action in actions:
            if isinstance(action, Disowned):
                self._kernel.disown(action.address)

    def _tell_kernel(self, action: Action) -> None:
        if isinstance(action, Owning):
            self._kernel.own(action.address)
        elif isinstance(action, Disowned):
            self._kernel.disown(action.address)

    def _answer(self, action: Answer) -> None:
        traffic = self.traffic[action.address]
        traffic.requests += not action.announcement
        if not self._send(action.data):
            return
        self.counts["announcements" if action.announcement else "answers"] += 1
        if not action.announcement:
            traffic.answers += 1
        elif action.data[0] & 1:  # to a group: questions to single hosts announce, but are not gratuitous
            traffic.announcements += 1

    def _send(self, data: bytes) -> bool:
        """Put a frame on the link, unless this process was stopped since the machine decided on it."""
        if not self.machine.may_answer(now()):
            self.counts["withheld"] += 1
            self._said = None
            self._kernel.cut()
            return False
        return self._put(data)

    def _put(self, data: bytes) -> bool:
        """By the socket of its EtherType: the kernel believes that, not the frame, e.g. in filters."""
        kind = data[12:14]
        if kind == resolution.ARP:
            socket = self._questions
        elif kind == resolution.NDP:
            socket = self._solicitations
        else:
            socket = self._hellos
        if socket is None or not socket.send(data):
            self.counts["unsent"] += 1
            return False
        return True


def _is_hello(data: bytes) -> bool:
    """Whether a frame that this node sends tells all others that it lives, and what it owns."""
    return data[12:14] == ETHERTYPE.to_bytes(2, "big") and _type_of(data) == HELLO_TYPE


def _type_of(data: bytes) -> int:
    """Of a speaker's message; 0 for what is too short to be one."""
    return data[_TYPE_OFFSET] if len(data) > _TYPE_OFFSET else 0

"""A node: its kernel, its speaker's process, and the real machine, driven as the real shell drives it."""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable, Iterable

from simulation.api import Api, Watcher
from simulation.clock import Clock, LocalClock
from simulation.hosts import kernel_answer
from simulation.segment import Segment
from simulation.trace import Trace, What
from simulation.wording import frame_text
from strictarp.hello.auth import Keys
from strictarp.speaker.actions import (
    Action,
    Answer,
    DiscardQueued,
    Disowned,
    Finished,
    Owning,
    Report,
    Send,
)
from strictarp.speaker.events import (
    Event,
    FrameReceived,
    GatewayKnown,
    KeysChanged,
    LinkChanged,
    TimerDue,
    ViewChanged,
)
from strictarp.speaker.machine import Machine
from strictarp.speaker.resolution import ARP, NDP
from strictarp.speaker.settings import Settings
from strictarp.speaker.view import View

_HELLO = b"\x88\xb5"
_TYPE = 14 + 5
_HELLO_TYPE = 1
_TIMER_FIRST = 0.25
"""A loop that was stopped mostly takes the frames that waited before a timer that is due, but not always: its
socket hands it a bounded number at a time.
"""
_ORDER_OF_SOCKETS = 0.5
"""Questions and hellos wait in different sockets, which may be emptied one after the other."""
_SOCKET_BUFFER = 256
"""Frames that wait for a stopped process; the kernel drops what comes after them."""


class Process(enum.Enum):
    """What the speaker's process is doing."""

    DEAD = enum.auto()
    RUNNING = enum.auto()
    STOPPED = enum.auto()


_RUNNING = Process.RUNNING


class Identity:
    """Who a node is, for good. cluster: number of its cluster in this run; cluster_id: on the wire."""

    __slots__ = ("address", "address6", "cluster", "cluster_id", "label", "mac", "name")

    def __init__(
        self,
        label: str,
        name: str,
        cluster: int,
        cluster_id: int,
        mac: bytes,
        address: bytes,
        address6: bytes,
    ) -> None:
        self.label = label
        self.name = name
        self.cluster = cluster
        self.cluster_id = cluster_id
        self.mac = mac
        self.address = address
        self.address6 = address6


class Node:
    """One node of a cluster. kernel_answers: strictARP is off, so the kernel answers for every VIP."""

    def __init__(
        self,
        identity: Identity,
        *,
        clock: Clock,
        local: LocalClock,
        segment: Segment,
        api: Api,
        settings: Settings,
        keys: Keys,
        gateways: tuple[bytes | None, bytes | None],
        chance: random.Random,
        trace: Trace,
        lag: int,
    ) -> None:
        self.identity = identity
        self.label = identity.label
        self.mac = identity.mac
        self.clock = clock
        self.time = local
        self.segment = segment
        self.api = api
        self.api_delay = 0
        self.settings = settings
        self.keys = keys
        self.gateways = gateways
        self.chance = chance
        self.trace = trace
        self.lag = lag
        self.link_up = True
        self.kernel_answers = False
        self.kernel_vips: frozenset[bytes] = frozenset()
        self.told_mac = self.mac
        """That of the last hello: by which the others know this node."""
        self.foreign: set[bytes] = set()
        """VIPs that its kernel has answered for with a MAC that nobody knows."""
        self.process = Process.DEAD
        self.machine: Machine | None = None
        self.births = 0
        self.on_report: Callable[[Node, Report], None] | None = None
        self.port = segment.plug(self.label, self.mac, self.receive, lag=lag, speaks=True)
        self._reset()

    def _reset(self) -> None:
        self.queue: deque[bytes] = deque()
        self.events: deque[Event] = deque()
        self.unfinished: list[Action] = []
        self.said_at = 0
        """When the machine said what is being done: earlier than now after a stop in between."""
        self.due: int | None = None
        self.view: View | None = None
        self.freeze_in: int | None = None
        """Actions until the process is stopped in the middle of doing what the machine said."""
        self.steps_left: int | None = None
        """Steps until a stuttering process is stopped again."""
        self.when_stopped: Callable[[], None] | None = None
        self.gone_when_finished = False

    # Life and death.

    def start(self) -> None:
        """A new process on this node."""
        if self.process is not Process.DEAD:
            return
        self._reset()
        self.births += 1
        self.process = Process.RUNNING
        self.trace.add(self.clock.now, What.STARTED, self.label)
        self.machine = Machine(
            self.identity.name,
            self.identity.cluster_id,
            self.settings,
            keys=self.keys,
            chance=random.Random(self.chance.getrandbits(64)),
        )
        self.feed(GatewayKnown(*self.gateways))
        self.feed(LinkChanged(self.mac, self.link_up, self.identity.address6))
        self.api.connect(
            Watcher(
                self.identity.name, self.take_view, lambda: self.time.local(self.clock.now), self.api_delay
            )
        )
        self._renew(self.births)

    def kill(self) -> None:
        """The process is gone; its kernel lives on."""
        if self.process is Process.DEAD:
            return
        self.process = Process.DEAD
        self.machine = None
        self.api.disconnect(self.identity.name)
        self.trace.add(self.clock.now, What.DIED, self.label)

    def stop(self) -> None:
        """SIGSTOP."""
        if self.process is Process.RUNNING:
            self.process = Process.STOPPED
            self.steps_left = None
            amid = self.said_at if any(isinstance(each, (Send, Answer)) for each in self.unfinished) else None
            self.trace.add(self.clock.now, What.STOPPED, self.label, info=amid)

    def wake(self, *, steps: int | None = None, then: Callable[[], None] | None = None) -> None:
        """SIGCONT. steps: be stopped again after so many steps, and call `then`."""
        if self.process is not Process.STOPPED:
            return
        self.process = Process.RUNNING
        self.steps_left, self.when_stopped = steps, then
        self.trace.add(self.clock.now, What.WOKE, self.label)
        rest, self.unfinished = self.unfinished, []
        self._carry_out(rest)
        if self.chance.random() < _TIMER_FIRST:
            self.due = None
            self._schedule(late=False)
            self.clock.at(self.clock.now, self._take_queued)
        else:
            self._take_queued()

    def _take_queued(self) -> None:
        if self.chance.random() < _ORDER_OF_SOCKETS:
            self.queue = deque(sorted(self.queue, key=_is_question, reverse=self.chance.random() < 0.5))
        while self.queue and self.process is Process.RUNNING:
            self._handle(self.queue.popleft())
        while self.events and self.process is Process.RUNNING:
            self.feed(self.events.popleft())
        if self.process is Process.RUNNING:
            self.due = None
            self._schedule()

    def _renew(self, birth: int) -> None:
        if birth != self.births or self.process is Process.DEAD:
            return
        if self.process is Process.RUNNING:
            self.api.renew(self.identity.name, self.mac, self.identity.address)
        self.clock.at(self.clock.now + self.api.renewal, self._renew, birth)

    # What comes in.

    def take_view(self, view: View) -> None:
        """The shell has made a view of what the API says."""
        if view != self.view:
            self.view = view
            self.feed(ViewChanged(view))

    def set_link(self, mac: bytes, *, up: bool) -> None:
        """The card was replaced, or its carrier came or went."""
        if mac != self.mac:
            self.segment.change_mac(self.port, mac)
        self.mac, self.link_up = mac, up
        self.feed(LinkChanged(mac, up, self.identity.address6))

    def take_keys(self, keys: Keys) -> None:
        """The Secret has changed."""
        self.keys = keys
        self.feed(KeysChanged(keys))

    def feed(self, event: Event) -> None:
        """Anything but a frame, for the machine."""
        if self.process is Process.STOPPED:
            self.events.append(event)
        elif self.machine is not None:
            if isinstance(event, ViewChanged):
                self.trace.add(self.clock.now, What.SEES, self.label, info=event.view)
            self._step(event)

    def receive(self, data: bytes) -> None:
        """A frame from the wire: first the kernel, then the speaker's socket."""
        if not self.link_up:
            return
        if data[12:14] == ARP:  # by NDP a kernel answers only for addresses of this very link
            self._kernel(data)
        if self.process is _RUNNING:
            self._handle(data)
            if self.process is _RUNNING and self.machine is not None:
                due = self.machine.next_deadline()
                if due != self.due:
                    self._set_timer(due)
        elif self.process is Process.STOPPED and len(self.queue) < _SOCKET_BUFFER:
            self.queue.append(data)

    def _kernel(self, data: bytes) -> None:
        target = data[38:42]
        if target == self.identity.address or (self.kernel_answers and target in self.kernel_vips):
            reply = kernel_answer(data, self.mac)
            if reply is not None:
                self.segment.transmit(self.port, reply)
                self._is_foreign(target)

    def _is_foreign(self, vip: bytes) -> None:
        """With a new card and a process that says no hello, it is a foreign host to all others."""
        if self.mac != self.told_mac and vip in self.kernel_vips and vip not in self.foreign:
            self.foreign.add(vip)
            self.trace.add(self.clock.now, What.FOREIGN, self.label, vip, info=True)

    def _is_known(self) -> None:
        self.told_mac = self.mac
        for vip in sorted(self.foreign):
            self.trace.add(self.clock.now, What.FOREIGN, self.label, vip, info=False)
        self.foreign.clear()

    def _handle(self, data: bytes) -> None:
        machine = self.machine
        if machine is None:
            return
        now = self.time.local(self.clock.now)
        if data[12:14] != _HELLO:
            reply = machine.answer(data, now)
            if reply is not None:
                self._answer(reply.data, reply.address, announcement=False)
                self._count_step()
                return
        actions = machine.step(FrameReceived(data), now)
        if actions:
            self._perform(actions)
        if self.steps_left is not None:
            self._count_step()

    # What goes out.

    def _step(self, event: Event) -> None:
        if self.machine is None:
            return
        actions = self.machine.step(event, self.time.local(self.clock.now))
        if actions:
            self._perform(actions)
        self._count_step()
        if self.process is Process.RUNNING:
            self._schedule()

    def _count_step(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left <= 0 and self.process is Process.RUNNING:
                self._stop_again()

    def _stop_again(self) -> None:
        then, self.when_stopped = self.when_stopped, None
        self.stop()
        if then is not None:
            then()

    def _perform(self, actions: Iterable[Action]) -> None:
        """Do what the machine has just said. What it tells is so at once, whenever the shell hears it."""
        self.said_at = self.clock.now
        frames = []
        for action in actions:
            if isinstance(action, (Send, Answer, DiscardQueued)):
                frames.append(action)
            else:
                self._tell(action)
        if frames:
            self._carry_out(frames)

    def _carry_out(self, actions: Iterable[Action]) -> None:
        """In order; a process may be stopped in between."""
        rest = iter(actions)
        for action in rest:
            if self.freeze_in is not None:
                self.freeze_in -= 1
                if self.freeze_in <= 0:
                    self.freeze_in = None
                    self.unfinished = [action, *rest]
                    self._stop_again()
                    return
            self._do(action)

    def _do(self, action: Action) -> None:
        now = self.clock.now
        match action:
            case Send() | Answer() if not (self.machine and self.machine.may_answer(self.time.local(now))):
                address = action.address if isinstance(action, Answer) else b""
                self.trace.add(now, What.WITHHELD, self.label, address)
            case Send(data=data):
                self._send(data)
            case Answer():
                self._answer(action.data, action.address, announcement=action.announcement)
            case DiscardQueued():
                self.queue.clear()

    def _tell(self, action: Action) -> None:
        now = self.clock.now
        match action:
            case Report():
                self.trace.add(now, What.REPORTS, self.label, info=action)
                if self.on_report is not None:
                    self.on_report(self, action)
            case Owning():
                self.trace.add(now, What.OWNS, self.label, action.address, action.epoch)
            case Disowned():
                self.trace.add(now, What.DISOWNS, self.label, action.address)
            case Finished():
                if self.gone_when_finished:
                    # The last hello of this very step is still to be sent.
                    self.clock.at(now, self.kill)

    def _send(self, data: bytes) -> None:
        if data[_TYPE] == _HELLO_TYPE and data[12:14] == _HELLO and self.link_up:
            self.trace.add(self.clock.now, What.HELLO, self.label, info=(*_hello_head(data), self.said_at))
            self._is_known()
        if self.trace.verbose:
            self._note_frame(data)
        if self.link_up:
            self.segment.transmit(self.port, data)

    def _note_frame(self, data: bytes) -> None:
        words = frame_text(data, self.identity.cluster_id, self.keys)
        if words:
            self.trace.add(self.clock.now, What.FRAME, self.label, info=words)

    def _answer(self, data: bytes, address: bytes, *, announcement: bool) -> None:
        self.trace.add(self.clock.now, What.ANSWERS, self.label, address, announcement)
        if self.link_up:
            self.segment.transmit(self.port, data)

    # Timers.

    def _schedule(self, *, late: bool = True) -> None:
        if self.machine is None:
            return
        due = self.machine.next_deadline()
        if due != self.due:
            self._set_timer(due, late=late)

    def _set_timer(self, due: int | None, *, late: bool = True) -> None:
        self.due = due
        if due is not None:
            lag = int(self.chance.random() * self.lag) if late else 0
            self.clock.at(self.time.true(due) + lag, self._ring, due, self.births)

    def _ring(self, due: int, birth: int) -> None:
        if due == self.due and birth == self.births and self.process is Process.RUNNING:
            self.due = None
            self._step(TimerDue())


def _is_question(data: bytes) -> bool:
    return data[12:14] in (ARP, NDP)


def _hello_head(data: bytes) -> tuple[int, bool, int]:
    """State, ISOLATED and incarnation of a HELLO."""
    return data[54], bool(data[55] & 1), int.from_bytes(data[38:46], "big")

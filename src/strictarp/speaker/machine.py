"""The speaker's machine: one node on one segment, without I/O, clock or chance of its own.

A shell feeds it (`step`), sends what it returns, and wakes it at `next_deadline`.
"""

from __future__ import annotations

import random
from collections import Counter

from strictarp.hello.auth import Keys
from strictarp.hello.frames import ETHERTYPE
from strictarp.hello.messages import State
from strictarp.speaker import (
    auditing,
    claims,
    handover,
    hearing,
    neighbours,
    observing,
    ownership,
    presence,
    resolution,
    viewing,
)
from strictarp.speaker.actions import Action, Answer
from strictarp.speaker.agenda import Timer
from strictarp.speaker.core import Core
from strictarp.speaker.events import (
    DrainEnded,
    DrainRequested,
    Event,
    FrameReceived,
    GatewayKnown,
    KeysChanged,
    LinkChanged,
    MoveRequested,
    Resumed,
    TimerDue,
    ViewChanged,
)
from strictarp.speaker.looking import look_at_all
from strictarp.speaker.observing import Holding, Sight
from strictarp.speaker.settings import Settings
from strictarp.speaker.slots import Cause, Phase

_HELLO = ETHERTYPE.to_bytes(2, "big")


class Machine:
    """Who answers for which IP on this segment, as far as this node is concerned.

    node: its name. cluster: `ids.cluster_id`. keys: may come later by KeysChanged. chance: in a shell
    random.SystemRandom(), in a test random.Random(seed).
    """

    def __init__(
        self, node: str, cluster: int, settings: Settings, *, keys: Keys | None, chance: random.Random
    ) -> None:
        self._core = Core(node, cluster, settings, keys=keys, chance=chance)

    @property
    def counters(self) -> Counter[str]:
        """Frames that did not count, by why."""
        return self._core.counters

    @property
    def state(self) -> State:
        """What the hellos say of this node."""
        return self._core.state

    @property
    def owned(self) -> dict[bytes, int]:
        """The VIPs that this node owns, and their epochs."""
        return {address: slot.epoch for address, slot in self._core.owned.items()}

    @property
    def sights(self) -> list[Sight]:
        """The other nodes, as seen from here at the last step."""
        return observing.sights(self._core)

    @property
    def answerers(self) -> dict[bytes, int]:
        """Of the VIPs that this node has audited lately: how many MACs answered."""
        return {address: len(macs) for address, macs in self._core.answerers.items()}

    @property
    def holdings(self) -> dict[bytes, Holding]:
        """What there is to say of each VIP that this node owns."""
        return observing.holdings(self._core)

    @property
    def unanswered(self) -> dict[bytes, int]:
        """VIP → µs in all that nobody answered for it though its owner lived, as this node's audit saw."""
        return observing.unanswered(self._core)

    @property
    def unheard(self) -> list[str]:
        """Names of candidates that live by the API and were never heard on this segment."""
        return observing.unheard(self._core)

    def step(self, event: Event, now: int) -> list[Action]:
        """What follows from the event, to be done in order: the frames, then what there is to tell.

        now: µs of a clock that counts suspend.

        Before anything else the lease is checked: a node that has not said HELLO for too long owns nothing
        any more, whatever the event is.
        """
        core = self._core
        core.now = now
        core.out = []
        core.told = []
        core.seasoned_peers = None
        if core.stalled or not core.lease_holds:
            presence.lose_stale_lease(core)
        if type(event) is FrameReceived:
            _hear(core, event.data)
        else:
            _handle(core, event)
        core.seasoned_peers = None
        if core.looks:
            look_at_all(core)
        if core.wants_announcements:  # not before this step has given up what it gives up
            core.wants_announcements = False
            ownership.announce_due(core)
        if core.drain_until is not None:
            handover.finish_drain(core)
        if core.claims or core.probes or core.asks_gateway:
            core.flush_claims()
        if core.wants_hello:
            presence.flush_hello(core)
        return core.out + core.told if core.told else core.out

    def answer(self, data: bytes, now: int) -> Answer | None:
        """The answer to a question by ARP or NDP for an owned IP, to be sent at once; None: give the frame to
        `step`.

        The fast path; `step` gives the same answer.
        """
        core = self._core
        core.now = now
        if not core.lease_holds or core.stalled or core.isolated:
            return None
        found = neighbours.answer(core, data)
        if found is not None:
            core.heard_any = now
        return found

    def may_answer(self, now: int) -> bool:
        """Whether a frame of the last step may still be sent: asked right before each.

        The last hello must be fresh, and an owner's step as well. One that was stopped between a step and
        its frames has said nothing of what the machine believes to be said: it starts over at its next step.
        Whoever heard its claim defers for P + h/2 and then claims for P, so nobody else owns the IP before.
        """
        core = self._core
        if core.owned and now - core.now > core.settings.stall:
            core.stalled = True
            return False
        return core.last_hello is not None and now - core.last_hello <= core.lease

    def next_deadline(self) -> int | None:
        """When to feed TimerDue at the latest; it may change with every step."""
        return hearing.next_deadline(self._core)


def _handle(core: Core, event: Event) -> None:  # noqa: C901, PLR0912 - one case an event
    match event:
        case TimerDue():
            for timer, number, due in core.agenda.take_due(core.now):
                if timer is Timer.ANNOUNCE:
                    core.wants_announcements = True
                else:
                    _expire(core, timer, number, due)
        case ViewChanged(view=view):
            viewing.take_view(core, view)
        case LinkChanged():
            _change_link(core, event)
        case GatewayKnown(address=address, address6=address6):
            known = [each for each in (address, address6) if each is not None]
            if known != list(core.gateways):
                core.gateways, core.gateway_answered = dict.fromkeys(known, b""), None
        case KeysChanged(keys=keys):
            core.keys = keys
            presence.begin(core)
        case DrainRequested(leave=leave):
            handover.begin_drain(core, leave=leave)
        case DrainEnded():
            handover.end_drain(core)
        case MoveRequested(address=address, node=node):
            slot = ownership.leader(core, address)
            if slot is not None and slot.phase is Phase.OWN:
                handover.offer(core, slot, Cause.REQUEST, to=None if node is None else (node,))
        case Resumed():
            if core.last_hello is not None:
                presence.start_over(core, core.now - core.last_hello)


def _hear(core: Core, data: bytes) -> None:
    kind = data[12:14]
    if kind == _HELLO:
        hearing.hear(core, data)
    elif kind in (resolution.ARP, resolution.NDP):
        found = neighbours.answer(core, data) if core.lease_holds else None
        if found is not None:
            core.out.append(found)
        neighbours.hear(core, data)


def _change_link(core: Core, link: LinkChanged) -> None:
    """A new MAC is told to everybody: in a hello, and for each own IP."""
    moved = link.mac != core.mac
    core.mac, core.link_up, core.own6 = link.mac, link.up, link.own6
    presence.begin(core)
    if moved and core.owned and core.speaking:
        core.urgent_hello(at_once=True)
        for slot in core.owned.values():
            ownership.announce_rounds(core, slot)


def _expire(core: Core, timer: Timer, number: int, due: int) -> None:
    match timer:
        case Timer.HELLO:
            presence.tick(core)
            auditing.tick(core)
            core.look(core.some_waiting())
            core.look([slot.vip for slot in core.owned.values()] if core.drain_until is not None else ())
            core.look(core.misplaced)
            core.look(core.beside)
            core.urgent_hello(at_once=True)
        case Timer.URGENT:
            core.urgent_hello()
        case Timer.PEER:
            hearing.fall_silent(core, number)
        case Timer.REFRESH:
            ownership.refresh(core)
        case Timer.DRAIN:
            handover.drain_time_is_up(core)
        case Timer.RELEASE:
            if number in core.slots:
                handover.repeat_release(core, core.slots[number])
        case Timer.SLOT:
            if number in core.slots:
                _advance(core, number, due)


def _advance(core: Core, vip: int, due: int) -> None:
    slot = core.slots[vip]
    match slot.phase:
        case Phase.CLAIMING:
            claims.advance(core, slot, due)
        case Phase.OFFERING:
            handover.advance_offer(core, slot)
        case Phase.ACCEPTED:
            handover.expire_accepted(core, slot)
        case _:
            core.look((vip,))

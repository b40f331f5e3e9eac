"""Bugs planted on purpose into the machine: rules that look right and fail. The simulator must find each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest

import simulation.world
from simulation.node import Node
from strictarp.hello import ids, replay
from strictarp.hello.messages import Offer, Witness
from strictarp.speaker import claims, handover, hearing, presence
from strictarp.speaker.actions import Kind
from strictarp.speaker.core import Core
from strictarp.speaker.events import Event, TimerDue
from strictarp.speaker.machine import Machine
from strictarp.speaker.ownership import disown, own
from strictarp.speaker.peers import Peer
from strictarp.speaker.settings import MS, Settings
from strictarp.speaker.slots import Slot


class Bug(NamedTuple):
    """kinds: of faults that show it. breaks: promises, of which one must be found broken."""

    name: str
    plant: Callable[[pytest.MonkeyPatch], None]
    kinds: tuple[str, ...]
    breaks: frozenset[str]


def skip_the_probe(patch: pytest.MonkeyPatch) -> None:
    def begin(core: Core, slot: Slot) -> None:
        own(core, slot, slot.highest + 1)

    patch.setattr(claims, "begin", begin)


def no_claim_exchange(patch: pytest.MonkeyPatch) -> None:
    """ARP probes only: two nodes that probe within P both find the IP free."""
    patch.setattr(claims, "_say_claim", lambda core, slot: None)


def answer_before_release(patch: pytest.MonkeyPatch) -> None:
    take = handover.hear_offer

    def hear_offer(core: Core, peer: Peer, message: Offer) -> None:
        take(core, peer, message)
        slot = core.slots.get(message.vip)
        if slot is not None and slot.accepted is not None:
            own(core, slot, slot.accepted.epoch)

    patch.setattr(handover, "hear_offer", hear_offer)


def lease_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Core, "lease_holds", property(lambda core: core.last_hello is not None))
    patch.setattr(Machine, "may_answer", lambda machine, now: True)


def gap_of_a_loop_turn(patch: pytest.MonkeyPatch) -> None:
    """A freeze is seen as a gap between two turns of the loop, not as the age of the last hello."""
    turns: dict[int, int] = {}
    step, answer = Machine.step, Machine.answer

    def counted_step(machine: Machine, event: Event, now: int) -> object:
        core = machine._core
        core.now = now
        done = step(machine, event, now)
        turns[id(core)] = now
        return done

    def counted_answer(machine: Machine, data: bytes, now: int) -> object:
        done = answer(machine, data, now)
        turns[id(machine._core)] = now
        return done

    def holds(core: Core) -> bool:
        return core.last_hello is not None and core.now - turns.get(id(core), core.now) <= core.lease

    patch.setattr(Machine, "step", counted_step)
    patch.setattr(Machine, "answer", counted_answer)
    patch.setattr(Core, "lease_holds", property(holds))
    patch.setattr(Machine, "may_answer", lambda machine, now: True)


def lease_only_in_timers(patch: pytest.MonkeyPatch) -> None:
    """Questions that were queued while the process was stopped are answered first."""
    lose, step = presence.lose_stale_lease, Machine.step
    timer = False

    def remembering_step(machine: Machine, event: Event, now: int) -> object:
        nonlocal timer
        timer = isinstance(event, TimerDue)
        return step(machine, event, now)

    patch.setattr(Machine, "step", remembering_step)
    patch.setattr(presence, "lose_stale_lease", lambda core: timer and lose(core))
    patch.setattr(
        Core,
        "lease_holds",
        property(
            lambda core: (
                core.last_hello is not None and (not timer or core.now - core.last_hello <= core.lease)
            )
        ),
    )
    patch.setattr(Machine, "may_answer", lambda machine, now: True)


def replays_accepted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replay.Window, "accept_hello", lambda window, seq: True)


def no_late_check(patch: pytest.MonkeyPatch) -> None:
    advance = claims.advance
    patch.setattr(claims, "advance", lambda core, slot, due: advance(core, slot, core.now))


def rank_for_epoch(patch: pytest.MonkeyPatch) -> None:
    """The owner of better rank wins, so healing gives the IP back: a second move."""

    def meet(core: Core, slot: Slot, peer: Peer, epoch: int) -> None:
        slot.saw_epoch(epoch)
        if ids.tie_rank(peer.node, slot.vip) < ids.tie_rank(core.sender.node, slot.vip):
            disown(core, slot)
            core.report(Kind.YIELDED, slot, node=peer.node)
        else:
            core.urgent_hello()

    patch.setattr(hearing, "_meet_owner", meet)


def yield_missing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hearing, "_meet_owner", lambda core, slot, peer, epoch: core.urgent_hello())


def slots_missing(patch: pytest.MonkeyPatch) -> None:
    """Only the node that its own order names claims; a better one that does not want it leaves a hole."""
    may = claims.may_claim_slot
    patch.setattr(
        claims, "may_claim_slot", lambda core, slot: may(core, slot) and not claims._going_first(core, slot)
    )


def isolated_missing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(presence, "_isolate", lambda core: None)


def gateway_not_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "_is_alone", lambda core, claiming: False)


def witness_by_age(patch: pytest.MonkeyPatch) -> None:
    """Whoever heard the owner less than T ago objects, also when the claimant heard the same hello, and an
    objection holds for T: clocks that differ stop the rightful claim again and again.
    """
    patch.setattr(claims, "_is_news", lambda owner, claim: True)
    hear = claims.hear_witness

    def hear_witness(core: Core, witness: Witness) -> None:
        hear(core, witness)
        for entry in witness.entries:
            if entry.vip in core.slots:
                core.slots[entry.vip].defer(core.now + core.settings.silence)
                core.look((entry.vip,))

    patch.setattr(claims, "hear_witness", hear_witness)


def claim_shorter_than_the_way(patch: pytest.MonkeyPatch) -> None:
    """P < 2 D: no objection arrives in time."""

    def hasty(identity: object, *, settings: Settings, **given: object) -> Node:
        settings = msgspec.structs.replace(settings, claim=12 * MS, delay=MS, late=5 * MS, accept=5 * MS)
        return Node(identity, settings=settings, **given)  # type: ignore[arg-type]

    patch.setattr(simulation.world, "Node", hasty)


I1, I2, I3 = frozenset({"I1", "healing", "freeze"}), frozenset({"I2"}), frozenset({"I3", "healing"})

BUGS = (
    Bug("the probe is skipped", skip_the_probe, ("short pause", "split vote"), I1),
    Bug("no CLAIM is said", no_claim_exchange, ("crash", "partition", "split vote"), I1),
    Bug("the target answers before RELEASE", answer_before_release, ("move", "drain", "leave"), I1),
    Bug("the lease is ignored", lease_ignored, ("pause", "short pause"), I1),
    Bug("a gap is looked for in each turn of the loop", gap_of_a_loop_turn, ("stutter",), I1),
    Bug("the lease is checked in timers only", lease_only_in_timers, ("pause", "short pause"), I1),
    Bug("a replayed HELLO is accepted", replays_accepted, ("replay",), I2),
    Bug("a claim may end late", no_late_check, ("pause in a claim",), I1),
    Bug("rank decides, not epoch", rank_for_epoch, ("partition",), I3),
    Bug("nobody yields", yield_missing, ("partition",), I1),
    Bug("there are no slots", slots_missing, ("api slow", "crash", "ineligible"), I2),
    Bug("nobody calls itself isolated", isolated_missing, ("dead receive path",), I2),
    Bug("the gateway is not asked", gateway_not_asked, ("dead receive path",), I1),
    Bug("WITNESS goes by age", witness_by_age, ("crash",), I2),
    Bug("P is less than 2 D", claim_shorter_than_the_way, ("split vote",), I1),
)

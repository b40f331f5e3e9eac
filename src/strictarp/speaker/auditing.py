"""The wire audit: how many hosts answer for an IP, asked on the segment. Pure.

The owner and the runner-up each ask for every IP of theirs once in a while, at times that do not depend on
each other: the owner hears whether others answer, the runner-up whether the owner does, too. What is found
moves nothing; several answers make an owner say hello, so that another owner yields.
"""

from __future__ import annotations

from strictarp.arp.frames import mac_text
from strictarp.hello import ids
from strictarp.speaker import resolution
from strictarp.speaker.actions import Kind
from strictarp.speaker.core import Asked, Core
from strictarp.speaker.settings import MS
from strictarp.speaker.slots import Phase, Slot

MOST_WATCHED = 64
"""IPs that are asked for again and again while nobody answers, so that it is known for how long."""
WINDOW = 500 * MS
"""How long answers are counted after a question."""
QUESTIONS = 3
"""So often in a row nobody answers before that is told: frames are lost."""
MOST_COUNTED = 64
"""Answering MACs that are told apart; more are made up."""


def tick(core: Core) -> None:
    """At each own hello: count what was asked a while ago, and ask for the next portion."""
    if not core.settings.audit:
        return
    for vip in [vip for vip, asked in core.asked.items() if core.now - asked.at >= WINDOW]:
        _count(core, vip, core.asked.pop(vip))
    if not core.to_audit:
        if core.audited_at is not None and core.now - core.audited_at < core.settings.audit:
            return
        core.audited_at = core.now
        core.to_audit = list(core.slots)
        for known in (core.answerers, core.unanswered_since, core.unanswered):
            for gone in known.keys() - core.by_address.keys():
                del known[gone]
    portion = -(-len(core.slots) * core.interval // core.settings.audit)
    for vip in core.to_audit[:portion]:
        slot = core.slots.get(vip)
        if slot is not None:
            _ask(core, slot)
    del core.to_audit[:portion]


def hear(core: Core, slot: Slot, mac: bytes) -> None:
    """Somebody says that the IP is at this MAC."""
    asked = core.asked.get(slot.vip)
    if asked is not None and len(asked.macs) < MOST_COUNTED:
        asked.macs.add(mac)


def _ask(core: Core, slot: Slot) -> None:
    if not core.lease_holds or not (slot.owned or _is_runner_up(core, slot)):
        core.answerers.pop(slot.address, None)
        core.unanswered_since.pop(slot.address, None)
        return
    core.asked[slot.vip] = Asked(core.now, _owner(core, slot))
    core.probes.append(resolution.probe(core.mac, slot.address))


def _is_runner_up(core: Core, slot: Slot) -> bool:
    """The first of the order, apart from the owner, of those alive is this node."""
    owner = core.peers.owner(slot.vip, core.now, isolated=core.isolated)
    if owner is None:
        return False
    for candidate in slot.view.candidates:
        if candidate.node == core.node:
            return True
        node = ids.node_id(candidate.node)
        if node != owner.node and core.peers.live_of(node, core.now) is not None:
            return False
    return False


def _owner(core: Core, slot: Slot) -> tuple[int, int]:
    """Node and epoch; zeros without an owner."""
    if slot.owned:
        return core.sender.node, slot.epoch
    peer = core.peers.owner(slot.vip, core.now, isolated=core.isolated)
    return (peer.node, peer.owned[slot.vip]) if peer is not None else (0, 0)


def _count(core: Core, vip: int, asked: Asked) -> None:
    """Worthless after a takeover meanwhile: the new owner has announced itself within the window."""
    slot = core.slots.get(vip)
    if slot is None:
        return
    if asked.owner != _owner(core, slot) or slot.phase not in (Phase.OWN, Phase.FOREIGN):
        _answered_again(core, slot)
        return
    macs = frozenset(asked.macs | ({core.mac} if slot.owned else set()))
    if not macs and (asked.questions < QUESTIONS or len(core.unanswered_since) < MOST_WATCHED):
        asked.questions += 1
        asked.at = core.now
        core.asked[vip] = asked
        core.probes.append(resolution.probe(core.mac, slot.address))
        if asked.questions <= QUESTIONS:
            return
    if macs:
        _answered_again(core, slot)
    else:
        core.unanswered_since.setdefault(slot.address, asked.began)
    known, count = core.answerers.get(slot.address), len(macs)
    before = len(known) if known is not None else None
    core.answerers[slot.address] = macs
    if count > 1:
        core.urgent_hello()
    if count not in (1, before):
        kind = Kind.SEVERAL_ANSWER if count else Kind.NOBODY_ANSWERS
        core.report(kind, slot, node=asked.owner[0], detail=", ".join(sorted(map(mac_text, macs))))


def _answered_again(core: Core, slot: Slot) -> None:
    """An outage that the audit saw is over, if there was one."""
    since = core.unanswered_since.pop(slot.address, None)
    if since is not None:
        core.unanswered[slot.address] += core.now - since

"""ARP and NDP as the machine sees them: questions for its IPs, answers to its probes, others that speak for
its IPs.
"""

from __future__ import annotations

from strictarp.hello import auth
from strictarp.hello.messages import Challenge
from strictarp.speaker import auditing, claims, resolution
from strictarp.speaker.actions import Answer, Kind, Taken
from strictarp.speaker.core import Core
from strictarp.speaker.presence import hear_anything
from strictarp.speaker.resolution import Heard, Unreadable
from strictarp.speaker.settings import MINUTE
from strictarp.speaker.slots import NO_OWNER, Claiming, Slot

FINDINGS = 3
"""Claims in a row that the same foreign host answers until its address counts as taken."""
_REPORT_AGAIN = MINUTE
_MOST_ASKED_ABOUT = 64
_MOST_TOLD = 1024


def answer(core: Core, data: bytes) -> Answer | None:
    """The answer to a question for an own IP. None for anything else."""
    slot = core.owned.get(resolution.asked_for(data))
    keys = core.keys
    if slot is None or keys is None:
        return None
    address = slot.address
    reply = resolution.answer(data, core.mac, lambda nonce: auth.mark(keys, nonce, address, core.mac))
    if reply is None:
        return None
    if reply.client:
        slot.asked_by(reply.client, reply.mac)
    return Answer(reply.data, address)


def hear(core: Core, data: bytes) -> None:
    """An ARP or NDP frame that is no question for an own IP, or such a one for its other meanings."""
    try:
        heard = resolution.read(data)
    except Unreadable as error:
        core.counters[str(error)] += 1
        return
    if core.mac in (heard.mac, heard.source):
        return
    hear_anything(core)
    _learn(core, heard)
    asked = core.by_address.get(heard.asks)
    if asked is not None and heard.says:
        asked.asked_by(heard.says, heard.mac)
    slot = core.by_address.get(heard.says)
    if slot is None:
        return
    if heard.answers:
        auditing.hear(core, slot, heard.mac)
    if slot.owned:
        _other_speaks(core, slot, heard)
    elif slot.claiming is not None and heard.answers:
        _probe_answered(core, slot, slot.claiming, heard)


def _learn(core: Core, heard: Heard) -> None:
    node = core.node_addresses.get(heard.says)
    if node is not None and heard.answers:
        core.told_macs.pop(heard.mac, None)
        core.told_macs[heard.mac] = node
        if len(core.told_macs) > _MOST_TOLD:
            del core.told_macs[next(iter(core.told_macs))]
    if core.node_of(heard.mac) is None:
        core.heard_stranger = core.now
    if heard.says in core.gateways and heard.answers:
        core.gateways[heard.says] = heard.mac
        core.gateway_answered = core.now


def _other_speaks(core: Core, slot: Slot, heard: Heard) -> None:
    """Another MAC speaks for an own IP. ARP can be forged and come late: it moves nothing. A peer that
    claims the IP says so in its hello; one that does not is a kernel that answers.
    """
    core.urgent_hello()
    node = core.node_of(heard.mac)
    if node is None:
        _report_once(core, slot, Kind.ADDRESS_CONFLICT, heard.mac)
        return
    peer = core.peers.live_of(node, core.now)
    if peer is not None and slot.vip not in peer.owned:
        _report_once(core, slot, Kind.KERNEL_ANSWERS, heard.mac)


def _report_once(core: Core, slot: Slot, kind: Kind, mac: bytes) -> None:
    last = slot.spoke.get(mac)
    if last is not None and core.now - last < _REPORT_AGAIN:
        return
    if len(slot.spoke) >= 16:
        slot.spoke.clear()
    slot.spoke[mac] = core.now
    core.report(kind, slot, node=core.node_of(mac) or 0, mac=mac)


def _probe_answered(core: Core, slot: Slot, claiming: Claiming, heard: Heard) -> None:
    """Rule 11: a marked answer comes from a live speaker, whatever its hellos do; an unmarked one from a
    node's MAC may be its speaker's or its kernel's: ask it for a hello; from any other MAC it is a host
    that has the address.
    """
    mac = heard.mac
    node = core.node_of(mac)
    if heard.mark and core.keys is not None:
        found = auth.is_mark(core.keys, heard.mark, nonce=claiming.nonce, address=slot.address, mac=mac)
        if found:
            hold = core.settings.silence
            claims.abort(core, slot, "a speaker answers for it", hold=hold, node=node or 0)
            return
    if node is not None:
        claiming.kernels.add(mac)
        core.say(Challenge(core.chance.randbytes(8)), to=mac)
        return
    if _ask_nodes(core, mac):
        claims.abort(core, slot, "nobody known answers for it", hold=core.settings.claim)
        return
    _report_once(core, slot, Kind.ADDRESS_CONFLICT, mac)
    _find_taken(core, slot, mac)
    claims.abort(core, slot, "a foreign host answers for it", hold=core.settings.foreign)


def _find_taken(core: Core, slot: Slot, mac: bytes) -> None:
    """One more claim that a foreign host has answered. Before that costs a Service its address, the nodes are
    asked each time: the answer of one may have been lost, and its kernel taken for a stranger.
    """
    if slot.previous != NO_OWNER:
        return
    before, times = slot.taken
    slot.taken = (mac, times + 1 if mac == before else 1)
    if slot.taken[1] >= FINDINGS:
        core.told.append(Taken(slot.address, mac))
        return
    for address in core.node_addresses:
        core.inquire(address)


def _ask_nodes(core: Core, mac: bytes) -> bool:
    """Ask all nodes for their own addresses, to see whether a MAC is one's: a node without a speaker tells
    nobody its MAC, and its kernel answers for every VIP where strictARP is off. False: they were asked
    lately, and none of them has it.
    """
    last = core.asked_about.get(mac)
    if not core.node_addresses:
        return False
    if last is not None and core.now - last < _REPORT_AGAIN:
        return core.now - last < core.settings.claim  # because of another VIP: the answers are on their way
    if len(core.asked_about) >= _MOST_ASKED_ABOUT:
        core.asked_about.clear()
    core.asked_about[mac] = core.now
    for address in core.node_addresses:
        core.inquire(address)
    return True

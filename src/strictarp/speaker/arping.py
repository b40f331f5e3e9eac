"""ARP as the machine sees it: questions for its IPs, answers to its probes, others that speak for its IPs."""

from __future__ import annotations

from strictarp.arp import frames as arp
from strictarp.arp.frames import ArpFrame, MalformedFrame
from strictarp.hello import auth
from strictarp.hello.messages import Challenge
from strictarp.speaker import claims
from strictarp.speaker.actions import Kind
from strictarp.speaker.core import Core
from strictarp.speaker.presence import hear_anything
from strictarp.speaker.settings import MINUTE
from strictarp.speaker.slots import Claiming, Slot

_ETHERTYPE = arp.ETHERTYPE_ARP.to_bytes(2, "big")
_TARGET = slice(38, 42)
_SHORTEST = 42
_REPORT_AGAIN = MINUTE
_MOST_ASKED_ABOUT = 64


def answer(core: Core, data: bytes) -> tuple[bytes, bytes] | None:
    """The reply to a request for an own IP, and that IP. None for anything else.

    Broadcast or unicast to this link; any sender, also probes (MetalLB internal/layer2/arp.go). A
    gratuitous request asks nothing.
    """
    slot = core.owned.get(data[_TARGET])
    if slot is None or len(data) < _SHORTEST or data[12:14] != _ETHERTYPE:
        return None
    try:
        asked = arp.decode(data)
    except MalformedFrame:
        return None
    if asked.operation != arp.REQUEST or asked.sender_ip == asked.target_ip or asked.sender_mac == core.mac:
        return None
    if asked.destination not in (arp.BROADCAST_MAC, core.mac) or core.keys is None:
        return None
    tag = auth.mark(core.keys, asked.mark, slot.address, core.mac) if asked.mark else b""
    if asked.sender_ip != arp.NO_IP:
        slot.asked_by(asked.sender_ip, asked.sender_mac)
    return arp.reply(core.mac, asked, tag=tag), slot.address


def hear_arp(core: Core, data: bytes) -> None:
    """An ARP frame that is no question for an own IP, or such a one for its other meanings."""
    try:
        frame = arp.decode(data)
    except MalformedFrame as error:
        core.counters[f"arp: {error.fault.value}"] += 1
        return
    if core.mac in (frame.sender_mac, frame.source):
        return
    hear_anything(core)
    _learn(core, frame)
    asked = core.by_address.get(frame.target_ip)
    question = frame.operation == arp.REQUEST and not frame.is_gratuitous and not frame.is_probe
    if asked is not None and question:
        asked.asked_by(frame.sender_ip, frame.sender_mac)
    slot = core.by_address.get(frame.sender_ip)
    if slot is None:
        return
    if slot.owned:
        _other_speaks(core, slot, frame)
    elif slot.claiming is not None and frame.operation == arp.REPLY:
        _probe_answered(core, slot, slot.claiming, frame)


def _learn(core: Core, frame: ArpFrame) -> None:
    node = core.node_addresses.get(frame.sender_ip)
    if node is not None and frame.operation == arp.REPLY:
        core.macs[frame.sender_mac] = node
    if core.node_of(frame.sender_mac) is None:
        core.heard_stranger = core.now
    if core.gateway is not None and frame.sender_ip == core.gateway and frame.operation == arp.REPLY:
        core.gateway_mac = frame.sender_mac
        core.gateway_answered = core.now


def _other_speaks(core: Core, slot: Slot, frame: ArpFrame) -> None:
    """Another MAC speaks for an own IP. ARP can be forged and come late: it moves nothing. A peer that
    claims the IP says so in its hello; one that does not is a kernel that answers.
    """
    core.urgent_hello()
    node = core.node_of(frame.sender_mac)
    if node is None:
        _report_once(core, slot, Kind.ADDRESS_CONFLICT, frame.sender_mac)
        return
    peer = core.peers.live_of(node, core.now)
    if peer is not None and slot.vip not in peer.owned:
        _report_once(core, slot, Kind.KERNEL_ANSWERS, frame.sender_mac)


def _report_once(core: Core, slot: Slot, kind: Kind, mac: bytes) -> None:
    last = slot.spoke.get(mac)
    if last is not None and core.now - last < _REPORT_AGAIN:
        return
    if len(slot.spoke) >= 16:
        slot.spoke.clear()
    slot.spoke[mac] = core.now
    core.report(kind, slot, node=core.node_of(mac) or 0, mac=mac)


def _probe_answered(core: Core, slot: Slot, claiming: Claiming, frame: ArpFrame) -> None:
    """Rule 11: a marked answer comes from a live speaker, whatever its hellos do; an unmarked one from a
    node's MAC may be its speaker's or its kernel's: ask it for a hello; from any other MAC it is a host
    that has the address.
    """
    mac = frame.sender_mac
    node = core.node_of(mac)
    if frame.mark and core.keys is not None:
        found = auth.is_mark(core.keys, frame.mark, nonce=claiming.nonce, address=slot.address, mac=mac)
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
    claims.abort(core, slot, "a foreign host answers for it", hold=core.settings.foreign)


def _ask_nodes(core: Core, mac: bytes) -> bool:
    """Ask all nodes for their own addresses, to see whether a MAC is one's: a node without a speaker tells
    nobody its MAC, and its kernel answers for every VIP where strictARP is off. False: asked lately.
    """
    last = core.asked_about.get(mac)
    if not core.node_addresses or (last is not None and core.now - last < _REPORT_AGAIN):
        return False
    if len(core.asked_about) >= _MOST_ASKED_ABOUT:
        core.asked_about.clear()
    core.asked_about[mac] = core.now
    core.probes += [arp.probe(core.mac, address) for address in core.node_addresses]
    return True

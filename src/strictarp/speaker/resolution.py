"""ARP and NDP in common words: what a frame says and asks, and the frames that a speaker sends. Pure.

The length of an address, 4 or 16 bytes, says which protocol it is resolved by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.arp.frames import MalformedFrame
from strictarp.arp.ndp_frames import MalformedNdp

ARP = arp.ETHERTYPE_ARP.to_bytes(2, "big")
NDP = ndp.ETHERTYPE_IPV6.to_bytes(2, "big")
_ARP_TARGET = slice(38, 42)
_GROUP_BIT = 1
"""Of a MAC's first byte. No host sends from a group; an answer to one would go to everybody."""


class Unreadable(Exception):
    """A frame that no host would heed; the message says of which protocol it is, and why."""


class Heard(msgspec.Struct, frozen=True, gc=False):
    """What a frame means.

    source: of the Ethernet header. mac: the MAC that it names. says: the address that it says is at `mac`;
    empty in a probe. asks: the address that it asks for; empty in answers and announcements. answers: it is
    an answer, or looks like one. mark: a speaker's nonce or tag.
    """

    source: bytes
    mac: bytes
    says: bytes
    asks: bytes
    answers: bool
    mark: bytes = b""


def read(data: bytes) -> Heard:
    """What an ARP or NDP frame means. Raises Unreadable."""
    try:
        heard = _read_ndp(data) if data[12:14] == NDP else _read_arp(data)
    except MalformedFrame as error:
        raise Unreadable(f"arp: {error.fault.value}") from None
    except MalformedNdp as error:
        raise Unreadable(f"ndp: {error.fault.value}") from None
    if (heard.source[0] | heard.mac[0]) & _GROUP_BIT:
        raise Unreadable(f"{'ndp' if data[12:14] == NDP else 'arp'}: its sender is a group")
    return heard


def _read_arp(data: bytes) -> Heard:
    frame = arp.decode(data)
    asks = frame.operation == arp.REQUEST and not frame.is_gratuitous
    return Heard(
        frame.source,
        frame.sender_mac,
        frame.sender_ip if frame.sender_ip != arp.NO_IP else b"",
        frame.target_ip if asks else b"",
        frame.operation == arp.REPLY,
        frame.mark,
    )


def _read_ndp(data: bytes) -> Heard:
    frame = ndp.decode(data)
    mac = frame.mac or frame.source
    if frame.kind == ndp.ADVERTISEMENT:
        return Heard(frame.source, mac, frame.target, b"", answers=True, mark=frame.mark)
    says = b"" if frame.is_probe else frame.sender
    asks = frame.target if frame.target != frame.sender else b""
    return Heard(frame.source, mac, says, asks, answers=False, mark=frame.mark)


def asked_for(data: bytes) -> bytes:
    """The address that a frame may ask for, without reading it; of no meaning in other frames."""
    return data[ndp.TARGET] if data[12:14] == NDP else data[_ARP_TARGET]


class Reply(NamedTuple):
    """An answer to be sent, and who asked: address (empty for a probe) and MAC."""

    data: bytes
    client: bytes
    mac: bytes


def answer(data: bytes, mac: bytes, tag: Callable[[bytes], bytes]) -> Reply | None:
    """The answer of the host with this MAC to a frame that asks for an address of its own; None: it asks not.

    tag: a nonce → what marks the answer to it.

    ARP: broadcast or unicast to this link; any sender, also probes (MetalLB internal/layer2/arp.go). A
    gratuitous request asks nothing. NDP: to the target's group, or to the target itself, as a client does
    that has an entry and asks again (RFC 4861 7.2.2, 7.3.3).
    """
    try:
        if data[12:14] == NDP:
            return _ndp_answer(ndp.decode(data), mac, tag)
        return _arp_answer(arp.decode(data), mac, tag)
    except (MalformedFrame, MalformedNdp):
        return None


def _arp_answer(asked: arp.ArpFrame, mac: bytes, tag: Callable[[bytes], bytes]) -> Reply | None:
    if asked.operation != arp.REQUEST or asked.sender_ip == asked.target_ip or asked.sender_mac == mac:
        return None
    if (
        asked.destination not in (arp.BROADCAST_MAC, mac)
        or (asked.source[0] | asked.sender_mac[0]) & _GROUP_BIT
    ):
        return None
    client = asked.sender_ip if asked.sender_ip != arp.NO_IP else b""
    marked = tag(asked.mark) if asked.mark else b""
    return Reply(arp.reply(mac, asked, tag=marked), client, asked.sender_mac)


def _ndp_answer(asked: ndp.NdpFrame, mac: bytes, tag: Callable[[bytes], bytes]) -> Reply | None:
    group = ndp.solicited_node(asked.target)
    if asked.kind != ndp.SOLICITATION or asked.sender == asked.target or asked.source == mac:
        return None
    if asked.source[0] & _GROUP_BIT:
        return None
    if asked.receiver not in (asked.target, group) or asked.destination not in (mac, ndp.group_mac(group)):
        return None
    client = b"" if asked.is_probe else asked.sender
    marked = tag(asked.mark) if asked.mark else b""
    return Reply(ndp.advertise(mac, asked, tag=marked), client, asked.mac or asked.source)


def probe(mac: bytes, address: bytes, *, nonce: bytes = b"") -> bytes:
    """Ask who has an address that is ours to have, without touching a cache."""
    if len(address) == 4:
        return arp.probe(mac, address, nonce=nonce)
    return ndp.probe(mac, address, nonce=nonce)


def inquiry(mac: bytes, own6: bytes, address: bytes) -> bytes | None:
    """Ask a host for its own address. own6: this link's own IPv6 address; without one no IPv6 host is asked:
    a solicitation from nobody could make it give up its address (RFC 4862 5.4.3).
    """
    if len(address) == 4:
        return arp.probe(mac, address)
    return ndp.solicit(mac, own6, address) if own6 else None


def announcements(mac: bytes, address: bytes) -> tuple[bytes, ...]:
    """What tells all caches: gratuitous ARP in both forms, because some hosts heed only one, or an
    unsolicited advertisement.
    """
    if len(address) == 4:
        return arp.gratuitous_request(mac, address), arp.gratuitous_reply(mac, address)
    return (ndp.unsolicited(mac, address),)


def directed(mac: bytes, address: bytes, host: bytes, *, to: bytes) -> bytes:
    """A question of `address` to one host, which every cache believes (arp.c arp_process, ndisc_recv_ns)."""
    if len(address) == 4:
        return arp.request(mac, address, host, to=to)
    return ndp.solicit(mac, address, host, to=to)

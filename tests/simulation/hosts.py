"""Hosts that are no speakers: a gateway, a client that asks for VIPs, a foreign host that has one of them."""

from __future__ import annotations

import random
from collections.abc import Iterable

from simulation.clock import Clock
from simulation.segment import Segment
from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.speaker.resolution import ARP, NDP, asked_for

ADDRESS6 = bytes.fromhex("20010db80000000000000000000000fa")
"""Of the client, which asks for VIPs of both families."""


class Host:
    """Answers questions for its own addresses, as any kernel does (arp.c arp_process, ndisc_recv_ns)."""

    def __init__(self, segment: Segment, label: str, mac: bytes, address: bytes) -> None:
        self.segment = segment
        self.mac = mac
        self.address = address
        self.addresses = {address}
        self.alive = True
        self.port = segment.plug(label, mac, self.receive)

    def receive(self, data: bytes) -> None:
        """A frame from the wire."""
        if self.alive and data[12:14] in (ARP, NDP) and asked_for(data) in self.addresses:
            reply = kernel_answer(data, self.mac)
            if reply is not None:
                self.segment.transmit(self.port, reply)


def kernel_answer(data: bytes, mac: bytes) -> bytes | None:
    """What a kernel that has the address says to a question. It heeds no mark and sends none."""
    if data[12:14] == NDP:
        solicitation = ndp.decode(data)
        if solicitation.kind != ndp.SOLICITATION or solicitation.source == mac:
            return None
        return ndp.advertise(mac, solicitation)
    asked = arp.decode(data)
    if asked.operation != arp.REQUEST or asked.is_gratuitous or asked.sender_mac == mac:
        return None
    return arp.reply(mac, asked)


class Client(Host):
    """Asks for every VIP again and again, at random times."""

    def __init__(
        self, segment: Segment, label: str, mac: bytes, address: bytes, clock: Clock, chance: random.Random
    ) -> None:
        super().__init__(segment, label, mac, address)
        self.clock = clock
        self.chance = chance

    def ask_for(self, vips: Iterable[bytes], *, every: tuple[int, int]) -> None:
        """Begin to ask. every: least and most between two questions, µs."""
        for vip in vips:
            self._ask(vip, every)

    def _ask(self, vip: bytes, every: tuple[int, int]) -> None:
        if len(vip) == 4:
            self.segment.transmit(self.port, arp.request(self.mac, self.address, vip))
        else:
            self.segment.transmit(self.port, ndp.solicit(self.mac, ADDRESS6, vip))
        self.clock.at(self.clock.now + self.chance.randint(*every), self._ask, vip, every)

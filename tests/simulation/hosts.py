"""Hosts that are no speakers: a gateway, a client that asks for VIPs, a foreign host that has one of them."""

from __future__ import annotations

import random
from collections.abc import Iterable

from simulation.clock import Clock
from simulation.segment import Segment
from strictarp.arp import frames as arp

_ARP = arp.ETHERTYPE_ARP.to_bytes(2, "big")


class Host:
    """Answers ARP requests for its own addresses, as any kernel does (arp.c arp_process)."""

    def __init__(self, segment: Segment, label: str, mac: bytes, address: bytes) -> None:
        self.segment = segment
        self.mac = mac
        self.address = address
        self.addresses = {address}
        self.alive = True
        self.port = segment.plug(label, mac, self.receive)

    def receive(self, data: bytes) -> None:
        """A frame from the wire."""
        if self.alive and data[12:14] == _ARP and data[38:42] in self.addresses:
            reply = kernel_answer(data, self.mac)
            if reply is not None:
                self.segment.transmit(self.port, reply)


def kernel_answer(data: bytes, mac: bytes) -> bytes | None:
    """What a kernel that has the address says to a request. It heeds no padding and sends zeros there."""
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
        self.segment.transmit(self.port, arp.request(self.mac, self.address, vip))
        self.clock.at(self.clock.now + self.chance.randint(*every), self._ask, vip, every)

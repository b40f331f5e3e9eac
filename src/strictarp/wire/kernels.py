"""Would the kernel of a host with these FACTS give that answer? Asked of the model of `arp`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import msgspec

from strictarp.arp.decision import Rule
from strictarp.arp.explaining import ASKER_MAC, assumed_asker
from strictarp.arp.facts import Address, Device, Host
from strictarp.arp.frames import NO_MAC
from strictarp.arp.packets import Packet
from strictarp.arp.receiving import receive
from strictarp.arp.remedies import turning


class KernelAnswer(msgspec.Struct, frozen=True):
    """The kernel answers with that MAC.

    device: that answers. rule: why. holders: addresses of the host that are the one asked for. nic, packet:
    the question it answers.
    """

    device: str
    rule: Rule
    holders: tuple[Address, ...]
    nic: str
    packet: Packet

    @property
    def own(self) -> Address | None:
        """The address as it stands on the device that answers."""
        return next((each for each in self.holders if each.device == self.device), None)


def kernel_answer(host: Host, mac: bytes, ip: IPv4Address) -> KernelAnswer | None:
    """How the kernel answers for `ip` with `mac`, by an address probe or a request; None if it is silent."""
    for device in host.devices:
        if device.mac != mac or mac == NO_MAC:
            continue
        for packet in _questions(host, device, int(ip)):
            for decision in receive(host, device.name, packet):
                if decision.answer is not None and decision.answer.mac == mac:
                    holders = tuple(each for each in host.addresses if each.local == int(ip))
                    return KernelAnswer(decision.device, decision.rule, holders, device.name, packet)
    return None


def mends(host: Host, answer: KernelAnswer) -> tuple[str, ...]:
    """Commands, each of which alone silences it by the model. Tries dozens of changes: not cheap."""
    return tuple(" && ".join(each.commands) for each in turning(host, answer.nic, answer.packet))


def _questions(host: Host, device: Device, ip: int) -> Iterator[Packet]:
    asker = assumed_asker(host, device.name, ip)
    for sender in dict.fromkeys((0, asker)):
        yield Packet(sender, ip, ASKER_MAC, source=ASKER_MAC)

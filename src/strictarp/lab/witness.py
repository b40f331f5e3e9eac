"""An independent listener on the segment: asks who has the VIP, and captures every ARP frame at the ports.

It has a cable of its own and listens on the switch's side of everybody's cable, since answers are unicast.
Each request names a hardware address of its own as sender (and the unspecified IP address, so that no cache
is touched); answers repeat it, so it is known which request they belong to, however late they come.
"""

from __future__ import annotations

import ipaddress
import selectors
import signal
import socket
import time
from pathlib import Path

import msgspec

from strictarp.arp import bpf, frames
from strictarp.arp.frames import ETHERTYPE_ARP, ArpFrame
from strictarp.arp.rawsocket import RawSocket
from strictarp.lab import layout
from strictarp.lab.begun import begun_file
from strictarp.lab.figures import Seen, Witnessed
from strictarp.speaker.priority import go_first

ETH_P_ALL = 0x0003
"""On a bridge's port only this comes before the bridge takes the frame."""
ASKER_PREFIX = b"\x02\xa5"
DRAIN = 0.5
_SOURCE = frames.parse_mac(layout.WITNESS_MAC)


def asker(number: int) -> bytes:
    """The hardware address that request `number` names as its sender."""
    return ASKER_PREFIX + number.to_bytes(4, "big")


def asked_number(hardware: bytes) -> int:
    """The request that an answer to this hardware address belongs to, or 0."""
    return int.from_bytes(hardware[2:], "big") if hardware[:2] == ASKER_PREFIX else 0


def request(number: int, target: bytes) -> bytes:
    """Request `number` for `target`, an address probe, from the witness's own MAC."""
    return frames.encode(
        ArpFrame(
            frames.BROADCAST_MAC,
            _SOURCE,
            frames.REQUEST,
            asker(number),
            frames.NO_IP,
            frames.NO_MAC,
            target,
        )
    )


def seen(at: float, host: str, data: bytes) -> Seen | None:
    """The record of a captured frame, or None when it is no ARP frame."""
    try:
        frame = frames.decode(data)
    except frames.MalformedFrame:
        return None
    return Seen(
        at,
        host,
        frames.mac_text(frame.sender_mac),
        frame.operation,
        str(ipaddress.IPv4Address(frame.sender_ip)),
        str(ipaddress.IPv4Address(frame.target_ip)),
        asked_number(frame.target_mac) if frame.operation == frames.REPLY else 0,
    )


def host_of_port(port: str) -> str:
    """The host whose cable is in a port of the segment."""
    return port.removeprefix("p-")


def is_host_port(name: str) -> bool:
    """Whether a link of the switch is a port to a host, and not our own."""
    return name.startswith("p-") and name != layout.WITNESS_PORT


class Witness:
    """Captures at the ports of all hosts, also of those plugged in later, and asks for one address."""

    def __init__(self, vip: str) -> None:
        self._target = ipaddress.IPv4Address(vip).packed
        self._selector = selectors.DefaultSelector()
        self._ports: set[tuple[int, str]] = set()
        index = socket.if_nametoindex(layout.WITNESS_LINK)
        self._asking = RawSocket(index, ETHERTYPE_ARP, bpf.nothing())
        self.frames: list[Seen] = []
        self.requests = 0
        self.stopped = False
        self._follow_ports()

    def _follow_ports(self) -> None:
        """Listen on ports that are new; a port that was pulled keeps its (silent) socket."""
        ports = {each for each in socket.if_nameindex() if is_host_port(each[1])}
        for index, name in ports - self._ports:
            port = RawSocket(index, ETH_P_ALL, bpf.arp(everybodys=True))
            self._selector.register(port, selectors.EVENT_READ, (host_of_port(name), port))
            self._ports.add((index, name))

    def run(self, interval: float) -> None:
        """Ask every `interval` seconds until `stopped`, then listen a little for the last answers."""
        due = time.monotonic()
        while not self.stopped:
            if time.monotonic() >= due:
                self.requests += 1
                self._follow_ports()
                self._asking.send(request(self.requests, self._target))
                due = max(due + interval, time.monotonic())
            self._receive(due)
        end = time.monotonic() + DRAIN
        while time.monotonic() < end:
            self._receive(end)

    def _receive(self, until: float) -> None:
        for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
            host, port = key.data
            while (data := port.receive()) is not None:
                record = seen(time.monotonic(), host, data)
                if record is not None:
                    self.frames.append(record)

    def dropped(self) -> int:
        """Frames that were lost because we did not read them in time."""
        return sum(key.data[1].read_dropped() for key in self._selector.get_map().values())


def run(vip: str, out: Path, *, interval: float) -> int:
    """Listen until SIGTERM; writes what was seen to `out`. `begun_file` says that it began."""
    go_first()  # a busy machine is not to be taken for an outage
    witness = Witness(vip)

    def stop(*_: object) -> None:
        witness.stopped = True

    signal.signal(signal.SIGTERM, stop)
    begun_file(out).touch()
    witness.run(interval)
    result = Witnessed(witness.requests, tuple(witness.frames), witness.dropped())
    out.write_bytes(msgspec.json.encode(result))
    return 0

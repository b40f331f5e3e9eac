"""An independent listener on the segment: asks who has the VIP, and captures every ARP frame at the ports.

It has a cable of its own and listens on the switch's side of everybody's cable, since answers are unicast.
Each request names a hardware address of its own as sender (and the unspecified IP address, so that no cache
is touched); answers repeat it, so it is known which request they belong to, however late they come.
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from strictarp.arp import frames
from strictarp.lab import layout
from strictarp.lab.figures import Seen, Witnessed

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
ASKER_PREFIX = b"\\x02\\xa5"
RECEIVE_BUFFER = 4 << 20
DRAIN = 0.5


def asker(number: int) -> bytes:
    """The hardware address that request `number` names as its sender."""
    return ASKER_PREFIX + number.to_bytes(4, "big")


def asked_number(hardware: bytes) -> int:
    """The request that an answer to this hardware address belongs to, or 0."""
    return int.from_bytes(hardware[2:], "big") if hardware[:2] == ASKER_PREFIX else 0


def port_sockets(names: Iterable[str]) -> dict[int, tuple[str, socket.socket]]:
    """A capturing socket on each port `p-HOST` of the segment, by descriptor, with the host's name."""
    sockets = {}
    for name in names:
        # On a bridge's port only ETH_P_ALL comes before the bridge takes the frame.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        attach_filter(sock, ARP_ONLY)
        sock.bind((name, ETH_P_ALL))
        sockets[sock.fileno()] = (name.removeprefix("p-"), sock)
    return sockets

"""Hears who-has requests on all interfaces of the namespace for a while. Thin."""

from __future__ import annotations

import contextlib
import socket
import time

from strictarp.arp.frames import NO_IP, REQUEST, MalformedFrame, decode
from strictarp.arp.losses import Asked

_ETH_P_ARP = 0x0806
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_LARGEST = 2048


def listen(seconds: float) -> Asked:
    """Requests that arrived, by interface and target; of several askers the last that is no probe.

    Sees what arrives at interfaces themselves and, as the kernel does, on VLANs, bridges and bonds. Raises
    OSError without CAP_NET_RAW.
    """
    heard: dict[tuple[str, int], int] = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as sock:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            with contextlib.suppress(TimeoutError, MalformedFrame):
                data, address = sock.recvfrom(_LARGEST)
                frame = decode(data)
                key = address[0], int.from_bytes(frame.target_ip, "big")
                if frame.operation == REQUEST and (frame.sender_ip != NO_IP or key not in heard):
                    heard[key] = int.from_bytes(frame.sender_ip, "big")
    return heard

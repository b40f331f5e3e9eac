"""Small workers of the story that act inside one host: resolve an address repeatedly, send as the VIP."""

from __future__ import annotations

import re
import socket
import subprocess
import time

DISCARD = 9
_LLADDR = re.compile(r"lladdr (\S+)")


def _ip(*argv: str) -> str:
    return subprocess.run(["ip", *argv], capture_output=True, text=True, check=False).stdout


def resolve(address: str, link: str, *, times: int, wait: float) -> list[str]:
    """Let the kernel resolve `address` anew `times` times; returns the MACs that its neighbour entry took.

    Each time the entry is deleted, as when it had expired, and read `wait` seconds after a packet was sent.
    """
    seen = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(times):
            _ip("neigh", "del", address, "dev", link)
            sock.sendto(b"", (address, DISCARD))
            time.sleep(wait)
            if found := _LLADDR.search(_ip("neigh", "show", address, "dev", link)):
                seen.append(found.group(1))
    return seen


def speak_as(source: str, target: str, link: str) -> None:
    """Send a packet from `source`, an address of this host, to an address that must be resolved first.

    Raises OSError when `source` is not a local address.
    """
    _ip("neigh", "del", target, "dev", link)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.sendto(b"", (target, DISCARD))

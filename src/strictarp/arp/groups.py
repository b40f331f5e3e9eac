"""IPv6 multicast groups joined on a link, without an address of their own. Thin."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable

_EACH = 64
"""Groups a socket holds: the kernel charges each to the socket's option memory (net.core.optmem_max)."""


class Groups:
    """The groups joined on the link with this index, in the network namespace of the making.

    Joined as any program does, so that the kernel tells switches that listen to MLD, and sets the card's
    filter. Packet sockets on the link hear them then.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._joined: dict[bytes, socket.socket] = {}
        self._held: dict[socket.socket, int] = {}
        """Socket → how many groups it holds."""
        with contextlib.suppress(OSError):  # a kernel without IPv6: `show` says so
            self._add_socket()

    def close(self) -> None:
        """Leave them all."""
        for each in self._held:
            each.close()
        self._held.clear()
        self._joined.clear()

    def show(self, wanted: Iterable[bytes]) -> bool:
        """Join and leave until just these are joined (packed). False: the kernel refused some: IPv6 is off on
        this link, or it has too many.
        """
        groups = set(wanted)
        for gone in self._joined.keys() - groups:
            self._leave(gone)
        missing = groups - self._joined.keys()
        try:
            for group in sorted(missing):
                self._join(group)
        except OSError:
            return False
        return True

    def _join(self, group: bytes) -> None:
        room = next((each for each, count in self._held.items() if count < _EACH), None)
        if room is None:
            room = self._add_socket()
        room.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, self._request(group))
        self._joined[group] = room
        self._held[room] += 1

    def _add_socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._held[made] = 0
        return made

    def _leave(self, group: bytes) -> None:
        holder = self._joined.pop(group)
        self._held[holder] -= 1
        with contextlib.suppress(OSError):  # the link is gone, and the membership with it
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, self._request(group))

    def _request(self, group: bytes) -> bytes:
        """struct ipv6_mreq."""
        return group + struct.pack("=i", self._index)

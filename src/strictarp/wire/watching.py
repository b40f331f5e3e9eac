"""Ask for addresses at a low rate, and hear everything on their links meanwhile. Thin.

One packet socket a link, whose filter lets only frames about the watched addresses through. A link that goes
away is looked for again. Works in the network namespace of the calling thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import NamedTuple

from strictarp.arp import bpf, frames
from strictarp.arp.frames import ETHERTYPE_ARP, NO_IP
from strictarp.arp.probing import Form
from strictarp.arp.rawsocket import RawSocket
from strictarp.netlink.rtnl import Link
from strictarp.wire.asking import RATE
from strictarp.wire.timeline import Timeline
from strictarp.wire.vantage import CannotLook, Vantage, find_vantages
from strictarp.wire.watched import Asker, Change

LOOK_AGAIN = 5.0
"""Seconds after which, before a question, links, routes and addresses are looked at again."""


class Clock:
    """Seconds since the epoch that never run backwards, whatever is done to the system's clock."""

    def __init__(self) -> None:
        self._offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """Now; it goes on while the host is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self._offset


class _Ear(NamedTuple):
    """A socket, and the addresses (packed) that it hears about."""

    socket: RawSocket
    here: set[bytes]


class Watcher:
    """Drives a timeline. on_changes: called with what changed, in order."""

    def __init__(
        self,
        timeline: Timeline,
        interface: str | None,
        form: Form,
        *,
        clock: Clock,
        on_changes: Callable[[list[Change]], None],
    ) -> None:
        self._timeline = timeline
        self._interface = interface
        self._form = form
        self._clock = clock
        self._on_changes = on_changes
        self._places: dict[IPv4Address, Vantage | CannotLook] = {}
        self._ears: dict[Link, _Ear] = {}
        self._looked = float("-inf")
        self._looking = asyncio.Lock()
        self._lost = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises CannotLook when nothing can be asked for from the very beginning."""
        try:
            await self._look()
            while not stop.is_set():
                now = self._clock.now()
                self._told(self._timeline.expire(now))
                ip = self._timeline.due(now)
                if ip is not None:
                    await self._ask(ip)
                    await asyncio.sleep(1 / RATE)
                    continue
                wakes = self._timeline.wakes_at()
                pause = 1.0 if wakes is None else min(1.0, max(0.0, wakes - self._clock.now()))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
        finally:
            for link in list(self._ears):
                self._close(link)

    async def follow(self, ips: list[IPv4Address]) -> None:
        """Watch these addresses from now on, and no others. Raises CannotLook."""
        if ips != list(self._timeline.watched):
            self._timeline.follow(ips, self._clock.now())
            await self._look()

    @property
    def interfaces(self) -> dict[str, str]:
        """The interface of each address that can be asked for."""
        return {str(ip): each.link.name for ip, each in self._places.items() if isinstance(each, Vantage)}

    def lost(self) -> int:
        """Frames that the kernel dropped because they were not read in time."""
        return self._lost + sum(each.socket.read_dropped() for each in self._ears.values())

    # --- links --------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Find the links, and see to it that there is a living socket on each."""
        async with self._looking:  # `follow` may come while the loop looks
            self._looked = self._clock.now()
            self._places = await find_vantages(self._timeline.watched, self._interface)
            self._see_to_sockets()

    def _see_to_sockets(self) -> None:
        wanted: dict[Link, set[bytes]] = {}
        for ip, place in self._places.items():
            if isinstance(place, Vantage):
                wanted.setdefault(place.link, set()).add(ip.packed)
        for link, ear in list(self._ears.items()):
            if ear.socket.broken or wanted.get(link) != ear.here:
                self._close(link)
        for link, here in wanted.items():
            if link not in self._ears:
                self._listen(link, here)

    def _listen(self, link: Link, here: set[bytes]) -> None:
        try:
            sock = RawSocket(link.index, ETHERTYPE_ARP, bpf.arp_about(bpf.aggregate(here)))
        except PermissionError as error:
            raise CannotLook(
                "no permission to open a packet socket; run as root or with CAP_NET_RAW"
            ) from error
        except OSError as error:
            for ip in [ip for ip in self._places if ip.packed in here]:
                self._places[ip] = CannotLook(f"interface {link.name}: {error.strerror}")
            return

        def on_frame(data: bytes) -> None:
            self._told(self._timeline.heard(data, self._clock.now(), here))

        sock.watch(asyncio.get_running_loop(), on_frame)
        self._ears[link] = _Ear(sock, here)

    def _close(self, link: Link) -> None:
        sock = self._ears.pop(link).socket
        with contextlib.suppress(OSError):
            self._lost += sock.read_dropped()
        sock.unwatch(asyncio.get_running_loop())
        sock.close()

    # --- questions ----------------------------------------------------------------------------------------

    async def _ask(self, ip: IPv4Address) -> None:
        if self._clock.now() - self._looked >= LOOK_AGAIN:
            # Without it a link that lost its carrier would look like silence.
            try:
                await self._look()
            except CannotLook as error:
                self._places = dict.fromkeys(self._timeline.watched, error)
        reason = self._send(ip)
        if reason:
            self._told(self._timeline.blind(ip, self._clock.now(), reason))

    def _send(self, ip: IPv4Address) -> str:
        """Send the question; why it could not be sent, or nothing."""
        place = self._places.get(ip)
        if not isinstance(place, Vantage):
            return str(place or "its link is not known yet")
        link, sender = place.link, NO_IP if self._form == "probe" else place.sender
        if self._form == "request" and not sender:
            return f"interface {link.name} has no IPv4 address to ask as; use --form probe"
        self._told(self._timeline.asked(ip, self._clock.now(), Asker(link.mac, sender)))
        if not self._ears[link].socket.send(frames.request(link.mac, sender, ip.packed)):
            return f"interface {link.name}: the kernel did not take the request; is the link up?"
        return ""

    def _told(self, changes: list[Change]) -> None:
        if changes:
            self._on_changes(changes)

"""Ask one question by ARP and collect the answers. Thin.

Works in the network namespace of the calling thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from ipaddress import IPv4Address

import msgspec

from strictarp.arp import bpf, frames, probing
from strictarp.arp.frames import ETHERTYPE_ARP, NO_IP, ArpFrame, MalformedFrame
from strictarp.arp.probing import Answer, Findings
from strictarp.arp.rawsocket import RawSocket
from strictarp.netlink import look
from strictarp.netlink.messages import MalformedMessage, Refusal
from strictarp.netlink.rtnl import IFF_LOOPBACK, IFF_NOARP, ROUTE_LOCAL, ROUTE_UNICAST, Address, Link, covers
from strictarp.netlink.socket import NETLINK_ROUTE, DumpInterrupted, Netlink

DEFAULT_WAIT = 1.2
"""Seconds. More than one, because proxies delay their answers by up to 0.8 s (proxy_delay)."""
Progress = Callable[[float, int], None]


class CannotLook(Exception):
    """The question cannot be asked from here; the message says why and what to do."""


class Vantage(msgspec.Struct, frozen=True):
    """Where to ask from: a link that can carry ARP; `own_address`: this host has the address itself."""

    link: Link
    own_address: bool = False


async def probe(
    ip: IPv4Address,
    interface: str | None = None,
    *,
    wait: float = DEFAULT_WAIT,
    sender: IPv4Address | None = None,
    on_progress: Progress | None = None,
) -> Findings:
    """Broadcast one request for `ip` and collect all answers for `wait` seconds.

    interface: None takes that of the route to `ip`. sender: None asks as an address probe, which touches no
    cache; an address asks as an ordinary request. on_progress: called with the seconds that passed and the
    number of MACs seen.

    Raises CannotLook.
    """
    vantage = await find_vantage(ip, interface)
    try:
        with_socket = RawSocket(vantage.link.index, ETHERTYPE_ARP, bpf.arp())
    except PermissionError as error:
        raise CannotLook("no permission to open a packet socket; run as root or with CAP_NET_RAW") from error
    except OSError as error:
        raise CannotLook(f"interface {vantage.link.name}: {error.strerror}") from error
    try:
        answers = await _ask(with_socket, vantage.link, ip.packed, sender, wait, on_progress)
    finally:
        with_socket.close()
    found = probing.answerers(answers)
    return Findings(
        ip=str(ip),
        interface=vantage.link.name,
        form="request" if sender else "probe",
        sender=str(sender or IPv4Address(0)),
        verdict=probing.judge(found),
        answerers=found,
        own_address=vantage.own_address,
        seconds=round(wait, 3),
    )


def probe_blocking(
    ip: IPv4Address,
    interface: str | None = None,
    *,
    wait: float = DEFAULT_WAIT,
    sender: IPv4Address | None = None,
) -> Findings:
    """`probe` for callers without an event loop; works in the namespace of the calling thread."""
    return asyncio.run(probe(ip, interface, wait=wait, sender=sender))


async def _ask(
    sock: RawSocket,
    link: Link,
    ip: bytes,
    sender: IPv4Address | None,
    wait: float,
    on_progress: Progress | None,
) -> list[Answer]:
    loop = asyncio.get_running_loop()
    asker = sender.packed if sender else NO_IP
    answers: list[Answer] = []

    def on_frame(data: bytes) -> None:
        after = (time.monotonic_ns() - asked) // 1000
        frame = _decoded(data)
        if frame and probing.is_answer(frame, ip=ip, asker_mac=link.mac, asker_ip=asker):
            answers.append(Answer(frame, after))

    sock.watch(loop, on_frame)
    asked = time.monotonic_ns()
    if not sock.send(frames.request(link.mac, asker, ip)):
        raise CannotLook(f"interface {link.name}: the kernel did not take the request; is the link up?")
    end = loop.time() + wait
    while (left := end - loop.time()) > 0:
        await asyncio.sleep(min(left, 0.1))
        if on_progress:
            on_progress(wait - max(0.0, end - loop.time()), len({each.frame.sender_mac for each in answers}))
    sock.unwatch(loop)
    if sock.broken:
        raise CannotLook(f"interface {link.name} went down while waiting for answers")
    return answers


def _decoded(data: bytes) -> ArpFrame | None:
    try:
        return frames.decode(data)
    except MalformedFrame:
        return None


async def find_vantage(ip: IPv4Address, interface: str | None) -> Vantage:
    """The link to ask on. Raises CannotLook."""
    try:
        async with Netlink(NETLINK_ROUTE) as route:
            own = _is_own(ip, await look.addresses(route, 4))
            if interface is not None:
                link = await look.link(route, interface)
                if link is None:
                    known = ", ".join(sorted(each.name for each in await look.links(route)))
                    raise CannotLook(f"no interface {interface}; there are: {known}")
            else:
                link = await _link_of_route(route, ip, own=own)
    except (Refusal, DumpInterrupted, MalformedMessage, TimeoutError, OSError) as error:
        raise CannotLook(f"cannot ask the kernel about its interfaces: {error}") from error
    _check_link(link)
    return Vantage(link, own)


def _is_own(ip: IPv4Address, addresses: list[Address]) -> bool:
    return any(each.address == ip.packed for each in addresses)


async def _link_of_route(route: Netlink, ip: IPv4Address, *, own: bool) -> Link:
    """The link that the route to `ip` leaves by; for an address of this host, the link of its segment."""
    links = {link.index: link for link in await look.links(route)}
    way = await look.route_to(route, ip.packed)
    if way is not None and way.kind == ROUTE_UNICAST and way.hops and not own:
        hop = way.hops[0]
        if hop.gateway:
            name = links[hop.index].name if hop.index in links else "?"
            raise CannotLook(
                f"{ip} is in no segment of this host (its route goes over a gateway on {name}); "
                "choose the interface with -i"
            )
        if hop.index in links:
            return links[hop.index]
    if own or (way is not None and way.kind == ROUTE_LOCAL):
        for each in await look.addresses(route, 4):
            link = links.get(each.index)
            wide = each.prefix < 32 and covers(each.address, each.prefix, ip.packed)
            if wide and link is not None and _complaint(link) is None:
                return link
        raise CannotLook(
            f"{ip} is an address of this host and no interface is in its segment; choose one with -i"
        )
    raise CannotLook(f"no route to {ip}; choose the interface with -i")


def _complaint(link: Link) -> str | None:
    if link.flags & (IFF_LOOPBACK | IFF_NOARP) or len(link.mac) != 6:
        return "does not speak ARP"
    if not link.flags & 1:
        return f"is down; bring it up with: ip link set {link.name} up"
    if not link.carrier:
        return "has no carrier; is the cable in?"
    return None


def _check_link(link: Link) -> None:
    complaint = _complaint(link)
    if complaint:
        raise CannotLook(f"interface {link.name} {complaint}")

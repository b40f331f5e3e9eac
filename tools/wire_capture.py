"""Prints what speakers say on a real segment: three nodes in network namespaces, and a host that asks.

    unshare --net --mount python tools/wire_capture.py            every scene of docs/wire.md
    unshare --net --mount python tools/wire_capture.py failover   one of them

Needs root. The frames are taken at the ports of the switch as they enter it; hellos that say what the
sender's last one said are counted, not printed. The times are those of this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / "src"), str(_ROOT / "tests")]

from strictarp.arp import frames as arp  # noqa: E402
from strictarp.arp import ndp_frames as ndp  # noqa: E402
from strictarp.arp.frames import MalformedFrame, parse_mac  # noqa: E402
from strictarp.arp.ndp_frames import MalformedNdp  # noqa: E402
from strictarp.hello import frames, ids  # noqa: E402
from strictarp.hello.auth import Keys  # noqa: E402
from strictarp.hello.frames import FrameError  # noqa: E402
from strictarp.hello.messages import (  # noqa: E402
    Accept,
    Challenge,
    Claim,
    Entry,
    Hello,
    Message,
    Offer,
    Release,
    Response,
    Witness,
)
from strictarp.lab import namespaces  # noqa: E402
from strictarp.netlink import look  # noqa: E402
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink  # noqa: E402
from strictarp.speaker import election  # noqa: E402
from strictarp.speaker.events import MoveRequested  # noqa: E402
from strictarp.speaker.links import Place, places  # noqa: E402
from strictarp.speaker.machine import Machine  # noqa: E402
from strictarp.speaker.segment import Segment, Told  # noqa: E402
from strictarp.speaker.settings import SECOND, Settings  # noqa: E402
from strictarp.speaker.view import Member, View, Vip  # noqa: E402
from support import segment as wires  # noqa: E402

NODES = ("node1", "node2", "node3")
FOUR, SIX = "192.0.2.100", "2001:db8::100"
CLUSTER = 1
KEYS = Keys(b"0123456789abcdef0123456789abcdef")
SETTINGS = Settings(season=3 * SECOND)
"""The defaults, but a node is seasoned after 3 s, so that nobody has to wait for half a minute."""
_VIPS = [ipaddress.ip_address(each).packed for each in (FOUR, SIX)]


class Words:
    """Frames as lines, with the names of this segment."""

    def __init__(self, macs: dict[str, str]) -> None:
        self._hosts = {parse_mac(mac): name for name, mac in macs.items()}
        self._nodes = {ids.node_id(name): name for name in NODES}
        self._vips = {ids.vip_id(each): str(ipaddress.ip_address(each)) for each in _VIPS}

    def to(self, mac: bytes) -> str:
        """A host's name, or the group."""
        known = {arp.BROADCAST_MAC: "all", frames.GROUP_MAC: "speakers", ndp.ALL_NODES_MAC: "all"}
        if mac[:3] == b"\x33\x33\xff":
            return "group"
        return known.get(mac) or self._hosts.get(mac) or mac.hex(":")

    def line(self, data: bytes) -> str:
        """What the frame says, empty for frames of others."""
        try:
            if data[12:14] == b"\x08\x06":
                return self._arp(arp.decode(data))
            if data[12:14] == b"\x86\xdd":
                return self._ndp(ndp.decode(data))
            return self._hello(frames.decode(data, CLUSTER, KEYS).message)
        except (MalformedFrame, MalformedNdp, FrameError):
            return ""

    def _arp(self, frame: arp.ArpFrame) -> str:
        target, sender = (str(ipaddress.IPv4Address(each)) for each in (frame.target_ip, frame.sender_ip))
        mac, mark = arp.mac_text(frame.sender_mac), frame.mark.hex()
        if frame.is_gratuitous:
            form = "request" if frame.operation == arp.REQUEST else "reply"
            return f"ARP gratuitous {form}: {sender} is at {mac}"
        if frame.is_probe:
            return f"ARP probe: who has {target}?" + (f" nonce {mark}" if mark else "")
        if frame.operation == arp.REQUEST:
            return f"ARP request: who has {target}? tell {sender}"
        return f"ARP reply: {sender} is at {mac}" + (f" tag {mark}" if mark else "")

    def _ndp(self, frame: ndp.NdpFrame) -> str:
        target, sender = (str(ipaddress.IPv6Address(each)) for each in (frame.target, frame.sender))
        mark = frame.mark.hex()
        if frame.is_probe:
            return f"NDP probe: who has {target}?" + (f" nonce {mark}" if mark else "")
        if frame.kind == ndp.SOLICITATION:
            return f"NDP solicitation: who has {target}? tell {sender}"
        kind = "advertisement" if frame.solicited else "advertisement to all"
        mac = arp.mac_text(frame.mac or frame.source)
        return f"NDP {kind}: {target} is at {mac}" + (f" tag {mark}" if mark else "")

    def _entries(self, entries: Iterable[Entry]) -> str:
        each = [f"{self._vips.get(entry.vip, hex(entry.vip))} epoch {entry.epoch}" for entry in entries]
        return ", ".join(each) or "nothing"

    def _hello(self, message: Message) -> str:  # noqa: PLR0911 - one line a message
        match message:
            case Hello():
                flag = ", ISOLATED" if message.isolated else ""
                owns = self._entries(message.entries)
                return f"HELLO {message.state.name.lower()}{flag}, h {message.hello_ms} ms, owns {owns}"
            case Claim():
                previous = self._nodes.get(message.previous, "nobody")
                last = f"previous {previous}, hello {message.highest_seq}"
                return f"CLAIM {self._entries(message.entries)}; {last}"
            case Witness():
                owner = self._nodes.get(message.owner, "?")
                return f"WITNESS {owner} heard {message.age_ms} ms ago: {self._entries(message.entries)}"
            case Offer() | Accept():
                kind = type(message).__name__.upper()
                return f"{kind} {self._vips[message.vip]} epoch {message.epoch}"
            case Release():
                to = self._nodes.get(message.to, "nobody")
                return f"RELEASE {self._vips[message.vip]} epoch {message.epoch} to {to}"
            case Challenge() | Response():
                return f"{type(message).__name__.upper()} {message.nonce.hex()}"
            case _:
                return type(message).__name__.upper()


class Tap:
    """All ports of the switch."""

    def __init__(self, wire: wires.Segment) -> None:
        macs = {name: wire.mac(name) for name in wire.hosts}
        self._words = Words(macs)
        with namespaces.entered(wire.switch):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._socket.setblocking(False)
        self._began = time.monotonic()
        self._said: dict[str, str] = {}
        self._same = 0
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Say how many hellos said nothing new."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        print(f"        … and {self._same} hellos that say what the last one said")

    def note(self, text: str) -> None:
        """Something that happens to the segment."""
        print(f"{self._stamp()}  -- {text}", flush=True)

    def _stamp(self) -> str:
        return f"{time.monotonic() - self._began:7.3f}"

    def _read(self) -> None:
        while True:
            try:
                data, (port, _, kind, _, _) = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            if kind == socket.PACKET_OUTGOING or not port.startswith("p-"):
                continue
            sender, line = port.removeprefix("p-"), self._words.line(data)
            if line.startswith("HELLO") and self._said.get(sender) == line:
                self._same += 1
            elif line:
                if line.startswith("HELLO"):
                    self._said[sender] = line
                print(f"{self._stamp()}  {sender:>6} > {self._words.to(data[:6]):8} {line}", flush=True)


class Nodes:
    """A speaker's machine in its shell on each node."""

    def __init__(self, wire: wires.Segment) -> None:
        self.wire = wire
        self.segments: dict[str, Segment] = {}
        addresses = {name: ipaddress.ip_address(wire.address(name)).packed for name in NODES}
        members = {name: Member(name, (parse_mac(wire.mac(name)),), addresses[name]) for name in NODES}
        orders = [election.order(dict.fromkeys(NODES, 0), each) for each in (FOUR, SIX)]
        vips = {vip: Vip(vip, order, True) for vip, order in zip(_VIPS, orders, strict=True)}
        self._view = View(vips, members, nodes={packed: name for name, packed in addresses.items()})

    async def start(self, name: str) -> None:
        """A process starts."""
        with namespaces.entered(self.wire.hosts[name]):
            machine = Machine(name, CLUSTER, SETTINGS, keys=KEYS, chance=random.SystemRandom())
            self.segments[name] = Segment(await _place(), machine, _ignore)
            self.segments[name].show(self._view)

    def kill(self, name: str) -> None:
        """The power goes off."""
        self.segments.pop(name).close()

    def owner(self, vip: bytes = _VIPS[0]) -> str:
        """Who owns an address."""
        return next(name for name, each in self.segments.items() if vip in each.machine.owned)

    async def settled(self) -> None:
        """All are seasoned, both addresses have owners, and the announcements are over."""
        for name in NODES:
            await self.start(name)
        await asyncio.sleep(11)
        self.owner()


def _ignore(segment: Segment, told: Told) -> None:
    """Logs are not part of the wire."""


async def _place() -> Place:
    async with Netlink(NETLINK_ROUTE) as route:
        while True:
            found = places(await look.links(route), await look.addresses(route), await look.routes(route))
            place = next(each for each in found if each.name == "eth0")
            if place.own6:
                return place
            await asyncio.sleep(0.1)


def send(wire: wires.Segment, *data: bytes) -> None:
    """Frames of the host `client`."""
    with namespaces.entered(wire.hosts["client"]), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        for each in data:
            out.send(each)


async def start(wire: wires.Segment, nodes: Nodes) -> None:
    """A cold cluster."""
    await asyncio.sleep(2.5)  # the kernels are done with their own addresses
    tap = Tap(wire)
    for name in NODES:
        await nodes.start(name)
    await asyncio.sleep(5)
    tap.close()


async def failover(wire: wires.Segment, nodes: Nodes) -> None:
    """The owner of the IPv4 address loses its power."""
    await nodes.settled()
    tap = Tap(wire)
    await asyncio.sleep(0.25)
    tap.note(f"{nodes.owner()} loses its power")
    nodes.kill(nodes.owner())
    await asyncio.sleep(1.8)
    tap.close()


async def move(wire: wires.Segment, nodes: Nodes) -> None:
    """The owner is told to hand the IPv4 address over."""
    await nodes.settled()
    owner = nodes.owner()
    tap = Tap(wire)
    tap.note(f"{owner} is told to hand {FOUR} over")
    nodes.segments[owner].feed(MoveRequested(_VIPS[0]))
    await asyncio.sleep(0.4)
    tap.close()


async def questions(wire: wires.Segment, nodes: Nodes) -> None:
    """A host asks, in all the ways that hosts ask."""
    await nodes.settled()
    tap = Tap(wire)
    mac, own = parse_mac(wire.mac("client")), ipaddress.ip_address(wire.address("client")).packed
    own6 = ipaddress.ip_address("2001:db8::4").packed
    to, to6 = (parse_mac(wire.mac(nodes.owner(vip))) for vip in _VIPS)
    for frame in (
        arp.request(mac, own, _VIPS[0]),
        arp.request(mac, own, _VIPS[0], to=to),
        arp.probe(mac, _VIPS[0]),
        ndp.solicit(mac, own6, _VIPS[1]),
        ndp.solicit(mac, own6, _VIPS[1], to=to6),
        ndp.probe(mac, _VIPS[1]),
    ):
        send(wire, frame)
        await asyncio.sleep(0.05)
    tap.close()


async def conflict(wire: wires.Segment, nodes: Nodes) -> None:
    """A host outside takes the IPv4 address and says so; then the kernel of a node answers for it."""
    await nodes.settled()
    owner = nodes.owner()
    other = next(name for name in NODES if name != owner)
    mac, own = parse_mac(wire.mac("client")), ipaddress.ip_address(wire.address("client")).packed
    tap = Tap(wire)
    tap.note(f"the host client announces {FOUR} as its own")
    send(wire, arp.gratuitous_reply(mac, _VIPS[0]))
    await asyncio.sleep(0.3)
    tap.note(f"arp_ignore of {other}, which has {FOUR} on a device, is set to 0; client asks")
    wires.write_sysctls(wire.hosts[other], {"net/ipv4/conf/all/arp_ignore": 0})
    send(wire, arp.request(mac, own, _VIPS[0]))
    await asyncio.sleep(0.3)
    tap.close()


SCENES: dict[str, Callable[[wires.Segment, Nodes], Awaitable[None]]] = {
    each.__name__: each for each in (start, questions, failover, move, conflict)
}


async def show(name: str) -> None:
    """One scene on a segment of its own."""
    print(f"# {name}: {SCENES[name].__doc__}")
    with wires.build([*NODES, "client"]) as wire:
        for number, (host, space) in enumerate(wire.hosts.items(), 1):
            sysctls = {"net/ipv6/conf/all/disable_ipv6": 0, "net/ipv6/conf/eth0/disable_ipv6": 0}
            wires.write_sysctls(space, sysctls)
            namespaces.ip(space, f"addr add 2001:db8::{number}/64 dev eth0 nodad")
            if host in NODES:
                strict = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}
                wires.write_sysctls(space, strict)
                wires.bind_vip(space)
        nodes = Nodes(wire)
        try:
            await SCENES[name](wire, nodes)
        finally:
            for each in nodes.segments.values():
                each.close()


def main(argv: list[str]) -> int:
    """The command line: exit 64 for a scene that there is not."""
    unknown = [each for each in argv if each not in SCENES]
    if unknown:
        print(f"wire_capture: no such scene: {unknown[0]}; there are {', '.join(SCENES)}", file=sys.stderr)
        return 64
    for name in argv or SCENES:
        asyncio.run(show(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

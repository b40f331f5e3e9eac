"""Random hosts in namespaces of the running kernel: built, asked, and compared with the model."""

import asyncio
import contextlib
import ctypes
import functools
import os
import random
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from strictarp.arp import commands
from strictarp.arp.announcing import solicit
from strictarp.arp.building import Builder
from strictarp.arp.facts import Device, Host, dotted
from strictarp.arp.frames import ArpFrame, encode, parse_mac
from strictarp.arp.neighbour_table import Table, hear
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.packets import Packet, packet_of
from strictarp.arp.receiving import receive
from strictarp.cli.facts import read_node
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.netlink import look
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from support.random_hosts import Frame, RandomHost, destination, make, text

_LARGEST = 2048
_SOL_PACKET = 263
Answer = tuple[str, str]
"""MAC and address that a reply claimed."""


class Wire:
    """The namespace at the other end of all cables, with one socket on all of them."""

    def __init__(self) -> None:
        self.space = namespaces.create("wire")
        with namespaces.entered(self.space):
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        self.socket.setsockopt(_SOL_PACKET, 23, 1)
        self.socket.setblocking(False)
        self.number = 0

    def close(self) -> None:
        self.socket.close()
        self.space.close()

    def drain(self) -> list[bytes]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(_LARGEST))
        return found


@contextlib.contextmanager
def node() -> Iterator[Namespace]:
    space = _create()
    try:
        yield space
    finally:
        space.close()


def _create() -> Namespace:
    home = namespaces.current("home")
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.unshare(0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        return namespaces.current("node")
    finally:
        namespaces.enter(home)
        home.close()


def link_commands(host: RandomHost, wire: Wire, standin: str) -> tuple[list[str], list[str]]:
    """Commands for the node, and the far ends of its cables. A bridge without ports stands in for a dummy."""
    lines = ["link set lo up"]
    far = []
    for device in host.devices:
        name, mac = device.name, device.mac
        if device.kind == "nic":
            peer = f"p{wire.number}{name}"
            lines.append(f"link add {name} address {mac} type veth peer name {peer} netns {wire.space.path}")
            far.append(peer)
        elif device.lower:
            ends = {"vlan": f"vlan id {device.vlan}", "ipvlan": "ipvlan mode l2"}
            end = ends.get(device.kind, "macvlan mode bridge")
            own = "" if device.kind == "ipvlan" else f" address {mac}"
            lines.append(f"link add link {device.lower} name {name}{own} type {end}")
        else:
            kind = {"dummy": standin, "bond": "bond mode active-backup", "vrf": "vrf table 10"}
            lines.append(f"link add {name} address {mac} type {kind.get(device.kind, device.kind)}")
        if not device.arp:
            lines.append(f"link set {name} arp off")
    for device in host.devices:
        if device.master:
            lines.append(f"link set {device.name} master {device.master}")
    ups = [device.name for device in host.devices if device.up and device.kind != "nic"]
    lines += [f"link set {name} up" for name in ups if name in {d.master for d in host.devices}]
    lines += [f"link set {device.name} up" for device in host.nics]
    lines += [f"link set {name} up" for name in ups if name not in {d.master for d in host.devices}]
    return lines, far


def _batch(space: Namespace, lines: list[str]) -> str:
    with namespaces.entered(space):
        done = subprocess.run(
            ["ip", "-force", "-batch", "-"],
            input="\n".join(lines) + "\n",
            text=True,
            capture_output=True,
            check=False,
        )
    return done.stderr


def write_sysctl(path: str, value: int) -> None:
    """Without a file object: in the VM that is what a write costs."""
    descriptor = os.open(f"/proc/sys/net/{path}", os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def build(space: Namespace, host: RandomHost, wire: Wire, *, standin: str) -> str:
    """Make the host of an empty namespace; returns what iproute2 complained of."""
    with namespaces.entered(space):
        write_sysctl("ipv6/conf/default/disable_ipv6", 1)
        for key in ("arp_ignore", "arp_announce", "rp_filter", "promote_secondaries"):
            for name in ("all", "default"):
                write_sysctl(f"ipv4/conf/{name}/{key}", 0)
    near, peers = link_commands(host, wire, standin)
    split = next(i for i, line in enumerate(near) if line.startswith("link set e") and line.endswith(" up"))
    complaints = _batch(space, near[:split])
    namespaces.set_links(wire.space, *peers, up=True)
    complaints += _batch(space, near[split:] + [line.removeprefix("ip ") for line in host.commands])
    with namespaces.entered(space):
        for key, value in host.sysctls:
            write_sysctl(f"ipv4/{key.replace('.', '/')}", value)
        if host.nft:
            subprocess.run(["nft", "-f", "-"], input=host.nft, text=True, check=True, capture_output=True)
    return complaints


def model_of(host: RandomHost) -> Host:
    """The host that the model builds from the same commands."""
    builder = Builder()
    for key in ("arp_ignore", "arp_announce", "rp_filter", "promote_secondaries"):
        for name in ("all", "default"):
            commands.sysctl(builder, f"conf.{name}.{key}", 0)
    for each in host.devices:
        builder.add_device(
            Device(
                each.name,
                parse_mac(each.mac),
                kind="" if each.kind == "nic" else each.kind,
                up=each.up,
                arp=each.arp,
                master=each.master,
                lower=each.lower,
                vlan=each.vlan,
                table=each.table,
                mode={"bond": "active-backup", "macvlan": "bridge", "ipvlan": "l2"}.get(each.kind, ""),
            )
        )
    commands.run_all(builder, host.commands)
    for key, value in host.sysctls:
        commands.sysctl(builder, key, value)
    if host.nft:
        builder.load_nft(parse_nft(host.nft))
    return builder.build()


def frame_bytes(host: RandomHost, frame: Frame, number: int) -> bytes:
    """The frame with a sender MAC of its own, by which its answers are known."""
    mac = bytes((0x02, 0xCC, 0, 0, number >> 8, number & 0xFF))
    target_mac = mac if frame.garp_reply else bytes(6)
    packed = [IPv4Address(address).packed for address in (frame.sip, frame.tip)]
    return encode(ArpFrame(destination(host, frame), mac, frame.op, mac, packed[0], target_mac, packed[1]))


def _tagged(raw: bytes, vlan: int) -> bytes:
    return raw[:12] + struct.pack("!HH", 0x8100, vlan) + raw[12:] if vlan else raw


def ask(host: RandomHost, wire: Wire, settle: float) -> list[list[Answer]]:
    """Send all frames; the answers to each."""
    devices = {device.name: device for device in host.devices}
    time.sleep(settle)
    wire.drain()
    for number, frame in enumerate(host.frames):
        device = devices[frame.device]
        nic = device.lower if device.kind == "vlan" else device.name
        raw = _tagged(frame_bytes(host, frame, number), device.vlan)
        wire.socket.sendto(raw, (f"p{wire.number}{nic}", 0x0806))
    # macvlan and ipvlan hand a broadcast on by a work queue.
    queued = any(device.kind in ("macvlan", "ipvlan") for device in host.devices)
    time.sleep((0.5 if settle else 0.03) if queued else 0.002)
    found: list[list[Answer]] = [[] for _ in host.frames]
    for raw in wire.drain():
        answer = decode_any(raw)
        if answer.operation == 2 and answer.target_mac[:2] == b"\x02\xcc":
            number = int.from_bytes(answer.target_mac[4:], "big")
            found[number].append((answer.sender_mac.hex(":"), str(IPv4Address(answer.sender_ip))))
    return found


@functools.lru_cache(maxsize=1)
def packets_of(host: RandomHost) -> tuple[Packet, ...]:
    """The frames as the model sees them."""
    numbered = enumerate(host.frames)
    return tuple(packet_of(decode_any(frame_bytes(host, frame, number))) for number, frame in numbered)


def predict(host: RandomHost, facts: Host) -> list[tuple[list[Answer], list[str]]]:
    """What the model says to each frame, and by which rules."""
    found = []
    for frame, packet in zip(host.frames, packets_of(host), strict=True):
        decisions = receive(facts, frame.device, packet)
        answers = [
            (each.answer.mac.hex(":"), str(IPv4Address(each.answer.sender_ip)))
            for each in decisions
            if each.answer is not None
        ]
        found.append((answers, [f"{each.device}: {each.rule}" for each in decisions]))
    return found


def decode_any(raw: bytes) -> ArpFrame:
    """As `frames.decode`, without refusing targets."""
    destination_mac, source, _, _, _, _, _, op, sha, sip, tha, tip = struct.unpack_from(
        "!6s6sHHHBBH6s4s6s4s", raw
    )
    return ArpFrame(destination_mac, source, op, sha, sip, tha, tip)


STATES = {1: "INCOMPLETE", 2: "REACHABLE", 4: "STALE", 8: "DELAY", 16: "PROBE", 32: "FAILED", 64: "NOARP"}


class Tally(msgspec.Struct):
    hosts: int = 0
    senders: int = 0
    built: int = 0
    """Hosts whose commands all succeeded, so that the model's own building was compared too."""
    frames: int = 0
    answered: int = 0
    rules: dict[str, int] = msgspec.field(default_factory=dict)
    disagreements: list[str] = msgspec.field(default_factory=list)


def run_one(seed: int, wire: Wire, tally: Tally, *, kinds: frozenset[str], standin: str) -> None:
    """One host: built, read, asked, compared."""
    host = make(random.Random(seed), kinds)
    wire.number += 1
    with node() as space:
        complaints = build(space, host, wire, standin=standin)
        with namespaces.entered(space):
            facts = read_node()[0]
        model = model_of(host)
        views = {"facts": predict(host, facts), "commands": predict(host, model)}
        slow = any(device.kind in ("bridge", "bond", "ipvlan") for device in host.devices)
        # A link may need a moment until it carries frames. What differs is asked again before it counts.
        for settle in (0.2 if slow else 0.0, 1.5):
            found = compare(seed, host, ask(host, wire, settle), views)
            if not found and settle != 1.5:
                # Within the second of a first round, so that no lock opens.
                found += compare_tables(seed, host, facts, asyncio.run(_neighbours(space)))
                found += compare_senders(seed, host, facts, space, wire=wire, tally=tally)
            if not found:
                break
    tally.hosts += 1
    tally.built += not complaints
    tally.disagreements += compare_built(seed, facts, model) + found
    for answers, rules in views["facts"]:
        tally.frames += 1
        tally.answered += bool(answers)
        for rule in rules:
            name = rule.split(": ")[1]
            tally.rules[name] = tally.rules.get(name, 0) + 1


Prediction = tuple[list[Answer], list[str]]


def compare(
    seed: int, host: RandomHost, answers: list[list[Answer]], views: dict[str, list[Prediction]]
) -> list[str]:
    """Where the kernel and the model differ, as text."""
    return [
        f"seed {seed} by {view}: {frame} kernel {kernel} model {model} {rules}"
        for view, guesses in views.items()
        for frame, kernel, (model, rules) in zip(host.frames, answers, guesses, strict=True)
        if sorted(kernel) != sorted(model)
    ]


def compare_built(seed: int, facts: Host, model: Host) -> list[str]:
    """Where the commands made other addresses or routes of the kernel than of the model: frames that show it
    are rare. Addresses in their order on each device; routes in any, and those that differ in nothing but
    their preferred source, which facts do not hold, count as one.
    """
    found = []
    for name in sorted(set(facts.on_device) | set(model.on_device)):
        kernel, ours = facts.on_device.get(name, ()), model.on_device.get(name, ())
        if kernel != ours:
            found.append(f"seed {seed} addresses of {name}: kernel {kernel} model {ours}")
    kernel_routes, our_routes = set(facts.routes), set(model.routes)
    if kernel_routes != our_routes:
        more, fewer = kernel_routes - our_routes, our_routes - kernel_routes
        found.append(f"seed {seed} routes: kernel only {more} model only {fewer}")
    return found


async def _neighbours(space: Namespace) -> dict[tuple[str, str], tuple[str, str]]:
    with namespaces.entered(space):
        async with Netlink(NETLINK_ROUTE) as route:
            names = {link.index: link.name for link in await look.links(route)}
            entries = await look.neighbours(route, 4)
    return {
        (names[each.index], str(IPv4Address(each.address))): (STATES[each.state], each.mac.hex(":"))
        for each in entries
        if each.address[0] >> 4 != 0xE
    }


def compare_tables(
    seed: int, host: RandomHost, facts: Host, kernel: dict[tuple[str, str], tuple[str, str]]
) -> list[str]:
    """Where the neighbour tables differ after all frames, which came within the locktime."""
    table = Table()
    for frame, packet in zip(host.frames, packets_of(host), strict=True):
        for decision in receive(facts, frame.device, packet):
            kind = "host" if frame.kind == "node" else ""
            table = hear(facts, table, packet, decision, 0.0, kind=kind)
    model = {
        (device, str(IPv4Address(address))): (entry.state.value, entry.mac.hex(":"))
        for (device, address), entry in table.entries.items()
    }
    fixed = {key for key, value in (*model.items(), *kernel.items()) if value[0] == "NOARP"}
    return [
        f"seed {seed} neighbour {key}: kernel {kernel.get(key)} model {model.get(key)}"
        for key in sorted(set(model) | set(kernel))
        if (kernel.get(key) != model.get(key) if key not in fixed else (key in kernel) != (key in model))
    ]


def compare_senders(
    seed: int, host: RandomHost, facts: Host, space: Namespace, *, wire: Wire, tally: Tally
) -> list[str]:
    """Where the sender of the node's own requests differs from the model's."""
    rng = random.Random(seed)
    found: list[str] = []
    sources = sorted(facts.local_addresses)
    for _ in range(6):
        source, target = rng.choice(sources), int(IPv4Address(text(rng)))
        device = rng.choice(host.nics).name
        wire.drain()
        if not _provoke(space, device, source, target):
            continue
        for raw in wire.drain():
            seen = decode_any(raw)
            if seen.operation != 1 or seen.sender_mac[:2] == b"\x02\xcc":
                continue
            asked = int.from_bytes(seen.target_ip, "big")
            expected = solicit(facts, device, asked, source)
            got = int.from_bytes(seen.sender_ip, "big")
            tally.senders += 1
            if expected is None or expected.sender_ip != got:
                found.append(
                    f"seed {seed} sender on {device} for {dotted(asked)} source {dotted(source)}: "
                    f"kernel {dotted(got)} model {expected and dotted(expected.sender_ip)}"
                )
    return found


def _provoke(space: Namespace, device: str, source: int, target: int) -> bool:
    """Make the node resolve `target` on `device` for a packet from `source`; false when it has no way."""
    with namespaces.entered(space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind((dotted(source), 0))
            sock.sendto(b"x", (dotted(target), 9))
        except OSError:
            return False
    return True


KINDS = ("bridge", "macvlan", "vlan", "bond", "vrf", "ipvlan", "dummy")


def available(kinds: tuple[str, ...] = KINDS) -> frozenset[str]:
    """Which kinds of devices the running kernel has."""
    found = set()
    for kind in kinds:
        with node() as space:
            end = {"vrf": "vrf table 10", "vlan": "vlan id 10"}.get(kind, kind)
            lower = "link v0 " if kind in ("vlan", "macvlan", "ipvlan") else ""
            made = _batch(space, ["link add v0 type veth peer name v1", f"link add {lower}name x type {end}"])
            if not made:
                found.add(kind)
    return frozenset(found)


def run_many(first: int, count: int) -> Tally:
    """Compare hosts of the seeds from `first` on, with all kinds of devices that the kernel has."""
    kinds = available()
    wire, tally = Wire(), Tally()
    try:
        for seed in range(first, first + count):
            run_one(
                seed, wire, tally, kinds=kinds - {"dummy"}, standin="dummy" if "dummy" in kinds else "bridge"
            )
    finally:
        wire.close()
    return tally

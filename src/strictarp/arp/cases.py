"""Observed cases: a host written as commands, a frame, and what came back. Pure.

One JSON object a line, `{"id": ..., "case": {"devs": [...], "addrs": [...], ..., "pkt": {...}}}`.
`docs/explain.md` tells the fields.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import msgspec

from strictarp.arp.building import MASTERS, Builder
from strictarp.arp.commands import run_all, sysctl
from strictarp.arp.decision import Decision
from strictarp.arp.facts import Device, Host
from strictarp.arp.fib import other_hops
from strictarp.arp.frames import BROADCAST_MAC, NO_MAC, parse_mac
from strictarp.arp.iproute import address
from strictarp.arp.packets import Packet
from strictarp.arp.receiving import receive
from strictarp.arp.unsupported import Refused, Unsupported

CLIENT_MAC = bytes.fromhex("02000000cc01")
_MACS = {
    "bcast": BROADCAST_MAC,
    "broadcast": BROADCAST_MAC,
    "other": bytes.fromhex("02000000dead"),
    "mcast": bytes.fromhex("01005e7f0063"),
    "client": CLIENT_MAC,
    "zero": NO_MAC,
}
_MODES = {"bond": "active-backup", "ipvlan": "l2", "macvlan": "bridge"}


class Dev(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device of a case."""

    name: str
    mac: str = ""
    kind: str = ""
    up: bool = True
    noarp: bool = False
    master: str = ""
    link: str = ""
    id: int = 0
    table: int = 0
    mtu: int = 1500
    mode: str = ""
    opts: str = ""
    args: str = ""


class Pkt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"arrives": "in"}):
    """The frame of a case; MAC addresses also by name: node, client, other, mcast, bcast, zero."""

    arrives: str | list[str]
    tip: str
    sip: str = "0.0.0.0"
    op: int = 1
    sha: str = "client"
    tha: str = "zero"
    dst: str = "bcast"
    src: str = "client"
    hrd: int = 1
    pro: int = 0x0800
    hln: int = 6
    pln: int = 4
    cut: int = 46
    vlan: int | None = None


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The host and the frame of a case; `steps` is a sequence instead of one frame."""

    devs: list[Dev]
    addrs: list[list[Any]] = []
    sysctl: dict[str, int | str] = {}
    sysctl_before: dict[str, int | str] = {}
    routes: list[str] = []
    rules: list[str] = []
    pneigh: list[list[str | None] | str] = []
    neigh: list[str] = []
    nft: str = ""
    cmds: list[str] = []
    pkt: Pkt | None = None
    steps: list[dict[str, Any]] | None = None
    nomodel: bool = False
    noop_rule: bool = False
    settle: float = 0
    volatile: bool = False


class Line(msgspec.Struct, frozen=True):
    """A line of a file of cases. `answered` and `observed`: what the kernel did, where it is known."""

    id: str | int
    case: Case
    title: str = ""
    kernel: str = ""
    answered: list[tuple[str, str]] | None = None
    observed: list[dict[str, Any]] = []


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `explain --cases` prints for a line. id: None for a line that has none."""

    id: str | int | None
    answered: list[tuple[str, str]] | None = None
    unsupported: str = ""


def parse_line(text: str | bytes) -> Line:
    """A line. Raises msgspec.ValidationError and msgspec.DecodeError, which name the field."""
    return msgspec.json.decode(text, type=Line)


def judge(text: str | bytes) -> Result:
    """The model's answers for a line, or why it has none: also for a line that is no case at all."""
    try:
        line = parse_line(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return Result(_id_in(text), unsupported=_why_not(error))
    if line.case.pkt is None:
        steps = line.case.steps is not None
        missing = "a sequence of steps, not one frame" if steps else "no frame: the field `pkt` is missing"
        return Result(line.id, unsupported=missing)
    try:
        host = host_of(line.case).build()
        answered = _answers(host, line.case.pkt)
        if any(_answers(other, line.case.pkt) != answered for other in other_hops(host)):
            raise Unsupported("a route has several hops, and which of them the kernel takes is chance")
    except (Unsupported, RecursionError) as error:
        return Result(line.id, unsupported=_why_not(error))
    return Result(line.id, answered)


class _Named(msgspec.Struct):
    id: str | int


def _id_in(text: str | bytes) -> str | int | None:
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(text, type=_Named).id
    return None


def _why_not(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _answers(host: Host, pkt: Pkt) -> list[tuple[str, str]]:
    return [named(host, each) for each in _decisions(host, pkt) if each.answered]


def _decisions(host: Host, pkt: Pkt) -> list[Decision]:
    """What every device does that the frame of a case reaches. Raises Unsupported."""
    arrivals = [pkt.arrives] if isinstance(pkt.arrives, str) else pkt.arrives
    return [
        decision
        for name in arrivals
        for decision in receive(host, _device(host, name), packet_of(host, name, pkt))
    ]


def _device(host: Host, name: str) -> str:
    if name not in host.by_name:
        raise Unsupported(f"pkt: there is no device {name!r}")
    return name


def packet_of(host: Host, name: str, pkt: Pkt) -> Packet:
    """The frame of a case that arrives on a device. Raises Unsupported."""
    return Packet(
        sender_ip=address(pkt.sip),
        target_ip=address(pkt.tip),
        sender_mac=_mac(host, name, pkt.sha),
        target_mac=_mac(host, name, pkt.tha),
        operation=pkt.op,
        destination=_mac(host, name, pkt.dst),
        source=_mac(host, name, pkt.src),
        hardware_type=pkt.hrd,
        protocol_type=pkt.pro,
        hardware_length=pkt.hln,
        protocol_length=pkt.pln,
        length=pkt.cut,
        vlan=pkt.vlan,
    )


def _mac(host: Host, name: str, text: str) -> bytes:
    if text == "node":
        return host.by_name[name].mac
    if text in _MACS:
        return _MACS[text]
    try:
        return parse_mac(text)
    except ValueError as error:
        raise Unsupported(str(error)) from error


def named(host: Host, decision: Decision) -> tuple[str, str]:
    """The device whose MAC the answer gives, and the address. An ipvlan has the MAC of its parent."""
    answer = decision.answer
    if answer is None:
        raise ValueError(f"{decision.device} did not answer")
    text = ".".join(str(byte) for byte in answer.sender_ip.to_bytes(4, "big"))
    device = host.by_name[decision.device]
    if device.kind == "ipvlan":
        device = host.by_name.get(device.lower, device)
    if answer.mac == device.mac:
        return device.name, text
    others = (each.name for each in host.devices if each.mac == answer.mac)
    return next(others, answer.mac.hex(":")), text


def host_of(case: Case) -> Builder:
    """The host, step by step in the order that the cases were made in. Raises Unsupported."""
    builder = Builder()
    for key, value in case.sysctl_before.items():
        sysctl(builder, key, value)
    for dev in case.devs:
        with contextlib.suppress(Refused):
            builder.add_device(_device_of(dev))
    for dev in case.devs:
        _check_links(builder, dev)
    run_all(builder, (_addr_line(entry) for entry in case.addrs))
    for key, value in case.sysctl.items():
        sysctl(builder, key, value)
    run_all(builder, (f"ip route add {route.removeprefix('add ')}" for route in case.routes))
    run_all(builder, (f"ip rule add {rule.removeprefix('add ')}" for rule in case.rules))
    if case.noop_rule:
        builder.unmerged = True
    run_all(builder, (_proxy_line(proxy) for proxy in case.pneigh))
    if case.nft:
        builder.add_nft(case.nft)
    run_all(builder, case.cmds)
    return builder


def _check_links(builder: Builder, dev: Dev) -> None:
    """What a device is in or on must be there, and be something that takes it. Raises Unsupported."""
    if dev.link:
        builder.device(dev.link)
    if dev.master and (kind := builder.device(dev.master).kind) not in MASTERS:
        raise Unsupported(
            f"devs: master of {dev.name}: a device of kind {kind!r} ({', '.join(MASTERS)} are known)"
        )


def _addr_line(entry: list[Any]) -> str:
    return f"ip addr add {' '.join(_words(entry[1:]))} dev {''.join(map(str, entry[:1]))}"


def _proxy_line(proxy: list[str | None] | str) -> str:
    words = proxy.split() if isinstance(proxy, str) else [word for word in proxy if word]
    device = [] if len(words) < 2 or words[1] == "dev" else ["dev"]
    return " ".join(["ip neigh add proxy", *words[:1], *device, *words[1:]])


def _device_of(dev: Dev) -> Device:
    told = re.search(r"mode (\S+)", f"{dev.opts} {dev.args}")
    mode = dev.mode or (told[1] if told else _MODES.get(dev.kind, ""))
    try:
        mac = parse_mac(dev.mac) if dev.mac else NO_MAC
    except ValueError as error:
        raise Unsupported(f"devs: mac of {dev.name}: {error}") from error
    return Device(
        dev.name,
        mac,
        kind=dev.kind,
        up=dev.up,
        arp=not dev.noarp,
        mtu=dev.mtu,
        master=dev.master,
        lower=dev.link,
        vlan=dev.id,
        table=dev.table,
        mode=mode,
    )


def _words(options: list[Any]) -> list[str]:
    """Options of an address: words, or a mapping of a word to its value (true for none)."""
    found: list[str] = []
    for option in options:
        if isinstance(option, dict):
            for key, value in option.items():
                found += [key] if value is True else [key, str(value)]
        else:
            found += str(option).split()
    return found

"""Replays the sequences of recorded cases on the models, on a virtual clock."""

from typing import Any

import msgspec

from strictarp.arp import cases, commands, neighbour_table
from strictarp.arp.addresses import select
from strictarp.arp.announcing import announcements
from strictarp.arp.facts import Host, dotted
from strictarp.arp.fib import Flow, Found, lookup
from strictarp.arp.frames import BROADCAST_MAC, NO_MAC, parse_mac
from strictarp.arp.iproute import address
from strictarp.arp.neighbour_table import Table
from strictarp.arp.neighbours import Entry, State, Timing
from strictarp.arp.packets import Packet
from strictarp.arp.receiving import receive

_UNITS = {
    "locktime": ("locktime", 0.01),
    "delay_first_probe_time": ("delay_first_probe", 1.0),
    "retrans_time_ms": ("retransmit", 0.001),
    "retrans_time": ("retransmit", 0.01),
    "ucast_solicit": ("unicast_probes", 1),
    "mcast_solicit": ("multicast_probes", 1),
    "mcast_resolicit": ("multicast_reprobes", 1),
}


class Replay:
    """A node, its neighbour table and the time."""

    def __init__(self, case: cases.Case) -> None:
        self.case = case
        self.builder = cases.host_of(case)
        self.now = 0.0
        self.sent: list[tuple[str, Packet]] = []
        timing = {dev.name: self._timing(dev.name) for dev in case.devs}
        self.table = Table(timing=timing)
        for line in case.neigh:
            self._neighbour(line.split())

    @property
    def host(self) -> Host:
        return self.builder.build()

    def _timing(self, name: str) -> Timing:
        values: dict[str, Any] = {}
        for key, value in self.case.sysctl.items():
            kind, device, leaf = (*key.split("."), "", "")[:3]
            if kind == "neigh" and device == name and leaf in _UNITS:
                field, unit = _UNITS[leaf]
                values[field] = int(value) * unit
        return Timing(**values)

    def _neighbour(self, words: list[str]) -> None:
        options = dict(zip(words[1::2], words[2::2], strict=True))
        entry = Entry(self.now, State(options["nud"].upper()), parse_mac(options["lladdr"]))
        self.table = self.table.put((options["dev"], address(words[0])), entry)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (due := self.table.wake()) is not None and due <= end:
            self.now = due
            self.table, packets = neighbour_table.expire(self.host, self.table, self.now)
            self.sent += [(self._device_of(packet), packet) for packet in packets]
        self.now = end

    def _device_of(self, packet: Packet) -> str:
        return next(dev.name for dev in self.host.devices if dev.mac == packet.source)

    def step(self, step: dict[str, Any]) -> dict[str, Any] | None:
        """One step; what it reads, None for a step that reads nothing."""
        self.run(step.get("sleep", 0))
        self.sent = []
        if "sysctl" in step:
            for key, value in step["sysctl"].items():
                commands.sysctl(self.builder, key, value)
        if "readsysctl" in step:
            return {
                key: self.builder.conf.read(*key.removeprefix("conf.").split("."))
                for key in step["readsysctl"]
            }
        if "neigh" in step:
            return {f"neigh {step['neigh']}": self._entries(address(step["neigh"]))}
        for line in (step[key] for key in ("wcmd", "cmd") if key in step):
            self._command(line)
        if "pkt" in step:
            self._arrive(msgspec.convert(step["pkt"], cases.Pkt))
        if "udp" in step:
            self._send(step["udp"])
        self.run(step.get("wait", 0))
        if step.get("silent") or not ({"pkt", "udp", "cmd"} & set(step)):
            return None
        return {"arp": [self._shown(device, packet) for device, packet in self.sent]}

    def _command(self, line: str) -> None:
        words = line.split()
        if words[:3] == ["ip", "link", "set"] and words[3].startswith("pe") and words[4] == "down":
            name = words[3][1:]
            self.builder.change_device(name, carrier=False)
            self.table = neighbour_table.carrier_lost(self.host, self.table, name)
            return
        commands.run(self.builder, line)
        if words[:3] == ["ip", "link", "set"] and "address" in words:
            self.sent += [(words[3], packet) for packet in announcements(self.host, words[3])]

    def _arrive(self, pkt: cases.Pkt) -> None:
        names = [pkt.arrives] if isinstance(pkt.arrives, str) else pkt.arrives
        host = self.host
        for name in names:
            packet = cases.packet_of(host, name, pkt)
            for decision in receive(host, name, packet):
                self.table = neighbour_table.hear(host, self.table, packet, decision, self.now)
                answer = decision.answer
                if answer is not None:
                    reply = Packet(
                        answer.sender_ip, answer.target_ip, answer.mac, packet.sender_mac, 2,
                        answer.destination, answer.mac,
                    )  # fmt: skip
                    self.sent.append((name, reply))

    def _send(self, udp: dict[str, str]) -> None:
        host, target = self.host, address(udp["dst"])
        source = address(udp["src"]) if "src" in udp else 0
        found = lookup(host, Flow(target, source))
        assert isinstance(found, Found)
        hop = next(hop for hop in found.route.hops if hop.device == found.device)
        source = source or select(host, found.device, target)
        self.table, packets = neighbour_table.resolve(
            host, self.table, found.device, hop.gateway or target, self.now, source=source
        )
        self.sent += [(found.device, packet) for packet in packets]

    def _entries(self, wanted: int) -> list[str]:
        found = []
        for (device, held), entry in self.table.entries.items():
            if held == wanted:
                mac = entry.mac.hex(":") if entry.valid else "-"
                found.append(f"{device} {mac} {entry.state}")
        return found

    def _shown(self, device: str, packet: Packet) -> dict[str, Any]:
        return {
            "on": device,
            "op": packet.operation,
            "eth_dst": self._name(packet.destination),
            "eth_src": self._name(packet.source),
            "sha": self._name(packet.sender_mac),
            "sip": dotted(packet.sender_ip),
            "tha": self._name(packet.target_mac),
            "tip": dotted(packet.target_ip),
        }

    def _name(self, mac: bytes) -> str:
        names = {dev.mac: dev.name for dev in reversed(self.host.devices)}
        names |= {BROADCAST_MAC: "bcast", NO_MAC: "zero", cases.CLIENT_MAC: "client"}
        return names.get(mac, mac.hex(":"))


def replayed(line: cases.Line) -> list[dict[str, Any]]:
    """What the steps of a case read on the models."""
    replay = Replay(line.case)
    read = (replay.step(step) for step in line.case.steps or [])
    return [each for each in read if each is not None]


def without_times(observed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was observed, without when it came."""
    return msgspec.convert(
        [
            {
                key: [{k: v for k, v in frame.items() if k != "t_ms"} for frame in value]
                if key == "arp"
                else value
                for key, value in step.items()
            }
            for step in observed
        ],
        list[dict[str, Any]],
    )

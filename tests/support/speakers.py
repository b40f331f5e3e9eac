"""A few machines round a table: every frame arrives after 1 ms, clocks agree, nothing is late.

For tests of single rules by example. `tests/simulation` is the place for everything that goes wrong at once.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Iterator, Mapping

from simulation.clock import Clock
from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.hello import frames, ids
from strictarp.hello.auth import Keys
from strictarp.hello.messages import Hello, Message
from strictarp.speaker.actions import Action, Answer, Disowned, Kind, Owning, Report, Send, Taken
from strictarp.speaker.election import order
from strictarp.speaker.events import (
    Event,
    FrameReceived,
    GatewayKnown,
    LinkChanged,
    TimerDue,
    ViewChanged,
)
from strictarp.speaker.machine import Machine
from strictarp.speaker.settings import MS, SECOND, Settings
from strictarp.speaker.view import Member, View, Vip

KEYS = Keys(b"a key of the cluster, thirty-two")
CLUSTER = ids.cluster_id("11111111-2222-3333-4444-555555555555")
SETTINGS = Settings(settle=SECOND, season=2 * SECOND, season_most=8 * SECOND)
GATEWAY = bytes((192, 0, 2, 1))
GATEWAY_MAC = b"\x02\0\0\0\0\x01"
CLIENT = bytes((192, 0, 2, 250))
CLIENT_MAC = b"\x02\0\0\0\0\xfa"
WAY = MS
"""How long each frame takes."""


def address(text: str) -> bytes:
    """`203.0.113.1`, packed."""
    return ipaddress.ip_address(text).packed


VIP = address("203.0.113.1")
VIP6 = address("2001:db8::100")
CLIENT6 = address("2001:db8::fa")
GATEWAY6 = address("fe80::1")


class Table:
    """Machines by name. They start together; `after` lets time pass.

    cut: (from, to) between which nothing passes. stopped: processes that are stopped; frames wait for them.
    deaf_to_hellos: (from, to) between which only ARP passes. loses: node → what it never hears.
    kernels: nodes whose kernel answers for VIPs. beside: VIP → the first address of its Service.
    """

    def __init__(
        self,
        names: Iterable[str] = ("a", "b", "c"),
        *,
        vips: Iterable[bytes] = (VIP,),
        settings: Settings = SETTINGS,
        gateway: bytes | None = GATEWAY,
        gateway6: bytes | None = None,
    ) -> None:
        self.clock = Clock()
        self.vips = list(vips)
        self.beside: dict[bytes, bytes] = {}
        self.machines: dict[str, Machine] = {}
        self.macs: dict[str, bytes] = {}
        self.due: dict[str, int | None] = {}
        self.owned: dict[str, set[bytes]] = {}
        self.queues: dict[str, list[bytes]] = {}
        self.reports: list[tuple[int, str, Report]] = []
        self.said: list[tuple[int, str, Message]] = []
        self.taken: list[tuple[int, str, Taken]] = []
        """Addresses that were found taken: when, and by whom."""
        self.answers: list[tuple[int, str, bytes]] = []
        self.sent: list[bytes] = []
        self.cut: set[tuple[str, str]] = set()
        self.deaf_to_hellos: set[tuple[str, str]] = set()
        self.loses: dict[str, type[Message]] = {}
        self.stopped: set[str] = set()
        self.dead: set[str] = set()
        self.kernels: set[str] = set()
        self.gateway_answers = True
        self.foreign: dict[bytes, bytes] = {}
        self.node_addresses: dict[bytes, str] = {}
        self._settings = settings
        self._gateway = gateway
        self._gateway6 = gateway6
        for name in names:
            self.start(name)

    def start(self, name: str, *, seed: str = "", view: View | None = None) -> None:
        """A new process on a node."""
        self.macs.setdefault(name, bytes((2, 0, 0, 1, 0, len(self.macs))))
        self.dead.discard(name)
        self.queues[name] = []
        self.owned[name] = set()
        self.due[name] = None
        self.machines[name] = Machine(
            name, CLUSTER, self._settings, keys=KEYS, chance=random.Random(f"{name}{seed}")
        )
        self.feed(name, GatewayKnown(self._gateway, self._gateway6))
        own6 = address(f"fe80::2:{len(self.macs)}") if self._gateway6 is not None else b""
        self.feed(name, LinkChanged(self.macs[name], up=True, own6=own6))
        if view is not None:
            self.feed(name, ViewChanged(view))

    def show(
        self,
        *names: str,
        scores: Mapping[str, int] | None = None,
        eligible: bool = True,
        wish: str = "",
        drained: Iterable[str] = (),
    ) -> None:
        """Tell these nodes, or all, that all machines are candidates. scores: of some of them."""
        for name in names or self.machines:
            view = self.view(name, scores=scores, eligible=eligible, wish=wish, drained=drained)
            self.feed(name, ViewChanged(view))

    def view(
        self,
        name: str,
        *,
        scores: Mapping[str, int] | None = None,
        eligible: bool = True,
        members: Iterable[str] | None = None,
        wish: str = "",
        drained: Iterable[str] = (),
    ) -> View:
        """What `show` tells one node."""
        known = list(members if members is not None else self.machines)
        every = dict.fromkeys(known, 0) | dict(scores or {})
        if not eligible:
            every.pop(name, None)
        vips = {
            vip: Vip(
                vip,
                order(
                    every, str(ipaddress.ip_address(self.beside.get(vip, vip))), drained=frozenset(drained)
                ),
                name in every,
                self.beside.get(vip, b""),
                wish=wish,
            )
            for vip in self.vips
        }
        members_there = {each: Member(each, (self.macs[each],)) for each in known}
        return View(vips, members_there, nodes=self.node_addresses)

    def first(self, vip: bytes = VIP) -> list[str]:
        """All nodes, in the order of election for this VIP."""
        return [each.node for each in order(dict.fromkeys(self.machines, 0), str(ipaddress.ip_address(vip)))]

    @property
    def now(self) -> int:
        """µs."""
        return self.clock.now

    def after(self, micros: int) -> None:
        """Let time pass."""
        self.clock.run(self.clock.now + micros)

    def settled(self) -> Table:
        """All are seasoned, and every VIP has its owner."""
        self.show()
        self.after(3 * SECOND)
        return self

    def owners(self, vip: bytes = VIP) -> list[str]:
        """Who answers for it, of those alive."""
        return [name for name in self.machines if name not in self.dead and vip in self.owned[name]]

    def kill(self, name: str) -> None:
        """The process is gone."""
        self.dead.add(name)

    def stop(self, name: str) -> None:
        """SIGSTOP."""
        self.stopped.add(name)

    def wake(self, name: str) -> None:
        """SIGCONT: first the frames that waited, then the timer."""
        self.stopped.discard(name)
        queue, self.queues[name] = self.queues[name], []
        for data in queue:
            self._receive(name, data)
        self._ring(name)

    def separate(self, one: Iterable[str], other: Iterable[str]) -> None:
        """A partition. `gateway` and `client` are names, too."""
        self.cut |= {pair for a in one for b in other for pair in ((a, b), (b, a))}

    def ask(self, vip: bytes = VIP) -> None:
        """The client asks for a VIP."""
        asked = (
            arp.request(CLIENT_MAC, CLIENT, vip) if len(vip) == 4 else ndp.solicit(CLIENT_MAC, CLIENT6, vip)
        )
        self._carry("client", asked)

    def messages(self, kind: type, by: str = "", since: int = 0) -> list[Message]:
        """What was said of a kind."""
        return [
            message
            for time, name, message in self.said
            if isinstance(message, kind) and by in ("", name) and time >= since
        ]

    def reported(self, kind: Kind, by: str = "", since: int = 0) -> list[Report]:
        """Reports of a kind."""
        return [
            report
            for time, name, report in self.reports
            if report.kind is kind and by in ("", name) and time >= since
        ]

    def hellos(self, by: str) -> Iterator[Hello]:
        """The hellos of a node so far."""
        return (message for _, name, message in self.said if name == by and isinstance(message, Hello))

    def inject(self, name: str, data: bytes) -> None:
        """A frame that nobody here sent."""
        self._receive(name, data)

    def feed(self, name: str, event: Event) -> None:
        """Something happens to a machine now."""
        self._do(name, self.machines[name].step(event, self.now))

    def _do(self, name: str, actions: list[Action]) -> None:
        machine = self.machines[name]
        for action in actions:
            match action:
                case Send(data=data) | Answer(data=data):
                    if isinstance(action, Answer):
                        self.answers.append((self.now, name, action.address))
                    self.sent.append(data)
                    self._note(name, data)
                    self._carry(name, data)
                case Owning(address=vip):
                    self.owned[name].add(vip)
                case Disowned(address=vip):
                    self.owned[name].discard(vip)
                case Report():
                    self.reports.append((self.now, name, action))
                case Taken():
                    self.taken.append((self.now, name, action))
                case _:
                    pass
        due = machine.next_deadline()
        if due is not None and due != self.due[name]:
            self.due[name] = due
            self.clock.at(due, self._ring_if, name, machine, due)

    def _note(self, name: str, data: bytes) -> None:
        if data[12:14] == frames.ETHERTYPE.to_bytes(2, "big"):
            self.said.append((self.now, name, frames.decode(data, CLUSTER, KEYS).message))

    def _ring_if(self, name: str, machine: Machine, due: int) -> None:
        if self.machines[name] is machine and self.due[name] == due and name not in self.stopped | self.dead:
            self._ring(name)

    def _ring(self, name: str) -> None:
        self.due[name] = None
        self.feed(name, TimerDue())

    def _carry(self, source: str, data: bytes) -> None:
        if data[0] & 1:
            targets = [name for name in (*self.machines, "gateway", "client") if name != source]
        else:
            targets = [name for name, mac in self.macs.items() if mac == data[:6] and name != source]
            targets += ["gateway"] * (data[:6] == GATEWAY_MAC) + ["client"] * (data[:6] == CLIENT_MAC)
        ours = data[12:14] == frames.ETHERTYPE.to_bytes(2, "big")
        for target in targets:
            if (source, target) in self.cut or (ours and (source, target) in self.deaf_to_hellos):
                continue
            if not (ours and target in self.loses and self._is_lost(target, data)):
                self.clock.at(self.now + WAY, self._arrive, target, data)

    def _is_lost(self, target: str, data: bytes) -> bool:
        return isinstance(frames.decode(data, CLUSTER, KEYS).message, self.loses[target])

    def _arrive(self, name: str, data: bytes) -> None:
        if name not in self.machines:
            self._host(name, data)
        elif name in self.stopped:
            self.queues[name].append(data)
        elif name not in self.dead:
            self._receive(name, data)
        if name in self.kernels and data[12:14] == b"\x08\x06":
            asked = arp.decode(data)
            if asked.operation == arp.REQUEST and asked.target_ip in self.vips and not asked.is_gratuitous:
                self._carry(name, arp.reply(self.macs[name], asked))

    def _host(self, name: str, data: bytes) -> None:
        """The gateway, and hosts that have addresses of others."""
        if name == "gateway" and data[12:14] == b"\x86\xdd":
            self._host6(data)
        if name != "gateway" or data[12:14] != b"\x08\x06":
            return
        asked = arp.decode(data)
        if asked.operation != arp.REQUEST or asked.is_gratuitous:
            return
        if asked.target_ip == GATEWAY and self.gateway_answers:
            self._carry("gateway", arp.reply(GATEWAY_MAC, asked))
        if asked.target_ip in self.foreign:
            self._carry("gateway", arp.reply(self.foreign[asked.target_ip], asked))

    def _host6(self, data: bytes) -> None:
        asked = ndp.decode(data)
        if asked.kind == ndp.SOLICITATION and asked.target == GATEWAY6 and self.gateway_answers:
            self._carry("gateway", ndp.advertise(GATEWAY_MAC, asked))
        if asked.kind == ndp.SOLICITATION and asked.target in self.foreign:
            self._carry("gateway", ndp.advertise(self.foreign[asked.target], asked))

    def _receive(self, name: str, data: bytes) -> None:
        machine = self.machines[name]
        reply = machine.answer(data, self.now) if data[12:14] in (b"\x08\x06", b"\x86\xdd") else None
        if reply is None:
            self.feed(name, FrameReceived(data))
        elif machine.may_answer(self.now):
            self.answers.append((self.now, name, reply.address))
            self._carry(name, reply.data)

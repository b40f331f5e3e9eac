"""The previous owner of a moved VIP tells when none of its connections is open any more."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp import bpf
from strictarp.arp.rawsocket import RawSocket
from strictarp.hello import frames
from strictarp.hello.auth import Keys
from strictarp.hello.frames import ETHERTYPE, GROUP_MAC, Frame, Sender
from strictarp.hello.ids import node_id, vip_id
from strictarp.hello.messages import Accept, Hello, Message, Offer, Release, Spent, State
from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from strictarp.netlink import conntrack, look
from strictarp.netlink.nft_maps import Filling
from strictarp.netlink.policy import NETLINK_NETFILTER
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from strictarp.proxy import given as giving
from strictarp.proxy import nftables
from strictarp.proxy.given import LOOK_SECONDS, TELL_TIMES, Giving, Telling
from strictarp.proxy.handing_over import HandingOver
from strictarp.proxy.hearing import Hearing
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.liveness import Member
from strictarp.proxy.moves import MOST, SECONDS, Moves
from strictarp.proxy.seam import HostLinks, KernelRefused
from strictarp.proxy.settings import Liveness
from support import segment

OWN, OTHER, LINK = 1, 2, 7
MAC, OTHER_MAC = b"\2" * 6, b"\4" * 6
VIP = bytes([192, 0, 2, 100])


def _giving() -> Giving:
    return Giving(OWN, lambda number: number.to_bytes(4), lambda link: MAC if link == LINK else None)


def _frame(message: Message, *, node: int = OTHER, to: bytes = MAC) -> Frame:
    return Frame(to, OTHER_MAC, node, 1, 1, message)


NUMBER = int.from_bytes(VIP)
ACCEPTED = Accept(NUMBER, 5, 9)


def test_who_accepted_is_told_a_few_times_once_nothing_is_open() -> None:
    machine = _giving()
    assert machine.next_at() is None
    assert machine.hear(_frame(ACCEPTED), LINK, 10.0)
    assert machine.due(10.0 + LOOK_SECONDS / 2) == set()
    assert not machine.hear(_frame(ACCEPTED), LINK, 10.0 + LOOK_SECONDS / 2), "said again"
    now = 10.0 + LOOK_SECONDS
    assert machine.next_at() == now
    due = machine.due(now)
    assert due == {VIP}
    assert machine.looked(due, {VIP}, now) == []
    now += LOOK_SECONDS
    for again in range(1, TELL_TIMES + 1):
        later = now + again * LOOK_SECONDS
        assert machine.due(later - 0.1) == set()
        assert machine.looked(machine.due(later), set(), later) == [
            Telling(Spent(NUMBER, 5, 9), LINK, OTHER_MAC)
        ]
    assert machine.next_at() is None


def test_looks_get_rarer_while_something_is_open() -> None:
    machine, looks, now = _giving(), [], 0.0
    machine.hear(_frame(ACCEPTED), LINK, now)
    while (due := machine.next_at()) is not None:
        now = due
        looks.append(now)
        machine.looked(machine.due(now), {VIP}, now)
    assert looks == [2, 6, 14, 30, 46, 62]


def test_what_is_not_for_this_node_or_comes_back_is_not_followed() -> None:
    machine = _giving()
    assert not machine.hear(_frame(ACCEPTED, to=OTHER_MAC), LINK, 0.0)
    assert not machine.hear(_frame(ACCEPTED), LINK + 1, 0.0)
    assert not machine.hear(_frame(Offer(NUMBER, 5, 9)), LINK, 0.0)
    assert machine.hear(_frame(ACCEPTED), LINK, 0.0)
    assert not machine.hear(_frame(Release(NUMBER, 6, 1, OTHER), to=GROUP_MAC), LINK, 0.0)
    assert machine.hear(_frame(Release(NUMBER, 6, 1, OWN), to=GROUP_MAC), LINK, 0.0)
    assert machine.next_at() is None


def test_it_is_bounded_in_time_and_number() -> None:
    machine = _giving()
    for number in range(MOST + 5):
        machine.hear(_frame(Accept(number, 5, 9)), LINK, 0.0)
    assert len(machine.due(LOOK_SECONDS)) == MOST
    assert machine.due(SECONDS) == set()
    assert machine.next_at() is None


def test_only_the_node_that_made_the_offer_ends_what_came_by_it() -> None:
    member = Member("node2", bytes([192, 0, 2, 12]))
    machine = Moves(OWN, lambda number: number.to_bytes(4), lambda *_: member)
    machine.hear(Frame(MAC, OTHER_MAC, OTHER, 1, 1, Offer(NUMBER, 5, 9)), LINK, 0.0)
    machine.hear(Frame(MAC, OTHER_MAC, OTHER, 1, 2, Release(NUMBER, 5, 9, OWN)), LINK, 0.1)
    for node, message in (
        (3, Spent(NUMBER, 5, 9)), (OTHER, Spent(NUMBER, 5, 8)), (OTHER, Spent(NUMBER, 4, 9)),
        (OTHER, Spent(NUMBER + 1, 5, 9)),
    ):  # fmt: skip
        assert not machine.hear(_frame(message, node=node), LINK, 1.0)
    assert machine.moved.keys() == {VIP}
    assert machine.hear(_frame(Spent(NUMBER, 5, 9)), LINK, 1.0)
    assert machine.moved == {}


@given(
    st.lists(
        st.one_of(
            st.builds(Accept, st.sampled_from([1, 2]), st.just(5), st.sampled_from([8, 9])),
            st.builds(
                Release, st.sampled_from([1, 2]), st.just(5), st.just(9), st.sampled_from([OWN, OTHER])
            ),
            st.frozensets(st.sampled_from([(1).to_bytes(4), (2).to_bytes(4)])),
        ),
        max_size=25,
    )
)
def test_nothing_is_said_of_an_ip_with_open_connections_nor_of_one_that_came_back(
    steps: list[Message | frozenset[bytes]],
) -> None:
    machine, now = _giving(), 0.0
    nonces: dict[int, int] = {}
    for step in steps:
        now += LOOK_SECONDS
        if isinstance(step, frozenset):
            for told in machine.looked(machine.due(now), step, now):
                assert told.message.vip.to_bytes(4) not in step
                assert nonces[told.message.vip] == told.message.nonce
            continue
        machine.hear(_frame(step), LINK, now)
        if isinstance(step, Accept):
            nonces[step.vip] = step.nonce
        elif isinstance(step, Release) and step.to == OWN:
            nonces.pop(step.vip, None)


class NoConnections:
    """A kernel without any connection, and without rules."""

    async def load_rules(self, _script: str) -> None:
        return

    async def fill_maps(self, _fillings: list[Filling]) -> None:
        return

    async def forget_closed_connections(self, _due: frozenset[bytes]) -> frozenset[bytes]:
        return frozenset()


class Refusing(NoConnections):
    """A kernel that cannot pass packets on."""

    loads = 0

    async def load_rules(self, _script: str) -> None:
        self.loads += 1
        raise KernelRefused("no such expression: dup")


async def test_rules_that_are_refused_are_not_tried_again_whenever_a_node_reports() -> None:
    kernel = Refusing()
    handing = HandingOver(kernel, OWN, lambda _: None, lambda *_: None, families=(4,), say=lambda _: None)
    following = asyncio.ensure_future(handing.run())
    for name in ("eth0", "eth0", "eth0", "eth1"):
        handing.learn({LINK: SimpleNamespace(mac=MAC, name=name)})
        await asyncio.sleep(0.02)
    assert kernel.loads == 2
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


class Recording(NoConnections):
    """A kernel that tells which of its sets were filled anew, in which order."""

    def __init__(self) -> None:
        self._filled: list[tuple[str, int]] = []
        self._to_link = asyncio.Event()

    async def fill_maps(self, fillings: list[Filling]) -> None:
        self._filled += [(each.name, len(each.elements)) for each in fillings]
        if any(each.name == f"to{LINK}" for each in fillings):
            self._to_link.set()

    async def has_filled_map(self) -> list[tuple[str, int]]:
        """What was filled up to the map of moved IPs, which comes last."""
        await asyncio.wait_for(self._to_link.wait(), 5)
        self._to_link.clear()
        filled, self._filled = self._filled, []
        return filled


async def test_who_waited_once_waits_again_when_the_ip_comes_and_when_it_goes_back() -> None:
    """Until its client knows the other node, packets come that nobody passes on any more: they wait again."""
    kernel = Recording()
    handing = HandingOver(
        kernel,
        OWN,
        lambda number: number.to_bytes(4),
        lambda *_: Member("node2", bytes([192, 0, 2, 12])),
        families=(4,),
        say=lambda _: None,
    )
    handing.learn({LINK: SimpleNamespace(mac=MAC, name="eth0")})
    following = asyncio.ensure_future(handing.run())
    assert await kernel.has_filled_map() == [(f"to{LINK}", 0)]
    for seq, (message, expected) in enumerate(
        (
            (Offer(NUMBER, 5, 9), [("strays", 0), (f"to{LINK}", 1)]),
            (Release(NUMBER, 5, 9, OWN), [(f"to{LINK}", 1)]),
            (Accept(NUMBER, 6, 10), [("strays", 0), (f"to{LINK}", 0)]),
        ),
        start=1,
    ):
        handing.hear(Frame(MAC, OTHER_MAC, OTHER, 1, seq, message), LINK)
        assert await kernel.has_filled_map() == expected
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


async def test_nothing_is_said_while_packets_are_passed_on_to_a_third_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The IP went from the third node to this one, and from here to another at once."""
    monkeypatch.setattr(giving, "LOOK_SECONDS", 0.02)
    third, said = 3, []
    handing = HandingOver(
        NoConnections(),
        OWN,
        lambda number: number.to_bytes(4),
        lambda *_: Member("node3", bytes([192, 0, 2, 13])),
        families=(4,),
        say=said.append,
    )
    handing.learn({LINK: SimpleNamespace(mac=MAC, name="eth0")})
    following = asyncio.ensure_future(handing.run())
    handing.hear(Frame(MAC, OTHER_MAC, third, 1, 1, Release(NUMBER, 4, 8, OWN)), LINK)
    handing.hear(_frame(ACCEPTED), LINK)
    await asyncio.sleep(0.1)
    assert said == []
    handing.hear(_frame(Spent(NUMBER, 4, 8), node=third), LINK)
    await asyncio.sleep(0.1)
    assert {telling.message for telling in said} == {Spent(NUMBER, 5, 9)}
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


CLUSTER, KEYS = 77, Keys(b"k" * 32)
NAMES = ("old", "new")


class KernelOf(LinuxKernel):
    """That of a node; nft talks to the namespace of the thread that starts it."""

    def __init__(self, space: namespaces.Namespace) -> None:
        with entered(space):
            super().__init__(nftables.change_elements)
        self._space = space

        self.loads = 0

    async def load_rules(self, text: str) -> None:
        self.loads += 1
        namespaces.run(self._space, ["nft", text])


class World:
    """A client with a connection to the VIP on `old`; proxies' hearing and handing over on both nodes."""

    def __init__(self, wire: segment.Segment, stack: contextlib.ExitStack, *, v6: bool) -> None:
        self.wire, self._stack = wire, stack
        self.vip = "2001:db8::100" if v6 else segment.VIP
        self.length = 128 if v6 else 32
        self.packed = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, self.vip)
        self.links: dict[str, HostLinks] = {}
        self.raw: dict[str, RawSocket] = {}
        self.kernels: dict[str, KernelOf] = {}
        self.seq = 0

    def address(self, name: str) -> str:
        return self.wire.address6(name) if self.length == 128 else self.wire.address(name)

    def member(self, name: str) -> Member:
        if self.length == 128:
            return Member(name, address6=socket.inet_pton(socket.AF_INET6, self.address(name)))
        return Member(name, socket.inet_pton(socket.AF_INET, self.address(name)))

    def toward(self, name: str) -> None:
        route = f"route replace {self.vip}/{self.length} via {self.address(name)}"
        namespaces.ip(self.wire.hosts["client"], route)

    def connect(self) -> None:
        for name in NAMES:
            namespaces.ip(self.wire.hosts[name], f"addr add {self.vip}/{self.length} dev lo")
            track = "table inet t { chain c { type filter hook prerouting priority 0; ct state new; }; }"
            namespaces.run(self.wire.hosts[name], ["nft", track])
        self.toward("old")
        with entered(self.wire.hosts["old"]):
            kind = socket.AF_INET6 if self.length == 128 else socket.AF_INET
            server = socket.create_server((self.vip, 80), family=kind)
            self.listener = self._stack.enter_context(server)
        with entered(self.wire.hosts["client"]):
            self.client = self._stack.enter_context(socket.create_connection((self.vip, 80), timeout=3))
        self.served, _ = self.listener.accept()
        self._stack.enter_context(self.served)
        self.served.settimeout(3)

    def connect_and_close(self) -> None:
        with entered(self.wire.hosts["client"]):
            client = socket.create_connection((self.vip, 80), timeout=3)
        served, _ = self.listener.accept()
        client.close()
        assert served.recv(10) == b""
        served.close()

    async def start(self, name: str, other: str) -> None:
        """The parts of the proxy on a node."""
        kernel = self.kernels[name] = KernelOf(self.wire.hosts[name])
        self._stack.callback(kernel.close)
        with entered(self.wire.hosts[name]):
            async with Netlink(NETLINK_ROUTE) as route:
                self.links[name] = HostLinks(
                    tuple(await look.links(route)), tuple(await look.addresses(route))
                )
            index = next(link.index for link in self.links[name].links if link.name == "eth0")
            self.raw[name] = self._stack.enter_context(
                contextlib.closing(RawSocket(index, ETHERTYPE, bpf.nothing()))
            )
            handing = HandingOver(
                kernel,
                node_id(name),
                lambda number: self.packed if number == vip_id(self.packed) else None,
                lambda *asked: hearing.reachable(*asked),  # noqa: PLW0108 - it is made below
                families=(4, 16),
                say=lambda told: hearing.say(told.message, node_id(name), link=told.link, to=told.to),
            )
            hearing = Hearing(Liveness(enabled=False), lambda _: None, handing.hear)
            self._stack.callback(hearing.close)
            members = {node_id(other): self.member(other)}
            hearing.learn(members, self.links[name], cluster=CLUSTER, keys=KEYS)
            handing.learn(
                {link.index: link for link in self.links[name].links if link.index in hearing.links}
            )
        task = asyncio.create_task(handing.run())
        self._stack.callback(task.cancel)

    def speak(self, name: str, message: Message, to: bytes = GROUP_MAC) -> None:
        """As this node's speaker."""
        self.seq += 1
        mac = next(link.mac for link in self.links[name].links if link.name == "eth0")
        sender = Sender(CLUSTER, node_id(name), 1)
        self.raw[name].send(frames.encode(message, sender, KEYS, seq=self.seq, source=mac, to=to))

    def exchange(self) -> None:
        self.client.sendall(b"x")
        assert self.served.recv(10) == b"x"
        self.served.sendall(b"y")
        assert self.client.recv(10) == b"y"

    async def until_passing(self, wanted: bool) -> None:
        for _ in range(100):
            listed = namespaces.run(self.wire.hosts["new"], ["nft", "list", "ruleset"]).stdout
            if (f"{self.vip} " in listed) == wanted:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(listed)


@pytest.fixture(params=[4, 16], ids=["IPv4", "IPv6"])
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Between nodes that have one family only."""
    monkeypatch.setattr(giving, "LOOK_SECONDS", 0.2)
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(segment.build(["client", *NAMES], [request.param]))
        made = World(wire, stack, v6=request.param == 16)
        made.connect()
        await made.start("old", "new")
        await made.start("new", "old")
        yield made


async def _meet(world: World) -> None:
    """Both nodes' proxies have heard the other's speaker."""
    hello = Hello(State.SEASONED, False, 100, 0, 0, 0)
    for name in (*NAMES, *NAMES):
        world.speak(name, hello)
    await asyncio.sleep(0.3)


def _hand_over(world: World) -> None:
    number = vip_id(world.packed)
    old_mac = next(link.mac for link in world.links["old"].links if link.name == "eth0")
    world.speak("old", Offer(number, 5, 9))
    world.speak("new", Accept(number, 5, 9), to=old_mac)
    world.speak("old", Release(number, 5, 9, node_id("new")))


async def _states(world: World, name: str) -> list[int]:
    """Of the TCP connections to the VIP that a node tracks (enum tcp_conntrack)."""
    with entered(world.wire.hosts[name]):
        netfilter = Netlink(NETLINK_NETFILTER)
    async with netfilter:
        answers = await netfilter.dump(conntrack.encode_dump_tcp(world.packed))
    flows = [conntrack.parse_flow(each) for each in answers]
    return sorted(flow.tcp_state for flow in flows if flow and flow.original.destination == world.packed)


@pytest.mark.netns
async def test_who_gave_an_ip_away_forgets_its_closed_connections(world: World) -> None:
    """A client that takes one's port again is not taken for it when the IP comes back."""
    world.connect_and_close()
    await _meet(world)
    assert await _states(world, "old") == [3, 7], "one is established, one in TIME_WAIT"
    _hand_over(world)
    await asyncio.sleep(0.6)
    assert await _states(world, "old") == [3]
    world.exchange()


@pytest.mark.netns
async def test_packets_are_passed_on_while_a_connection_is_open_and_no_longer(world: World) -> None:
    await _meet(world)
    loads = world.kernels["new"].loads
    _hand_over(world)
    await world.until_passing(True)
    world.toward("new")
    world.exchange()
    await asyncio.sleep(1.0)
    world.exchange()
    world.client.close()
    assert world.served.recv(10) == b""
    world.served.close()
    await world.until_passing(False)
    assert world.kernels["new"].loads == loads, "no nft process, which may take longer than the move"


@pytest.mark.netns
async def test_rules_that_somebody_has_flushed_are_made_again(world: World) -> None:
    await _meet(world)
    namespaces.run(world.wire.hosts["new"], ["nft", "flush", "ruleset"])
    _hand_over(world)
    await world.until_passing(True)

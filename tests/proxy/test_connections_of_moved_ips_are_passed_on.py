"""After a planned move, packets of connections that are not ours go to the node that has them."""

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.hello.frames import Frame
from strictarp.hello.messages import Accept, Challenge, Message, Offer, Release
from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from strictarp.netlink.nft_maps import Element, Filling
from strictarp.proxy import moves
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.liveness import Member
from strictarp.proxy.moves import MOST, OFFERED_SECONDS, SECONDS, Moved, Moves
from support import segment

OWN, LINK = 1, 7
MEMBERS = {number: Member(f"node{number}", bytes([192, 0, 2, 10 + number])) for number in (2, 3)}
VIP6 = "2001:db8::100"


def packed(text: str) -> bytes:
    return ip_address(text).packed


def _vip(number: int) -> bytes | None:
    return bytes([192, 0, 2, number]) if number < 256 else None


def _moves() -> Moves:
    return Moves(OWN, _vip, lambda node, link, _vip: MEMBERS.get(node) if link == LINK else None)


class Wire:
    """Frames of nodes with rising numbers."""

    def __init__(self, machine: Moves) -> None:
        self.machine = machine
        self.seq = 0

    def say(self, node: int, message: Message, now: float = 0.0, *, link: int = LINK) -> bool:
        self.seq += 1
        return self.machine.hear(Frame(b"", b"", node, 1, self.seq, message), link, now)


def test_a_release_to_this_node_passes_on_for_a_bounded_time() -> None:
    machine = _moves()
    wire = Wire(machine)
    assert wire.say(2, Release(100, 5, 0, OWN), 10.0)
    assert machine.moved == {
        _vip(100): Moved(bytes([192, 0, 2, 100]), 2, MEMBERS[2], LINK, 10.0 + SECONDS, (5, 0))
    }
    assert machine.next_at() == 10.0 + SECONDS
    assert not wire.say(2, Release(100, 5, 0, OWN), 10.01)
    assert not machine.expire(10.0 + SECONDS - 0.1)
    assert machine.expire(10.0 + SECONDS)
    assert (machine.moved, machine.next_at()) == ({}, None)


def test_an_offer_counts_for_a_moment_and_a_release_for_the_time() -> None:
    machine = _moves()
    wire = Wire(machine)
    assert wire.say(2, Offer(100, 5, 9), 10.0)
    assert machine.next_at() == 10.0 + OFFERED_SECONDS
    assert not wire.say(2, Offer(100, 5, 9), 10.015)
    assert wire.say(2, Release(100, 5, 9, OWN), 10.02)
    assert machine.next_at() == 10.02 + SECONDS


@pytest.mark.parametrize(
    "message",
    [Release(100, 5, 0, 3), Release(100, 5, 0, 0), Release(300, 5, 0, OWN), Challenge(b"12345678")],
)
def test_what_does_not_come_here_passes_nothing_on(message: Message) -> None:
    assert not Wire(_moves()).say(2, message)


def test_who_cannot_be_reached_on_the_link_gets_nothing() -> None:
    wire = Wire(_moves())
    assert not wire.say(9, Release(100, 5, 0, OWN))
    assert not wire.say(2, Release(100, 5, 0, OWN), link=8)


@pytest.mark.parametrize(("who", "message"), [(2, Accept(100, 6, 0)), (3, Release(100, 6, 0, 2))])
def test_an_ip_that_goes_back_is_not_passed_in_a_circle(who: int, message: Message) -> None:
    machine = _moves()
    wire = Wire(machine)
    wire.say(2, Release(100, 5, 0, OWN))
    wire.say(2, Release(101, 5, 0, OWN))
    assert wire.say(who, message)
    assert machine.moved.keys() == {_vip(101)}


def test_an_ip_that_was_offered_here_and_went_to_another_is_not_passed_on() -> None:
    wire = Wire(_moves())
    assert wire.say(2, Offer(100, 5, 9))
    assert not wire.say(2, Release(100, 4, 7, 3)), "one from before"
    assert wire.say(2, Release(100, 5, 10, 3))
    assert wire.machine.moved == {}


def test_an_ip_that_goes_on_is_passed_on_along_the_chain() -> None:
    """A third node passes to this one, this one to the first: each knows only its own predecessor."""
    machine = _moves()
    wire = Wire(machine)
    wire.say(2, Release(100, 5, 0, OWN))
    assert not wire.say(3, Accept(100, 6, 0))
    assert machine.moved[bytes([192, 0, 2, 100])].to == MEMBERS[2]


def test_what_a_dead_node_had_is_reset_and_not_left_hanging() -> None:
    machine = _moves()
    wire = Wire(machine)
    wire.say(2, Release(100, 5, 0, OWN))
    wire.say(3, Release(101, 5, 0, OWN))
    assert machine.give_up(frozenset({"node2", "node9"}))
    assert machine.moved.keys() == {_vip(101)}
    assert not machine.give_up(frozenset({"node2"}))


def test_a_frame_said_again_by_somebody_else_counts_once() -> None:
    machine = _moves()
    frame = Frame(b"", b"", 2, 1, 5, Release(100, 5, 0, OWN))
    assert machine.hear(frame, LINK, 0.0)
    machine.expire(SECONDS)
    assert not machine.hear(frame, LINK, SECONDS + 1)


def test_the_set_is_bounded() -> None:
    machine = Moves(OWN, lambda number: number.to_bytes(4), lambda node, *_: MEMBERS.get(node))
    wire = Wire(machine)
    for number in range(MOST + 3):
        wire.say(2, Release(number, 5, 0, OWN))
    assert (len(machine.moved), machine.too_many) == (MOST, 3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([2, 3]),
            st.builds(
                Release, st.sampled_from([100, 101]), st.just(1), st.just(1), st.sampled_from([0, 1, 2, 3])
            )
            | st.builds(Offer, st.sampled_from([100, 101]), st.just(1), st.just(1))
            | st.builds(Accept, st.sampled_from([100, 101]), st.just(1), st.just(1)),
            st.floats(0, 30),
        ),
        max_size=30,
    )
)
def test_nothing_is_passed_to_the_node_that_took_it_last_nor_past_its_time(
    said: list[tuple[int, Message, float]],
) -> None:
    machine, now = _moves(), 0.0
    wire = Wire(machine)
    goes_to: dict[int, int] = {}
    for node, message, after in said:
        now += after
        machine.expire(now)
        wire.say(node, message, now)
        if isinstance(message, Release) and message.to:
            goes_to[message.vip] = message.to
        elif isinstance(message, Accept):
            goes_to[message.vip] = node
        elif isinstance(message, Offer) and goes_to.get(message.vip) == node:
            del goes_to[message.vip]
        for vip, moved in machine.moved.items():
            assert moved.node != goes_to.get(vip[3])
            assert now < moved.until <= now + SECONDS


def test_the_script_without_links_only_deletes() -> None:
    assert moves.script({}).splitlines() == [
        "add table ip strictarp-moved",
        "delete table ip strictarp-moved",
        "add table ip6 strictarp-moved",
        "delete table ip6 strictarp-moved",
    ]
    assert "ip6" not in moves.script({LINK: "eth0"}, (4,))


def test_each_family_has_its_own_table_and_next_hops() -> None:
    both = Member("node2", packed("192.0.2.12"), packed("2001:db8::12"))
    moved = {
        vip: Moved(vip, 2, both, link, 60.0)
        for vip, link in ((packed("192.0.2.100"), 7), (packed(VIP6), 7), (packed("2001:db8::101"), 8))
    }
    four, six = moves.script({7: "eth0", 8: "eth1"}).split("add table ip6")
    assert 'dup to ip daddr map @to7 device "eth0" drop' in four
    assert 'dup to ip6 daddr map @to8 device "eth1" drop' in six
    assert moves.fillings(moved, [7, 8], 0.0) == [
        Filling(2, moves.TABLE, "to7", (Element(packed("192.0.2.100"), packed("192.0.2.12"), 60_000),)),
        Filling(2, moves.TABLE, "to8", ()),
        Filling(10, moves.TABLE, "to7", (Element(packed(VIP6), packed("2001:db8::12"), 60_000),)),
        Filling(10, moves.TABLE, "to8", (Element(packed("2001:db8::101"), packed("2001:db8::12"), 60_000),)),
    ]


def test_what_is_over_or_on_a_link_that_has_gone_is_not_passed_on() -> None:
    moved = {bytes(4): Moved(bytes(4), 2, MEMBERS[2], LINK, 60.0)}
    assert moves.fillings(moved, [], 0.0) == []
    assert moves.fillings(moved, [LINK + 1], 0.0, (4,)) == [Filling(2, moves.TABLE, f"to{LINK + 1}", ())]
    assert moves.fillings(moved, [LINK], 60.0, (4,)) == [Filling(2, moves.TABLE, f"to{LINK}", ())]


class Movement:
    """A connection of a client to the VIP on host `old`, which then arrives at host `new`."""

    def __init__(self, wire: segment.Segment, stack: contextlib.ExitStack, *, v6: bool) -> None:
        self.wire = wire
        self.vip, self._length = (VIP6, 128) if v6 else (segment.VIP, 32)
        self.old = wire.address6("old") if v6 else wire.address("old")
        family = "ip6" if v6 else "ip"
        for name in ("old", "new"):
            namespaces.ip(wire.hosts[name], f"addr add {self.vip}/{self._length} dev lo")
            track = (
                f"table {family} t {{ chain c {{ type filter hook prerouting priority 0; ct state new; }}; }}"
            )
            namespaces.run(wire.hosts[name], ["nft", track])
        self.toward("old")
        with entered(wire.hosts["old"]):
            kind = socket.AF_INET6 if v6 else socket.AF_INET
            listener = stack.enter_context(socket.create_server((self.vip, 80), family=kind))
        with entered(wire.hosts["client"]):
            self.client = stack.enter_context(socket.create_connection((self.vip, 80), timeout=3))
        self.served, _ = listener.accept()
        stack.enter_context(self.served)

    def toward(self, name: str) -> None:
        by = self.wire.address6(name) if self._length == 128 else self.wire.address(name)
        namespaces.ip(self.wire.hosts["client"], f"route replace {self.vip}/{self._length} via {by}")

    def exchange(self, patience: float = 3.0) -> bool:
        """Whether a question and its answer go through."""
        self.served.settimeout(patience)
        try:
            self.client.sendall(b"x")
            got = self.served.recv(10)
            self.served.sendall(got)
            return self.client.recv(10) == b"x"
        except (ConnectionResetError, TimeoutError):
            return False

    async def pass_on(self, *, seconds: float = 60.0) -> None:
        vip, old = packed(self.vip), packed(self.old)
        member = Member("old", old) if len(old) == 4 else Member("old", address6=old)
        await self.fill({vip: Moved(vip, 2, member, LINK, seconds)})

    async def fill(self, moved: dict[bytes, Moved]) -> None:
        with entered(self.wire.hosts["new"]), contextlib.closing(LinuxKernel(str)) as kernel:
            if moved:
                await kernel.load_rules(moves.script({LINK: "eth0"}))
            await kernel.fill_maps(moves.fillings(moved, [LINK], 0.0))


@pytest.fixture(params=[4, 16], ids=["IPv4", "IPv6"])
def movement(request: pytest.FixtureRequest) -> Iterator[Movement]:
    """Between nodes that have one family only."""
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(segment.build(["client", "old", "new"], [request.param]))
        yield Movement(wire, stack, v6=request.param == 16)


@pytest.mark.netns
def test_without_the_rule_the_new_kernel_resets_the_connection(movement: Movement) -> None:
    assert movement.exchange()
    movement.toward("new")
    assert not movement.exchange(0.5)


@pytest.mark.netns
async def test_an_open_connection_goes_on_and_a_new_one_is_the_new_owners(movement: Movement) -> None:
    await movement.pass_on()
    movement.toward("new")
    assert all(movement.exchange() for _ in range(20))
    with entered(movement.wire.hosts["client"]), pytest.raises(ConnectionRefusedError):
        socket.create_connection((movement.vip, 80), timeout=3)
    await movement.fill({})
    assert not movement.exchange(0.5)


@pytest.mark.netns
async def test_the_kernel_ends_it_by_itself_when_the_time_is_over(movement: Movement) -> None:
    await movement.pass_on(seconds=1.0)
    movement.toward("new")
    assert movement.exchange()
    with contextlib.suppress(TimeoutError):
        movement.client.settimeout(1.5)
        movement.client.recv(1)
    movement.client.settimeout(3)
    assert not movement.exchange(0.5)

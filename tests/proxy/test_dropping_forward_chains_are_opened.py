"""Others' chains that drop forwarded packets: told, and opened for answers of Services by a switch."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from strictarp.netlink.nftables import DROP, Chain
from strictarp.proxy import barriers, nftables
from strictarp.proxy.config import Config
from strictarp.proxy.foreign_rules import ForeignRules, adjust
from strictarp.proxy.kernel import LinuxKernel
from support.fake_ipvs import FakeIpvs

MARK = nftables.forward_mark(Config())
DOCKER = Chain(2, "filter", "FORWARD", 2, 0, DROP)
OURS = f"strictarp: answers of Services, mark {MARK:#x}"


def test_only_foreign_chains_of_forwarded_packets_that_drop_are_barriers() -> None:
    others = [
        Chain(2, "filter", "INPUT", 1, 0, DROP),
        Chain(2, "filter", "DOCKER"),
        Chain(7, "filter", "FORWARD", 2, 0, DROP),
        Chain(2, nftables.TABLE, "forward", 2, -1000, DROP),
    ]
    accepting = Chain(1, "firewalld", "filter_FORWARD", 2, 10)
    assert barriers.forwarding([*others, DOCKER, accepting]) == [accepting, DOCKER]
    assert barriers.dropping([*others, DOCKER, accepting]) == [DOCKER]


def test_the_advice_speaks_the_language_of_who_made_the_chain() -> None:
    assert "iptables -I FORWARD -m conntrack" in barriers.advice(DOCKER)
    assert "ip6tables -I FORWARD" in barriers.advice(Chain(10, "filter", "FORWARD", 2, 0, DROP))
    told = barriers.advice(Chain(1, "fw", "route", 2, 0, DROP))
    assert "nft insert rule inet fw route ct state related,established accept" in told
    assert "--open-forward" in told


def test_traces_of_a_kube_proxy_are_named() -> None:
    assert barriers.kube_proxy_traces([DOCKER]) == ""
    assert "kube-proxy" in barriers.kube_proxy_traces([Chain(2, "kube-proxy", "services")])
    assert "KUBE-PROXY-CANARY" in barriers.kube_proxy_traces([Chain(2, "nat", "KUBE-PROXY-CANARY")])


def test_an_opening_is_made_once_renewed_with_its_mark_and_taken_back() -> None:
    assert barriers.adjustment(DOCKER, [(3, "theirs")], 0) == ""
    made = barriers.adjustment(DOCKER, [(3, "theirs")], MARK)
    assert made.startswith("insert rule ip filter FORWARD meta mark & 0x2000 == 0x2000 counter accept")
    assert OURS in made
    assert barriers.adjustment(DOCKER, [(3, "theirs"), (4, OURS)], MARK) == ""
    assert barriers.adjustment(DOCKER, [(4, OURS)], 0) == "delete rule ip filter FORWARD handle 4\n"
    renewed = barriers.adjustment(DOCKER, [(4, OURS)], 2 * MARK)
    assert renewed.startswith("delete rule ip filter FORWARD handle 4\ninsert rule")
    accepting = Chain(2, "filter", "FORWARD", 2, 0)
    assert barriers.adjustment(accepting, [(4, OURS)], MARK) == "delete rule ip filter FORWARD handle 4\n"


@pytest.mark.parametrize("bit", range(32))
def test_the_mark_is_never_that_of_masquerading(bit: int) -> None:
    mark = nftables.forward_mark(Config(masquerade_bit=bit))
    assert mark != 1 << bit
    assert 0 < mark < 1 << 32


VIP, NODE, ENDPOINT = "192.0.2.100", "192.0.2.11", "198.51.100.18"
# What IPVS does, by means that every kernel has: the request is let through whatever the policy.
STAND_IN = f"""
table ip stand-in {{
  chain prerouting {{
    type nat hook prerouting priority -110;
    udp dport {{ 53, 30053 }} dnat to {ENDPOINT}:5353;
  }}
}}
table ip filter {{
  chain FORWARD {{
    type filter hook forward priority filter; policy drop;
    ct direction original accept;
  }}
}}
"""


class World:
    """A client and an endpoint on both sides of a node."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.client, self.node, self.pod = (
            stack.enter_context(contextlib.closing(namespaces.create(name)))
            for name in ("client", "node", "pod")
        )
        namespaces.veth((self.client, "eth0"), (self.node, "eth0"))
        namespaces.veth((self.pod, "eth0"), (self.node, "pod0"))
        namespaces.ip(self.node, f"addr add {NODE}/24 dev eth0", "addr add 198.51.100.17/28 dev pod0")
        namespaces.ip(self.client, "addr add 192.0.2.1/24 dev eth0", f"route add {VIP}/32 via {NODE}")
        namespaces.ip(self.pod, f"addr add {ENDPOINT}/28 dev eth0", "route add default via 198.51.100.17")
        namespaces.run(self.node, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        with entered(self.pod):
            self.endpoint = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        self.endpoint.bind((ENDPOINT, 5353))
        self.endpoint.settimeout(3)

    def answered(self, address: str, port: int) -> bool:
        """Whether an answer of the endpoint comes back."""
        with entered(self.client):
            asking = socket.socket(type=socket.SOCK_DGRAM)
        with asking:
            asking.settimeout(0.2)
            asking.sendto(b"x", (address, port))
            _, peer = self.endpoint.recvfrom(10)
            self.endpoint.sendto(b"y", peer)
            try:
                return asking.recv(10) == b"y"
            except TimeoutError:
                return False

    def nft(self, script: str) -> str:
        return namespaces.run(self.node, ["nft", script]).stdout


@pytest.fixture
def world() -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        yield World(stack)


def _table(config: Config) -> str:
    own = [bytes([192, 0, 2, 11])]
    return nftables.whole_table(config, (), [("vips", VIP)], opened=own)


@pytest.mark.netns
async def test_answers_pass_a_dropping_chain_while_the_switch_is_on(world: World) -> None:
    with entered(world.node):
        kernel = LinuxKernel(nftables.change_elements, generic=FakeIpvs(), device_kind="bridge")
        await kernel.load_rules(_table(Config()))
        await kernel.load_rules(STAND_IN)
        told: list[str] = []
        watch = ForeignRules(kernel, ["ip", "ip6"], 0, tell=told.append, on_loss=lambda: told.append("loss"))
        await watch.look()
        await watch.look()
        (advice,) = told
        assert "chain ip filter FORWARD" in advice
        assert not world.answered(VIP, 53)
        watch.mark = MARK
        await watch.look()
        assert world.answered(VIP, 53)
        assert world.answered(NODE, 30053)
        world.nft("flush chain ip filter FORWARD; add rule ip filter FORWARD ct direction original accept")
        assert not world.answered(VIP, 53)
        await watch.look()
        assert world.answered(VIP, 53)
        assert world.nft("list chain ip filter FORWARD").count("strictarp") == 1
        assert len(told) == 1
        assert await adjust(kernel, await kernel.chains(), 0) == ["ip filter FORWARD"]
        assert "strictarp" not in world.nft("list table ip filter")
        assert not world.answered(VIP, 53)
        kernel.close()


@pytest.mark.netns
async def test_the_mark_does_not_leave_the_node_and_others_connections_stay_closed(world: World) -> None:
    with entered(world.node):
        kernel = LinuxKernel(nftables.change_elements, generic=FakeIpvs(), device_kind="bridge")
        await kernel.load_rules(_table(Config()))
        await kernel.load_rules(STAND_IN.replace("{ 53, 30053 }", "{ 53, 54 }"))
        await adjust(kernel, await kernel.chains(), MARK)
        await kernel.load_rules(
            "table ip after { counter c { }; chain p { type filter hook postrouting priority 300; "
            f"meta mark & {MARK:#x} != 0 counter name c; }}; }}"
        )
        namespaces.ip(world.client, f"route add 192.0.2.200/32 via {NODE}")
        assert world.answered(VIP, 53)
        assert not world.answered("192.0.2.200", 54)
        assert "packets 0" in world.nft("list counter ip after c")
        kernel.close()


@pytest.mark.netns
async def test_a_table_of_ours_that_is_gone_is_a_loss(world: World) -> None:
    with entered(world.node):
        kernel = LinuxKernel(nftables.change_elements, generic=FakeIpvs(), device_kind="bridge")
        told: list[str] = []
        watch = ForeignRules(kernel, ["ip", "ip6"], 0, tell=told.append, on_loss=lambda: told.append("loss"))
        await kernel.load_rules(_table(Config()))
        await watch.look()
        world.nft("delete table ip strictarp; add table ip kube-proxy; add chain ip kube-proxy services")
        await watch.look()
        assert told == ["loss"]
        assert "kube-proxy" in watch.kube_proxy
        kernel.close()

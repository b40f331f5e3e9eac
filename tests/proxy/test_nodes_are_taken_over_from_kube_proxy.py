"""`strictarp proxy migrate`: the order of steps, what goes of kube-proxy and what stays, and connections."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from strictarp.errors import UserError
from strictarp.lab import namespaces
from strictarp.netlink.nftables import Chain
from strictarp.proxy import kube_chains, nftables
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Options, Proxy
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.migrating import Found, Step, give_back, notes, takeover
from strictarp.proxy.migration import Migration
from strictarp.proxy.settings import Settings
from support.daemon_node import Node, build, ensure

IPTABLES = (
    Chain(2, "nat", "PREROUTING", 0, -100),
    Chain(2, "nat", "KUBE-SERVICES"),
    Chain(2, "nat", "KUBE-SVC-A"),
    Chain(2, "filter", "KUBE-FORWARD"),
    Chain(2, "filter", "KUBE-FIREWALL"),
)
IPVS = (Chain(2, "nat", "KUBE-LOAD-BALANCER"), Chain(10, "filter", "KUBE-IPVS-FILTER"))
NFTABLES = (Chain(2, "kube-proxy", "services"), Chain(10, "kube-proxy", "services"))


@pytest.mark.parametrize(
    ("chains", "modes", "steps"),
    [
        ((), [], []),
        (IPTABLES, ["iptables"], [Step.REMOVE_CHAINS]),
        (IPVS, ["ipvs"], [Step.REMOVE_CHAINS]),
        (NFTABLES, ["nftables"], [Step.REMOVE_TABLES]),
        ((*NFTABLES, *IPTABLES), ["nftables", "iptables"], [Step.REMOVE_TABLES, Step.REMOVE_CHAINS]),
    ],
)
def test_everything_of_ours_is_there_before_anything_of_kube_proxys_goes(
    chains: tuple[Chain, ...], modes: list[str], steps: list[Step]
) -> None:
    assert kube_chains.modes(chains) == modes
    assert takeover(Found(chains)) == [Step.PROGRAM, *steps]
    assert takeover(Found(chains, ours=True)) == steps


def test_a_running_kube_proxy_would_undo_it_all() -> None:
    with pytest.raises(UserError, match="stop it first"):
        takeover(Found(IPVS, mode="ipvs"))


@pytest.mark.parametrize(
    ("mode", "steps"),
    [
        ("ipvs", [Step.REMOVE_OURS]),
        ("iptables", [Step.DRAIN, Step.CLEAN_UP]),
        ("nftables", [Step.CLEAN_UP]),
    ],
)
def test_a_node_is_given_back_by_what_the_new_kube_proxy_does(mode: str, steps: list[Step]) -> None:
    assert give_back(Found(mode=mode)) == steps
    assert bool(notes(Found(mode=mode))) == (mode == "nftables")


@pytest.mark.parametrize("found", [Found(), Found(ours=True)])
def test_a_node_without_a_kube_proxy_is_not_given_back(found: Found) -> None:
    with pytest.raises(UserError, match="kube-proxy"):
        give_back(found)


def test_chains_of_the_kubelet_are_not_kube_proxys() -> None:
    assert not any(
        map(kube_chains.is_kube_proxys, ("KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"))
    )


@pytest.mark.parametrize("listing", [b"{", b"{}", b'{"nftables": [{"rule": {"chain": "a", "expr": 5}}]}'])
def test_a_listing_that_makes_no_sense_is_told(listing: bytes) -> None:
    with pytest.raises(kube_chains.BadListing, match="ip nat"):
        kube_chains.removal("ip", "nat", listing)
    assert kube_chains.removal("ip", "nat", b"") == ""


LEFT = """
table ip nat {
  chain KUBE-SEP-X { tcp dport 80 dnat to 127.0.0.1:8080; }
  chain KUBE-SVC-ABC { counter jump KUBE-SEP-X; }
  chain KUBE-SERVICES { ip daddr 203.0.113.140 tcp dport 80 counter jump KUBE-SVC-ABC; }
  chain KUBE-KUBELET-CANARY { }
  chain DOCKER { return; }
  chain OUTPUT {
    type nat hook output priority -100;
    counter jump KUBE-SERVICES comment "kubernetes service portals"
    counter jump DOCKER
  }
}
table ip kube-proxy { chain services { } ; }
table ip6 kube-proxy { chain services { } ; }
table ip6 filter {
  chain KUBE-IPVS-FILTER { drop; }
  chain INPUT { type filter hook input priority 0; jump KUBE-IPVS-FILTER; }
}
"""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with build(tmp_path) as made:
        yield made


def _migration(node: Node, kernel: LinuxKernel, wait: float = 20.0) -> Migration:
    options = Options(Config(), Settings(), "node1")
    return Migration(
        kernel, Config(), "node1", lambda: Proxy(options, kernel, node.client, ensure=ensure), wait
    )


def _ruleset() -> str:
    return namespaces.run(namespaces.current(), ["nft", "list", "ruleset"]).stdout


@pytest.mark.netns
async def test_a_node_is_taken_over_and_a_translated_connection_goes_on(node: Node) -> None:
    namespaces.ip(namespaces.current(), "addr add 198.51.100.1/32 dev lo", "route add default dev lo")
    kernel = LinuxKernel(nftables.change_elements, generic=node.ipvs, device_kind="bridge")
    await kernel.load_rules(LEFT)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
        client = stack.enter_context(socket.create_connection(("203.0.113.140", 80), timeout=3))
        served, _ = listener.accept()
        stack.enter_context(served)
        migration, told = _migration(node, kernel), list[str]()
        await migration.run(back=False, dry_run=True, tell=told.append)
        assert "KUBE-SERVICES" in _ruleset()
        assert [line for line in told if not line.startswith("note: ")] == [
            Step.PROGRAM.value, Step.REMOVE_TABLES.value, Step.REMOVE_CHAINS.value,
        ]  # fmt: skip
        await migration.run(back=False, dry_run=False, tell=told.append)
        client.sendall(b"still here")
        await asyncio.sleep(0.1)
        assert served.recv(100) == b"still here"
    rules = _ruleset()
    assert "KUBE-KUBELET-CANARY" in rules
    assert "jump DOCKER" in rules
    assert not any(word in rules for word in ("KUBE-S", "KUBE-IPVS", "kube-proxy"))
    assert "203.0.113.140 . tcp . 80" in " ".join(rules.split())
    assert node.reals("203.0.113.140", 80) == {"198.51.100.18": 1}
    kernel.close()


@contextlib.asynccontextmanager
async def _kube_proxy(mode: str) -> AsyncIterator[None]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=mode if request.path == "/proxyMode" else "kubeproxy_x 1\n")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 10249).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.mark.netns
async def test_a_node_is_given_back_to_each_mode_and_only_to_a_kube_proxy(node: Node) -> None:
    await node.start()
    await node.until("203.0.113.140", 80, {"198.51.100.18": 1})
    kernel = LinuxKernel(nftables.change_elements, generic=node.ipvs, device_kind="bridge")
    migration, told = _migration(node, kernel, wait=1.0), list[str]()
    with pytest.raises(UserError, match="a strictarp proxy answers"):
        await migration.run(back=True, dry_run=False, tell=told.append)
    await node.stop()
    with pytest.raises(UserError, match="start it first"):
        await migration.run(back=True, dry_run=False, tell=told.append)
    async with _kube_proxy("ipvs"):
        with pytest.raises(UserError, match="stop it first"):
            await migration.run(back=False, dry_run=False, tell=told.append)
        await migration.run(back=True, dry_run=False, tell=told.append)
    assert "table ip strictarp" not in _ruleset()
    assert node.reals("203.0.113.140", 80) == {"198.51.100.18": 1}
    async with _kube_proxy("iptables"):
        key, (_, reals) = next(iter(node.ipvs.table.items()))
        (place,) = reals
        node.ipvs.connections[(key, *place)] = (1, 0)
        started = asyncio.get_running_loop().time()
        await migration.run(back=True, dry_run=False, tell=told.append)
        assert asyncio.get_running_loop().time() - started >= 1.0
    assert node.ipvs.table == {}
    await node.start()
    await node.until("203.0.113.140", 80, {"198.51.100.18": 1})
    await node.stop()
    async with _kube_proxy("nftables"):
        await migration.run(back=True, dry_run=False, tell=told.append)
    assert node.ipvs.table == {}
    assert "kube-ipvs0" not in namespaces.run(namespaces.current(), ["ip", "link"]).stdout
    kernel.close()

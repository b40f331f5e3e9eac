"""`--cleanup` and `--dry-run`: what they do and say, on the model of the kernel."""

from strictarp.netlink.ipvs import VirtualServer
from strictarp.proxy.config import Config
from strictarp.proxy.fields import parse_network
from strictarp.proxy.once import clean_up, looked_at, tell
from strictarp.proxy.operations import ChangeSets
from strictarp.proxy.seam import IpvsMissing
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node

FOREIGN = VirtualServer(6, bytes([10, 9, 9, 9]), 80)
EXCLUDED = VirtualServer(6, bytes([203, 0, 113, 10]), 81)
CONFIG = Config(exclude=(parse_network("203.0.113.10/32"),))


async def programmed_node() -> ModelKernel:
    kernel = ModelKernel()
    node = Node(kernel)
    node.put(
        service(
            "web", "203.0.113.9", type="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}]
        ),
        endpoint_slice("web", ["198.51.100.1"]),
        service("six", "2001:db8::10"),
    )
    await node.turns(2, 1.0)
    for server in (FOREIGN, EXCLUDED):
        kernel.servers[server.key] = (server, {})
    return kernel


async def test_our_servers_addresses_and_tables_go_and_nothing_else() -> None:
    kernel = await programmed_node()
    assert len(kernel.servers) == 5
    told = await clean_up(kernel, CONFIG, "node1", dry_run=False)
    assert kernel.servers.keys() == {FOREIGN.key, EXCLUDED.key}
    assert kernel.bound == set()
    assert kernel.elements == set()
    assert "unbind address 203.0.113.9" in told
    assert "remove virtual server TCP 192.0.2.11:30080" in told


async def test_open_connections_keep_nothing() -> None:
    kernel = await programmed_node()
    for key, (_, reals) in kernel.servers.items():
        kernel.connections.update({(key, place): 1 for place in reals})
    await clean_up(kernel, CONFIG, "node1", dry_run=False)
    assert kernel.servers.keys() == {FOREIGN.key, EXCLUDED.key}


async def test_a_dry_cleanup_says_the_same_and_changes_nothing() -> None:
    kernel = await programmed_node()
    before = (dict(kernel.servers), set(kernel.bound), set(kernel.elements), len(kernel.log))
    told = await clean_up(kernel, CONFIG, "node1", dry_run=True)
    assert (dict(kernel.servers), set(kernel.bound), set(kernel.elements), len(kernel.log)) == before
    assert told == await clean_up(kernel, CONFIG, "node1", dry_run=False)


async def test_an_empty_node_has_nothing_to_clean_but_tables_and_device() -> None:
    assert len(await clean_up(ModelKernel(), Config(), "node1", dry_run=False)) == 2


class WithoutIpvs(ModelKernel):
    async def prepare(self, *, make: bool = True) -> None:
        raise IpvsMissing("no IPVS")


async def test_a_kernel_without_ipvs_still_loses_our_tables() -> None:
    kernel = WithoutIpvs()
    assert len(await clean_up(kernel, Config(), "node1", dry_run=False)) == 2
    assert kernel.loads == 1


async def test_a_first_look_tells_what_is_ours() -> None:
    kernel = await programmed_node()
    engine = await looked_at(kernel, CONFIG, "node1")
    assert engine.mirror.servers.keys() == kernel.servers.keys() - {FOREIGN.key, EXCLUDED.key}


def test_elements_are_told_one_by_one() -> None:
    place = "192.0.2.1 . tcp . 80"
    change = ChangeSets(add=(("clusterIP", place),), remove=(("vips", "192.0.2.2"),))
    assert list(tell([change])) == [
        f"add {{ {place} }} to set clusterIP",
        "delete { 192.0.2.2 } from set vips",
    ]

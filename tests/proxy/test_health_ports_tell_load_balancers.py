"""healthCheckNodePort servers: kube-proxy's bodies and headers, on ports that come and go."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from strictarp.proxy.config import Config, NodePortAddresses
from strictarp.proxy.fields import parse_network
from strictarp.proxy.health_ports import RETRY_SECONDS, HealthPorts, Wanted, body
from strictarp.proxy.situation import NodeFacts, health_hosts, situation

HOSTS = ("127.0.0.1",)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


class Running:
    def __init__(self) -> None:
        self.alive = True
        self.failures: list[tuple[str, str]] = []
        self.ports = HealthPorts(lambda: self.alive, lambda key, reason: self.failures.append((key, reason)))
        self.task = asyncio.create_task(self.ports.run())

    async def want(self, **counts: tuple[int, int]) -> None:
        self.ports.want(Wanted({f"default/{name}": place for name, place in counts.items()}, HOSTS))
        for _ in range(5):
            await asyncio.sleep(0.02)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running()
    yield made
    made.task.cancel()
    await asyncio.wait({made.task})


async def ask(port: int, path: str = "/") -> tuple[int, dict[str, object], str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        return answer.status, await answer.json(), answer.headers["X-Load-Balancing-Endpoint-Weight"]


async def test_it_tells_the_count_and_the_health_of_the_proxy(running: Running) -> None:
    port = free_port()
    await running.want(web=(port, 2))
    document = {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": 2,
        "serviceProxyHealthy": True,
    }
    assert await ask(port) == (200, document, "2")
    assert (await ask(port, "/any/path"))[0] == 200
    running.alive = False
    assert await ask(port) == (503, {**document, "serviceProxyHealthy": False}, "2")
    running.alive = True
    await running.want(web=(port, 0))
    assert await ask(port) == (503, {**document, "localEndpoints": 0}, "0")


async def test_ports_move_and_close(running: Running) -> None:
    first, second = free_port(), free_port()
    await running.want(web=(first, 1), other=(second, 1))
    await running.want(web=(second, 3))
    assert (await ask(second))[2] == "3"
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(first)
    await running.want()
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(second)


@pytest.mark.looptime
async def test_a_taken_port_is_told_once_and_tried_again(running: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        await running.want(web=(port, 1))
        await asyncio.sleep(3 * RETRY_SECONDS)
        ((key, reason),) = running.failures
        assert key == "default/web"
        assert str(port) in reason
    await asyncio.sleep(2 * RETRY_SECONDS)
    assert running.failures == [(key, reason)]
    with pytest.raises(OSError, match="in use"), socket.create_server(("127.0.0.1", port)):
        pass


def test_the_body_is_laid_out_as_kube_proxy_does() -> None:
    assert body("default/web", 1, alive=True).decode() == (
        '{\n\t"service": {\n\t\t"namespace": "default",\n\t\t"name": "web"\n\t},\n'
        '\t"localEndpoints": 1,\n\t"serviceProxyHealthy": true\n}'
    )
    assert json.loads(body('default/"\\', 0, alive=False))["service"]["name"] == '"\\'


def test_they_listen_everywhere_or_where_node_ports_are() -> None:
    node = NodeFacts("node1", (bytes([192, 0, 2, 11]), bytes([10, 0, 0, 1])))
    some = NodePortAddresses(networks=(parse_network("10.0.0.0/8"),))
    assert health_hosts(NodePortAddresses(), situation(Config(), node)) == ("0.0.0.0", "::")
    facts = situation(Config(node_port_addresses=some), node)
    assert health_hosts(some, facts) == ("10.0.0.1",)

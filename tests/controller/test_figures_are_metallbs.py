"""The metrics' names and values."""

from aiohttp.test_utils import TestClient, TestServer

from strictarp.controller.exposition import Figures, health_application, metrics_application
from strictarp.controller.reconcile import Book, settle
from support.controller_objects import by_key, lb, pool_object, sound_pools


async def _metrics(figures: Figures) -> list[str]:
    async with TestClient(TestServer(metrics_application(figures))) as client:
        text = await (await client.get("/metrics")).text()
    return [line for line in text.splitlines() if not line.startswith("#")]


async def test_pools_and_their_use_have_metallbs_names() -> None:
    figures = Figures()
    figures.pools = sound_pools(pool_object("lab", "192.0.2.100-192.0.2.119", "2001:db8::/126"))
    figures.book, _ = settle(Book(), figures.pools, by_key(lb("a"), lb("b")))
    lines = await _metrics(figures)
    assert 'metallb_allocator_addresses_total{pool="lab"} 24.0' in lines
    assert 'metallb_allocator_addresses_in_use_total{pool="lab"} 2.0' in lines
    assert 'metallb_allocator_ipv4_addresses_in_use_total{pool="lab"} 2.0' in lines
    assert 'metallb_allocator_ipv6_addresses_in_use_total{pool="lab"} 0.0' in lines
    assert "metallb_k8s_client_updates_total 0.0" in lines


async def test_health_answers_on_both_paths() -> None:
    async with TestClient(TestServer(health_application())) as client:
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status == 200

"""Ports, bodies, headers and names, asked of the running daemon as load balancers and Prometheus ask."""

import asyncio
import contextlib
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from strictarp.kube.objects import ENDPOINTSLICES, NODES, SERVICES
from strictarp.proxy.config import Config
from strictarp.proxy.health import AUTOSCALER_TAINT
from support.daemon_node import Node, build
from support.proxy_objects import slice_body

pytestmark = pytest.mark.netns
HEALTH, METRICS = "http://127.0.0.1:10256", "http://127.0.0.1:10249"
# kube-proxy's own names in ipvs mode, with their types (pkg/proxy/metrics/metrics.go).
NAMES = {
    "sync_proxy_rules_duration_seconds": "histogram",
    "sync_full_proxy_rules_duration_seconds": "histogram",
    "sync_proxy_rules_last_timestamp_seconds": "gauge",
    "sync_proxy_rules_last_queued_timestamp_seconds": "gauge",
    "network_programming_duration_seconds": "histogram",
    "sync_proxy_rules_endpoint_changes_pending": "gauge",
    "sync_proxy_rules_endpoint_changes": "counter",
    "sync_proxy_rules_service_changes_pending": "gauge",
    "sync_proxy_rules_service_changes": "counter",
    "sync_proxy_rules_iptables_restore_failures": "counter",
    "sync_proxy_rules_iptables_partial_restore_failures": "counter",
    "sync_proxy_rules_no_local_endpoints_total": "gauge",
    "proxy_healthz": "counter",
    "proxy_livez": "counter",
    "conntrack_reconciler_sync_duration_seconds": "histogram",
    "conntrack_reconciler_deleted_entries": "counter",
}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with build(tmp_path) as made:
        yield made


async def _get(url: str) -> tuple[int, dict[str, str], str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, dict(answer.headers), await answer.text()


async def _until(url: str, status: int) -> str:
    found, text = 0, "nothing"
    for _ in range(300):
        with contextlib.suppress(aiohttp.ClientConnectorError):
            found, _, text = await _get(url)
        if found == status:
            return text
        await asyncio.sleep(0.02)
    raise AssertionError(f"{url} answers {found}: {text}")


async def test_each_path_answers_with_its_status_type_and_body(node: Node) -> None:
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    for url, type_, body in (
        (f"{HEALTH}/healthz", "application/json", '"nodeEligible":true'),
        (f"{HEALTH}/livez", "application/json", '"lastUpdated":"'),
        (f"{METRICS}/healthz", "text/plain", "ok"),
        (f"{METRICS}/proxyMode", "text/plain", "ipvs"),
        (f"{METRICS}/configz", "application/json", '"kubeproxy.config.k8s.io":{'),
        (f"{METRICS}/metrics", "text/plain", "kubeproxy_"),
    ):
        status, headers, text = await _get(url)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, type_), url
        assert body in text, url
        if "proxyMode" in url or HEALTH in url:
            assert headers["X-Content-Type-Options"] == "nosniff", url
    for url in (f"{HEALTH}/", f"{METRICS}/", f"{METRICS}/debug/pprof/"):
        assert (await _get(url))[0] == 404


async def test_metrics_have_kube_proxys_names_and_types(node: Node) -> None:
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    for path in ("healthz", "livez"):
        await _get(f"{HEALTH}/{path}")
    _, _, text = await _get(f"{METRICS}/metrics")
    found = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert {name: found.get(f"kubeproxy_{name}") for name in NAMES} == NAMES
    assert {"rest_client_requests", "kubernetes_build_info", "process_cpu_seconds"} <= found.keys()
    assert 'kubernetes_feature_enabled{name="ServiceTrafficDistribution",stage=""} 1.0' in text
    assert 'rest_client_request_duration_seconds_count{host="127.0.0.1:6443",verb="GET"}' in text
    assert 'rest_client_requests_total{code="200",host="127.0.0.1:6443",method="GET"}' in text


async def test_a_node_that_goes_is_told_on_healthz_alone(node: Node) -> None:
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    taint = {"key": AUTOSCALER_TAINT, "effect": "NoSchedule"}
    await node.client.merge_patch(NODES, "node1", {"spec": {"taints": [taint]}})
    assert json.loads(await _until(f"{HEALTH}/healthz", 503))["nodeEligible"] is False
    assert (await _get(f"{HEALTH}/livez"))[0] == 200
    await node.client.merge_patch(NODES, "node1", {"spec": {"taints": None}})
    await _until(f"{HEALTH}/healthz", 200)


async def test_a_proxy_that_cannot_program_is_told_everywhere(node: Node) -> None:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    await node.client.merge_patch(SERVICES, "web", {"spec": spec}, "default")
    await node.client.replace(ENDPOINTSLICES, slice_body("web", [("198.51.100.34", "node1")]))
    port = (await node.client.get(SERVICES, "web", "default")).spec.health_check_node_port
    local = f"http://127.0.0.1:{port}/any/path"
    await node.start(Config(sync_period=0.1))
    await _until(local, 200)
    await _until(f"{HEALTH}/livez", 200)
    node.ipvs.refuse_next = [errno.ENOMEM] * 20
    await node.client.replace(
        ENDPOINTSLICES, slice_body("web", [("198.51.100.34", "node1"), ("198.51.100.35", "node1")])
    )
    stood = json.loads(await _until(f"{HEALTH}/livez", 503))
    assert stood["lastUpdated"] < stood["currentTime"]
    assert (await _get(f"{HEALTH}/healthz"))[0] == 503
    status, headers, text = await _get(local)
    assert (status, headers["X-Load-Balancing-Endpoint-Weight"]) == (503, "2")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(text) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": 2,
        "serviceProxyHealthy": False,
    }
    node.ipvs.refuse_next = []
    await _until(f"{HEALTH}/livez", 200)
    await _until(local, 200)

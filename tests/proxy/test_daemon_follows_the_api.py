"""The whole daemon against the embedded API server, a real namespace, and a model of IPVS."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest

from strictarp.kube.objects import ENDPOINTSLICES, NODES, SERVICES, EndpointSlice, Service
from strictarp.lab import namespaces
from strictarp.proxy import nftables
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Options, Proxy
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.once import clean_up, dry_run
from strictarp.proxy.settings import Settings
from strictarp.sysctl import files
from support.daemon_node import Node, build, ensure
from support.proxy_objects import service_body, slice_body

pytestmark = pytest.mark.netns
API = "127.0.0.1:6443"
HEALTH, METRICS = "http://127.0.0.1:10256", "http://127.0.0.1:10249"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with build(tmp_path) as made:
        yield made


def _addresses(device: str = "kube-ipvs0") -> set[str]:
    shown = json.loads(namespaces.run(namespaces.current(), ["ip", "-j", "addr", "show", device]).stdout)
    return {entry["local"] for entry in shown[0]["addr_info"] if entry["family"] == "inet"}


def _set(name: str) -> str:
    listed = ["nft", "list", "set", "ip", "strictarp", name]
    return " ".join(namespaces.run(namespaces.current(), listed).stdout.split())


async def _get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_services_endpoints_and_their_changes_reach_the_kernel(node: Node) -> None:
    await node.start()
    await node.until("203.0.113.140", 80, {"198.51.100.18": 1})
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    assert _addresses() == {"203.0.113.140"}
    assert "203.0.113.140 . tcp . 80" in _set("clusterIP")
    await node.client.replace(
        ENDPOINTSLICES, slice_body("web", ["198.51.100.18", ("198.51.100.34", "node1")])
    )
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1, "198.51.100.34": 1})
    assert "198.51.100.34 . tcp . 8080" in _set("hairpin")
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.100"}]}}
    await node.client.merge_patch(
        SERVICES, "web", {"spec": {"type": "LoadBalancer"}, "status": status}, "default"
    )
    await node.client.merge_patch(SERVICES, "web", {"status": status}, "default", subresource="status")
    await node.until("192.0.2.100", 80, {"198.51.100.18": 1, "198.51.100.34": 1})
    await node.client.delete(SERVICES, "web", "default")
    await node.until("192.0.2.100", 80, None)
    for _ in range(50):
        if not _addresses() and "elements" not in _set("clusterIP"):
            break
        await asyncio.sleep(0.02)
    assert (_addresses(), "elements" in _set("vips")) == (set(), False)


async def test_a_new_address_of_the_node_serves_node_ports_at_once(node: Node) -> None:
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    namespaces.ip(namespaces.current(), "addr add 192.0.2.99/32 dev lo")
    await node.until("192.0.2.99", 30080, {"198.51.100.18": 1})
    namespaces.ip(namespaces.current(), "addr del 192.0.2.99/32 dev lo")
    await node.until("192.0.2.99", 30080, None)


async def test_an_address_that_becomes_another_nodes_is_no_longer_bound(node: Node) -> None:
    await node.client.merge_patch(SERVICES, "web", {"spec": {"externalIPs": ["192.0.2.12"]}}, "default")
    await node.start()
    await node.until("192.0.2.12", 80, {"198.51.100.18": 1})
    await _until_bound("203.0.113.140", "192.0.2.12")
    await node.client.create(NODES, {"metadata": {"name": "node2"}})
    addresses = [{"type": "InternalIP", "address": "192.0.2.12"}]
    status = {"status": {"addresses": addresses}}
    await node.client.merge_patch(NODES, "node2", status, subresource="status")
    await _until_bound("203.0.113.140")
    assert node.reals("192.0.2.12", 80) == {"198.51.100.18": 1}
    await node.client.delete(NODES, "node2")
    await _until_bound("203.0.113.140", "192.0.2.12")


async def _until_bound(*addresses: str) -> None:
    for _ in range(200):
        if _addresses() == set(addresses):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{_addresses()} are bound, not {addresses}")


async def test_a_restart_changes_nothing_that_is_still_wanted(node: Node) -> None:
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    await node.stop()
    node.ipvs.log.clear()
    await node.start()
    assert node.proxy is not None
    await asyncio.wait_for(node.proxy.syncer.settled.wait(), 5)
    assert node.ipvs.log == []
    assert node.reals("203.0.113.140", 80) == {"198.51.100.18": 1}
    assert _addresses() == {"203.0.113.140"}


async def test_a_stray_kube_proxy_is_repaired_within_seconds_and_named(node: Node) -> None:
    """Started in nftables mode it flushes IPVS and deletes kube-ipvs0."""
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    here = namespaces.current()
    namespaces.run(here, ["nft", "add table ip kube-proxy; add chain ip kube-proxy services"])
    await asyncio.sleep(1.0)
    node.ipvs.table.clear()
    namespaces.run(here, ["nft", "delete table ip strictarp"])
    namespaces.ip(here, "link del kube-ipvs0")
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    assert "203.0.113.140 . tcp . 80" in _set("clusterIP")
    assert _addresses() == {"203.0.113.140"}

    async def told() -> bool:
        return "DriftRepaired" in await node.events()

    await until(told)
    assert "nftables table kube-proxy" in (await node.events())["DriftRepaired"]
    drift = [
        line for line in (await _get(f"{METRICS}/metrics"))[1].splitlines() if "drift_repairs_total" in line
    ]
    assert float(drift[-1].split()[-1]) >= 4


async def test_a_flush_that_no_event_tells_is_repaired_within_seconds(node: Node) -> None:
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    node.ipvs.table.clear()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})


async def test_a_foreign_chain_that_drops_is_told_opened_and_closed_by_cleanup(node: Node) -> None:
    here = namespaces.current()
    chain = "chain FORWARD { type filter hook forward priority 0; policy drop; };"
    namespaces.run(here, ["nft", f"table ip filter {{ {chain} }}"])
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})

    async def told() -> bool:
        return "ForwardDropped" in await node.events()

    await until(told)
    assert "--open-forward" in (await node.events())["ForwardDropped"]
    await node.stop()
    await node.start(open_forward=True)

    async def opened() -> bool:
        listed = namespaces.run(here, ["nft", "list", "table", "ip", "filter"]).stdout
        return listed.count("strictarp: answers of Services") == 1

    await until(opened)
    namespaces.run(here, ["nft", "flush", "chain", "ip", "filter", "FORWARD"])
    await until(opened)
    assert "192.0.2.11" in namespaces.run(here, ["nft", "list", "chain", "ip", "strictarp", "forward"]).stdout
    await node.stop()
    kernel = LinuxKernel(nftables.change_elements, generic=node.ipvs, device_kind="bridge")
    assert "take back the opening in nftables chain ip filter FORWARD" in await clean_up(
        kernel, Config(), "node1", dry_run=False
    )
    kernel.close()
    assert not await opened()


async def test_health_and_metrics_speak_as_kube_proxy_does(node: Node) -> None:
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    status, body = await _get(f"{HEALTH}/healthz")
    assert (status, json.loads(body).keys()) == (200, {"lastUpdated", "currentTime", "nodeEligible"})
    assert json.loads((await _get(f"{HEALTH}/livez"))[1]).keys() == {"lastUpdated", "currentTime"}
    assert await _get(f"{METRICS}/proxyMode") == (200, "ipvs")
    assert await _get(f"{METRICS}/healthz") == (200, "ok")
    status, body = await _get(f"{METRICS}/configz")
    shown = json.loads(body)["kubeproxy.config.k8s.io"]
    assert (status, shown["mode"], shown["ipvs"]["scheduler"]) == (200, "ipvs", "rr")
    assert (shown["metricsBindAddress"], shown["iptables"]["masqueradeBit"]) == ("127.0.0.1:10249", 14)
    assert await _get(f"{METRICS}/metrics/slis") == (200, "")
    text = (await _get(f"{METRICS}/metrics"))[1]
    assert "kubeproxy_sync_proxy_rules_duration_seconds_count" in text
    assert "kubeproxy_sync_proxy_rules_service_changes_total" in text
    assert 'kubeproxy_proxy_healthz_total{code="200"} 1.0' in text
    assert 'kubeproxy_proxy_livez_total{code="200"} 1.0' in text
    assert 'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external"} 0.0' in text
    assert 'rest_client_requests_total{code="200",host="127.0.0.1:6443",method="GET"}' in text
    assert "Starting" in await node.events()


async def test_what_kube_proxy_warns_of_by_events_is_warned_of(node: Node) -> None:
    # The API server lets no such slice in, but there are others.
    wrong = slice_body("web", ["198.51.100.18", "2001:db8::18"], name="web-2")
    piece = msgspec.convert(wrong, EndpointSlice)
    async with asyncio.timeout(10):
        with socket.create_server(("127.0.0.1", 10249)), socket.create_server(("", 10256)):
            await node.start()
            await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
            assert node.proxy is not None
            node.proxy.engine.store.slice(piece.key, None, piece)
            node.proxy.syncer.wake()

            async def told() -> bool:
                return set(await node.events()) >= {
                    "FailedToStartProxierHealthcheck",
                    "FailedToStartMetricServer",
                    "KubeProxyIncorrectIPVersion",
                }

            await until(told)
    assert "address already in use" in (await node.events())["FailedToStartMetricServer"]
    assert "2001:db8::18" in (await node.events())["KubeProxyIncorrectIPVersion"]


async def test_strictarp_is_set_before_the_first_vip_and_told_by_interface(node: Node) -> None:
    here = namespaces.current()
    namespaces.ip(here, "link add other0 type bridge", "link set other0 up")
    await node.start(Config(strict_arp=True))
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    told = json.loads((await _get(f"{HEALTH}/strictarp"))[1])
    assert told["requested"] is True
    assert told["inForce"] is True
    assert told["sysctls"] == {
        "net.ipv4.conf.all.arp_announce": "2",
        "net.ipv4.conf.all.arp_ignore": "1",
    }
    assert told["interfaces"]["other0"]["inForce"] is True
    files.write("net.ipv4.conf.other0.arp_ignore", 3)
    told = json.loads((await _get(f"{HEALTH}/strictarp"))[1])
    assert told["inForce"] is False
    assert "other0" in told["reason"]


HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"


async def test_strictarp_follows_the_file_and_is_put_back(node: Node) -> None:
    ignore = "net.ipv4.conf.all.arp_ignore"
    before = files.read_int(ignore)
    files.write(ignore, 0)
    await node.start(text=HEAD + "ipvs: {strictARP: true}\n")
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    assert files.read_int(ignore) == 1
    node.file.write_text(HEAD + "ipvs: {strictARP: false}\n")

    async def restored() -> bool:
        return "StrictARPRestored" in await node.events()

    await until(restored)
    assert files.read_int(ignore) == 0
    told = json.loads((await _get(f"{HEALTH}/strictarp"))[1])
    assert told["requested"] is False
    assert f"{ignore} 1 -> 0" in told["restored"]
    for strict in (True, False):  # restarted with it, and without: told when the Node is known
        await node.stop()
        await node.start(Config(strict_arp=strict))

        async def as_wanted(wanted: int = int(strict)) -> bool:
            return files.read_int(ignore) == wanted

        await until(as_wanted)
    files.write(ignore, before)


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(200):
        if await what():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(what)


async def test_a_changed_configuration_is_taken_over_and_a_wrong_one_refused(node: Node) -> None:
    await node.start(text=HEAD)
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    node.file.write_text(HEAD + "ipvs: {scheduler: wlc}\niptables: {masqueradeAll: true}\n")

    async def scheduled() -> bool:
        server = node.server("203.0.113.140", 80)
        return server is not None and server.scheduler == "wlc"

    await until(scheduled)
    assert (
        "@clusterIP"
        in namespaces.run(namespaces.current(), ["nft", "list", "table", "ip", "strictarp"]).stdout
    )
    node.file.write_text(HEAD + "ipvs: {scheduler: best}\n")

    async def refused() -> bool:
        return "ConfigurationRefused" in await node.events()

    await until(refused)
    assert "ipvs.scheduler" in (await node.events())["ConfigurationRefused"]
    assert await scheduled()
    node.file.unlink()
    other = node.folder / "other"
    other.write_text(HEAD + "nodePortAddresses: [198.51.100.0/24]\n")
    other.rename(node.file)
    await node.until("192.0.2.11", 30080, None)
    assert not await scheduled()


async def test_a_change_that_needs_a_new_start_ends_the_following_with_new_options(node: Node) -> None:
    await node.start(text=HEAD)
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    node.file.write_text(HEAD + "metricsBindAddress: 127.0.0.1:10250\n")
    assert node.following is not None
    options = await asyncio.wait_for(node.following, 5)
    assert options.config.metrics == ("127.0.0.1", 10250)
    assert options.config_text == node.file.read_text()


async def test_ipv6_reaches_device_tables_and_ipvs(node: Node) -> None:
    namespaces.ip(namespaces.current(), "addr add 2001:db8:1::11/64 dev lo")
    await node.start()
    six = service_body("six", "2001:db8::140", type="NodePort", ports=PORTS6)
    node.proxy.engine.store.service("default/six", msgspec.convert(six, Service))  # type: ignore[union-attr]
    piece = msgspec.convert(slice_body("six", [("2001:db8:2::1", "node1")], kind="IPv6"), EndpointSlice)
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    assert node.proxy is not None
    node.proxy.engine.store.slice(piece.key, None, piece)
    node.proxy.syncer.wake()
    await node.until("2001:db8::140", 80, {"2001:db8:2::1": 1})
    await node.until("2001:db8:1::11", 30086, {"2001:db8:2::1": 1})
    shown = namespaces.run(namespaces.current(), ["ip", "-6", "addr", "show", "kube-ipvs0"]).stdout
    assert "2001:db8::140/128" in shown
    listed = namespaces.run(namespaces.current(), ["nft", "list", "table", "ip6", "strictarp"]).stdout
    assert "2001:db8::140 . tcp . 80" in listed
    assert "2001:db8:2::1 . tcp . 8080 . 2001:db8:2::1" in " ".join(listed.split())
    node.proxy.engine.store.service("default/six", None)
    node.proxy.syncer.wake()
    await node.until("2001:db8::140", 80, None)


PORTS6 = [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30086}]


async def test_a_health_check_port_tells_the_local_endpoints(node: Node) -> None:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    await node.client.merge_patch(SERVICES, "web", {"spec": spec}, "default")
    await node.client.replace(
        ENDPOINTSLICES, slice_body("web", [("198.51.100.34", "node1"), "198.51.100.18"])
    )
    await node.start()
    await node.until("203.0.113.140", 80, {"198.51.100.18": 1, "198.51.100.34": 1})
    stored = await node.client.get(SERVICES, "web", "default")
    port = stored.spec.health_check_node_port

    async def told() -> bool:
        try:
            status, body = await _get(f"http://192.0.2.11:{port}/")
        except aiohttp.ClientConnectorError:
            return False
        return status == 200 and json.loads(body)["localEndpoints"] == 1

    await until(told)
    assert f"192.0.2.11 . tcp . {port}" in _set("healthCheckNodePort")


async def test_dry_run_tells_what_cleanup_would_undo(node: Node) -> None:
    kernel = LinuxKernel(nftables.change_elements, generic=node.ipvs, device_kind="bridge")
    proxy = Proxy(Options(Config(), Settings(), "node1"), kernel, node.client, ensure=ensure)
    told = await dry_run(proxy, kernel, Config(), "node1")
    assert "add virtual server TCP 203.0.113.140:80" in told
    assert "bind address 203.0.113.140" in told
    assert "kube-ipvs0" not in namespaces.run(namespaces.current(), ["ip", "link"]).stdout
    assert node.ipvs.table == {}
    await node.start()
    await node.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    assert proxy is not node.proxy
    fresh = Proxy(Options(Config(), Settings(), "node1"), kernel, node.client, ensure=ensure)
    assert await dry_run(fresh, kernel, Config(), "node1") == []
    await node.stop()
    told = await clean_up(kernel, Config(), "node1", dry_run=False)
    assert "remove virtual server TCP 203.0.113.140:80" in told
    assert node.ipvs.table == {}
    assert "kube-ipvs0" not in namespaces.run(namespaces.current(), ["ip", "link"]).stdout
    assert "strictarp" not in namespaces.run(namespaces.current(), ["nft", "list", "tables"]).stdout
    kernel.close()

"""`strictarp enable` and `disable` on real kernels: nodes in namespaces, Service IPs on every one of them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from strictarp.cluster import shell, wireside
from strictarp.kube.custom import ANNOUNCE_AGAIN
from strictarp.kube.objects import CONFIGMAPS, SERVICES
from strictarp.lab import namespaces
from support.api import running_api
from support.enable_bench import CONFIG, Bench
from support.rolled_proxies import NODE_NAMES, Proxies, running_proxies
from support.segment import VIP, Segment, bind_vip, build, write_sysctls

pytestmark = pytest.mark.netns
PORT = 10300
ALL = "node1 (02:00:00:00:00:01), node2 (02:00:00:00:00:02), node3 (02:00:00:00:00:03)"
STRICT = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}


@pytest.fixture
def segment() -> Iterator[Segment]:
    """The test sits in the client's namespace, as its thread with the command line does."""
    with build([*NODE_NAMES, "client"]) as made:
        for name in NODE_NAMES:
            bind_vip(made.hosts[name])
        home = namespaces.current("home")
        namespaces.enter(made.hosts["client"])
        try:
            yield made
        finally:
            namespaces.enter(home)
            home.close()


class WireBench(Bench):
    segment: Segment

    def announcer(self, name: str) -> None:
        """This node's address on the uplink: its kernel answers also when strictARP is on."""
        namespaces.ip(self.segment.hosts[name], f"addr add {VIP}/32 dev eth0")

    async def wish(self) -> str | None:
        service = await self.api.client.get(SERVICES, "web", "default")
        return (service.metadata.annotations or {}).get(ANNOUNCE_AGAIN)


@pytest.fixture
async def bench(
    segment: Segment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WireBench]:
    monkeypatch.setattr(shell, "POLL", 0.05)
    monkeypatch.setattr(shell, "PROOF_LIMIT", 0.5)
    monkeypatch.setattr(shell, "WIRE_LIMIT", 0.5)
    monkeypatch.setattr(wireside, "WAIT", 0.2)
    sockets = []
    for name in NODE_NAMES:
        with namespaces.entered(segment.hosts[name]):
            sockets.append(socket.create_server(("0.0.0.0", PORT)))
    async with running_api(tmp_path) as api:
        proxies = Proxies(api, PORT, network="192.0.2.", apply=lambda name, on: _set(segment, name, on))
        service = {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        }
        await api.client.create(SERVICES, service)
        status = {"status": {"loadBalancer": {"ingress": [{"ip": VIP}]}}}
        await api.client.merge_patch(SERVICES, "web", status, "default", subresource="status")
        async with running_proxies(api, CONFIG, proxies, sockets):
            made = WireBench(proxies, tmp_path)
            made.segment = segment
            yield made


def _set(segment: Segment, name: str, on: bool) -> None:
    write_sysctls(segment.hosts[name], {key: value if on else 0 for key, value in STRICT.items()})


def _vip(report: dict[str, object]) -> dict[str, object]:
    (vip,) = report["vips"]  # type: ignore[misc]
    return vip  # type: ignore[no-any-return]


async def test_three_answered_before_and_one_does_after_and_the_owner_was_asked_to_announce(
    bench: WireBench,
) -> None:
    bench.announcer("node1")
    code, report = await bench.run("enable", "--yes")
    assert code == 0
    assert report["state"] == (
        "strictARP is in force on 3 of 3 nodes; on the wire exactly one host answers for 1 Service IP"
    )
    vip = _vip(report)
    assert ", ".join(vip["before"]) == ALL  # type: ignore[arg-type]
    assert (vip["after"], vip["outcome"]) == (["node1 (02:00:00:00:00:01)"], "one")
    assert vip["services"] == ["default/web"]
    assert await bench.wish()


async def test_a_second_run_asks_and_changes_nothing(bench: WireBench) -> None:
    bench.announcer("node1")
    await bench.run("enable", "--yes")
    version = bench.api.version
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"], bench.api.version) == (0, "unchanged", version)
    assert _vip(report)["outcome"] == "one"


async def test_a_kernel_that_nobody_sees_but_the_wire_brings_everything_back(bench: WireBench) -> None:
    bench.announcer("node1")
    before = await bench.proxies.text()
    bench.proxies.plain = {"node2"}
    bench.proxies.deaf = {"node2"}
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (1, "rolled back")
    assert str(report["state"]).startswith(
        "could not ask on the wire: 192.0.2.100 (default/web) is answered by node1 (02:00:00:00:00:01), "
        "node2 (02:00:00:00:00:02); rolled back: ConfigMap kube-system/kube-proxy is as it was"
    )
    assert await bench.proxies.text() == before
    assert {node["node"]: node["restored"] for node in report["nodes"]} == {  # type: ignore[attr-defined]
        "node1": True,
        "node2": None,
        "node3": True,
    }
    assert (
        "node2: its sysctls are not seen from here (its proxy is a kube-proxy, which does not tell); unless "
        "strictARP was set there before: sysctl -w"
    ) in str(report["hints"])


async def test_an_ip_that_only_the_kernels_answered_for_would_be_lost_and_all_goes_back(
    bench: WireBench,
) -> None:
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (1, "rolled back")
    assert f"nobody answers for {VIP} (default/web) any more; answered before by {ALL}" in str(
        report["state"]
    )
    assert bench.proxies.requested == dict.fromkeys(NODE_NAMES, False)


async def test_where_no_proxy_tells_the_wire_is_proof_enough(bench: WireBench) -> None:
    bench.announcer("node3")
    bench.proxies.plain = set(NODE_NAMES)
    code, report = await bench.run("enable", "--yes")
    assert (code, report["ok"]) == (0, True)
    assert report["state"] == (
        "strictARP is in force on 0 of 3 nodes; the others cannot be seen from here; on the wire exactly one "
        "host answers for 1 Service IP"
    )


async def test_kube_proxies_older_than_the_setting_are_restarted_because_the_wire_shows_them(
    bench: WireBench,
) -> None:
    bench.announcer("node1")
    bench.proxies.plain = set(NODE_NAMES)
    text = (await bench.proxies.text()).replace("strictARP: false", "strictARP: true")
    await bench.api.client.merge_patch(
        CONFIGMAPS, "kube-proxy", {"data": {"config.conf": text}}, "kube-system"
    )
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"], report["diff"]) == (0, "done", "")
    assert (bench.proxies.restarts, _vip(report)["outcome"]) == (1, "one")


async def test_the_wire_proves_nothing_of_a_strictarp_that_is_off(bench: WireBench) -> None:
    namespaces.ip(bench.segment.hosts["node2"], "link set vips0 down", f"addr del {VIP}/32 dev vips0")
    namespaces.ip(bench.segment.hosts["node3"], "link set vips0 down", f"addr del {VIP}/32 dev vips0")
    bench.proxies.plain = set(NODE_NAMES)
    code, report = await bench.run("disable", "--yes")
    assert (code, report["result"], _vip(report)["outcome"]) == (3, "unchanged", "one")


async def test_disable_tells_who_answers_and_proves_nothing_by_it(bench: WireBench) -> None:
    bench.announcer("node1")
    await bench.run("enable", "--yes")
    wish = await bench.wish()
    code, report = await bench.run("disable", "--yes")
    assert (code, report["result"]) == (0, "done")
    assert len(_vip(report)["after"]) == 3  # type: ignore[arg-type]
    assert await bench.wish() == wish


async def test_a_wire_that_is_not_to_be_asked_is_not(bench: WireBench) -> None:
    code, report = await bench.run("enable", "--yes", "--no-wire")
    assert (code, report["vips"]) == (0, [])


async def test_an_interface_that_is_not_there_is_told_and_no_failure(bench: WireBench) -> None:
    code, report = await bench.run("enable", "--yes", "-i", "eth9")
    assert (code, _vip(report)["outcome"]) == (0, "unseen")
    assert "not asked for on the wire: 1 Service IP: no interface eth9; there are: " in str(report["hints"])


async def test_services_that_may_not_be_patched_are_told_and_no_failure(bench: WireBench) -> None:
    bench.announcer("node1")
    path = "/api/v1/namespaces/default/services"
    await bench.api.fault(kind="status", status=403, verb="patch", path=path, count=1)
    code, report = await bench.run("enable", "--yes")
    assert code == 0
    assert "1 of 1 Services were not announced again, so neighbour entries may stay wrong" in str(
        report["hints"]
    )


async def test_a_conflict_of_an_announcement_is_tried_again(bench: WireBench) -> None:
    bench.announcer("node1")
    path = "/api/v1/namespaces/default/services"
    await bench.api.fault(kind="status", status=409, verb="patch", path=path, count=2)
    code, report = await bench.run("enable", "--yes")
    assert (code, report["hints"]) == (0, [])
    assert await bench.wish()

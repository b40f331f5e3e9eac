"""`strictarp doctor` over HTTP: embedded API server, a cluster's objects, proxies and speakers that tell."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from strictarp.cli.main import main
from strictarp.doctor import gathering, session
from strictarp.doctor.check import CLUSTER, Part
from strictarp.doctor.diagnosis import diagnose
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.node import applying
from strictarp.doctor.registry import CHECKS
from strictarp.kube.access import Access
from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS
from strictarp.kube.model import Resource
from strictarp.kube.objects import (
    CONFIGMAPS,
    DAEMONSETS,
    ENDPOINTSLICES,
    LEASES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
)
from strictarp.lab.manifests import KUBE_PROXY_CONFIG, kubeconfig
from strictarp.speaker.exposition import Figures
from support.api import running_api
from support.kubelets import running_kubelets
from support.rolled_proxies import NODE_NAMES, Proxies, running_proxies

CONFIG = (
    KUBE_PROXY_CONFIG.replace('healthzBindAddress: ""', "healthzBindAddress: 0.0.0.0:{port}")
    .replace("strictARP: false", "strictARP: true")
    .replace("{kubeconfig}", "k")
    .replace("{pods}", "198.51.100.0/24")
)
SPACE = "metallb-system"
VIP = "192.0.2.100"
SPEAKER = {
    "containers": [{"name": "speaker", "image": "registry/strictarp:1", "args": ["speaker"]}],
}


class Bench:
    """The cluster, and the command line to look at it."""

    def __init__(self, proxies: Proxies, folder: Path) -> None:
        self.proxies = proxies
        self.api = proxies.api
        self._kubeconfig = folder / "kubeconfig"
        self._kubeconfig.write_text(json.dumps(kubeconfig(self.api.url)))
        self._report = folder / "report.json"

    async def run(self, *argv: str) -> tuple[int, dict[str, Any]]:
        """Exit code and report; the wire is left alone unless it is asked for."""
        self._report.unlink(missing_ok=True)
        wire = [] if "--wire" in argv else ["--no-wire"]
        line = ["doctor", "--kubeconfig", str(self._kubeconfig), "--json", str(self._report), *wire, *argv]
        code = await asyncio.to_thread(main, line)
        return code, json.loads(self._report.read_text()) if self._report.exists() else {}

    async def create(self, resource: Resource[Any], name: str, namespace: str = "", **body: object) -> None:
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        given = body.pop("metadata", {})
        assert isinstance(given, dict)
        await self.api.client.create(resource, {"metadata": {**metadata, **given}, **body})

    async def configure(self, strict: bool) -> None:
        text = (await self.proxies.text()).replace(
            f"strictARP: {str(not strict).lower()}", f"strictARP: {str(strict).lower()}"
        )
        await self.api.client.merge_patch(
            CONFIGMAPS, "kube-proxy", {"data": {"config.conf": text}}, "kube-system"
        )


async def populate(bench: Bench) -> None:
    """Speakers of ours, a pool, and a Service that is announced."""
    template = {"metadata": {"labels": {"app": "speaker"}}, "spec": SPEAKER}
    spec = {"selector": {"matchLabels": {"app": "speaker"}}, "template": template}
    await bench.create(DAEMONSETS, "strictarp-speaker", SPACE, spec=spec)
    await bench.create(IPADDRESSPOOLS, "main", SPACE, spec={"addresses": ["192.0.2.100-192.0.2.119"]})
    await bench.create(L2ADVERTISEMENTS, "main", SPACE, spec={})
    await bench.create(SECRETS, "strictarp-hello", SPACE, data={"key": "a2V5" * 12})
    await add_service(bench, "web", VIP)
    for index, name in enumerate(NODE_NAMES):
        links = json.dumps(
            {"eth0": {"mac": f"02:00:00:00:00:0{index}", "addresses": [f"192.0.2.1{index}/24"]}}
        )
        await bench.create(
            LEASES,
            f"strictarp-speaker-{name}",
            SPACE,
            metadata={"annotations": {"strictarp.io/links": links}},
            spec={
                "holderIdentity": name,
                "leaseDurationSeconds": 40,
                "renewTime": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()),
            },
        )


async def add_service(bench: Bench, name: str, ip: str) -> None:
    ports = [{"port": 80, "protocol": "TCP"}]
    await bench.create(
        SERVICES, name, "default", spec={"type": "LoadBalancer", "ports": ports, "selector": {"app": name}}
    )
    if ip:
        status = {"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}}
        await bench.api.client.merge_patch(SERVICES, name, status, "default", subresource="status")
    endpoints = [
        {"addresses": ["198.51.100.9"], "nodeName": node, "conditions": {"ready": True}}
        for node in NODE_NAMES
    ]
    await bench.create(
        ENDPOINTSLICES,
        f"{name}-1",
        "default",
        metadata={"labels": {"kubernetes.io/service-name": name}},
        addressType="IPv4",
        endpoints=endpoints,
        ports=[{"port": 80, "protocol": "TCP", "name": ""}],
    )


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with running_api(tmp_path) as api, running_proxies(api, CONFIG) as proxies:
        proxies.requested = dict.fromkeys(NODE_NAMES, True)
        made = Bench(proxies, tmp_path)
        await populate(made)
        async with speaking(monkeypatch):
            yield made


class speaking:
    """Speakers' metrics on the three nodes, as the daemon writes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    async def __aenter__(self) -> None:
        figures = Figures("node1", dict)
        figures.members, figures.has_key = 3, True
        figures.reports["PeerHeard"] = 2
        registry = CollectorRegistry()
        registry.register(figures)  # type: ignore[arg-type]

        async def answer(_: web.BaseRequest) -> web.Response:
            return web.Response(body=generate_latest(registry))

        self._runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "0.0.0.0", 0).start()
        self.port = self._runner.addresses[0][1]
        self.figures = figures
        self._monkeypatch.setattr(gathering, "METRICS_PORT", self.port)

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def found(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["code"]: each for each in report["findings"]}


async def test_nothing_is_found_in_a_sound_cluster(bench: Bench) -> None:
    code, report = await bench.run()
    assert (code, report["findings"]) == (0, [])
    assert [each["what"] for each in report["notLookedAt"]] == ["nodes", "wire"]
    code, report = await bench.run("SA101", "SA524")
    assert (code, report["checks"], report["findings"]) == (0, 2, [])


async def test_strictarp_off_is_found_with_the_command_and_what_depends(bench: Bench) -> None:
    await bench.configure(strict=False)
    bench.proxies.requested = dict.fromkeys(NODE_NAMES, False)
    code, report = await bench.run()
    assert code == 2
    finding = found(report)["SA101"]
    assert finding["mend"] == "strictarp enable"
    assert finding["affects"] == [f"VIP {VIP}"]
    assert "ipvs.strictARP is false; Service IPs are announced by strictarp" in finding["seen"]


async def test_nodes_that_say_otherwise_are_named(bench: Bench) -> None:
    bench.proxies.requested["node2"] = False
    bench.proxies.deaf = {"node3"}
    bench.proxies.plain = {"node1"}
    code, report = await bench.run()
    assert code == 2
    assert {each["subject"]: each["seen"] for each in report["findings"] if each["code"] == "SA106"} == {
        "node node2": "its proxy does not ask for strictARP, the configuration does",
        "node node3": "strictARP is asked for and not in force: eth0: arp_ignore is 0",
    }
    assert "the proxies of node1 do not tell" in found(report)["SA107"]["seen"]


async def test_pods_older_than_the_last_write_are_found(bench: Bench) -> None:
    fields = {"f:data": {".": {}, "f:config.conf": {}}}
    managed = [{"manager": "kubectl-edit", "time": "2026-05-01T12:00:00Z", "fieldsV1": fields}]
    await bench.api.client.merge_patch(
        CONFIGMAPS, "kube-proxy", {"metadata": {"managedFields": managed}}, "kube-system"
    )
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "kube-proxy", "uid": "u"}
    for name, started in (("a", "2026-05-01T11:00:00Z"), ("b", "2026-05-01T13:00:00Z")):
        await bench.create(
            PODS,
            f"kube-proxy-{name}",
            "kube-system",
            metadata={"ownerReferences": [owner]},
            spec={"nodeName": f"node-{name}", "containers": [{"name": "kube-proxy", "image": "kube-proxy"}]},
        )
        status = {"status": {"phase": "Running", "startTime": started}}
        await bench.api.client.merge_patch(
            PODS, f"kube-proxy-{name}", status, "kube-system", subresource="status"
        )
    _, report = await bench.run("SA104")
    assert "node-a since 2026-05-01T11:00:00Z" in found(report)["SA104"]["seen"]
    assert "node-b" not in found(report)["SA104"]["seen"]


async def test_speakers_that_are_deaf_are_found_by_their_figures(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = speaking(monkeypatch)
    async with deaf:
        deaf.figures.reports.clear()
        _, report = await bench.run("SA524")
    assert sorted(each["subject"] for each in report["findings"]) == [f"node {name}" for name in NODE_NAMES]


async def test_what_may_not_be_read_is_told_and_the_rest_goes_on(bench: Bench) -> None:
    for path in ("/api/v1/secrets", f"/api/v1/namespaces/{SPACE}/secrets", "/api/v1/services"):
        await bench.api.fault(kind="status", status=403, path=path, count=100)
    code, report = await bench.run()
    assert code == 3
    told = {each["what"]: each for each in report["notLookedAt"]}
    assert "needed: get and list secrets" in told["secrets"]["reason"]
    assert told["secrets"]["codes"] == ["SA521"]
    assert "SA611" in told["services"]["codes"]
    assert "SA101" not in told["services"]["codes"]


async def test_kinds_that_are_not_there_are_not_missed_by_who_may_not_read_them(bench: Bench) -> None:
    for group in ("crd.projectcalico.org", "cilium.io"):
        await bench.api.fault(kind="status", status=403, path=f"/apis/{group}", count=9)
    code, report = await bench.run()
    assert (code, [each["what"] for each in report["notLookedAt"]]) == (0, ["nodes", "wire"])


async def test_an_api_that_is_not_there_is_all_that_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(kubeconfig("http://127.0.0.1:1")))
    code = await asyncio.to_thread(main, ["doctor", "--kubeconfig", str(file), "--json"])
    out = capfd.readouterr().out
    assert code == 3
    report = json.loads(out)
    assert report["findings"] == []
    assert report["checks"] == 0
    assert "http://127.0.0.1:1" in report["notLookedAt"][0]["reason"]


async def test_an_api_that_goes_away_in_the_middle_is_exit_3(bench: Bench) -> None:
    await bench.api.fault(kind="drop", verb="list", path="/api/v1/services", count=2)
    code, report = await bench.run()
    assert (code, report["findings"]) == (3, [])
    await bench.api.fault(kind="garbage", verb="list", path="/api/v1/services", count=1)
    code, report = await bench.run()
    assert code == 3
    assert "unreadable list" in next(
        each["reason"] for each in report["notLookedAt"] if each["what"] == "services"
    )


async def test_for_people_it_is_readable_text(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    await bench.configure(strict=False)
    bench.proxies.requested = dict.fromkeys(NODE_NAMES, False)
    await add_service(bench, "late", "")
    code, _ = await bench.run()
    out, err = capfd.readouterr()
    assert code == 2
    assert "ERROR SA101  strictARP is off" in out
    assert "mend strictarp enable" in out
    assert "Service default/late" in out
    assert out.rstrip().splitlines()[-1].startswith("2 errors; ")
    assert "reading the API" in err


async def test_many_services_are_read_in_pages_and_judged_in_time(bench: Bench) -> None:
    spec = {"addresses": ["192.0.2.100-192.0.2.119", "203.0.113.0/25"]}
    await bench.api.client.merge_patch(IPADDRESSPOOLS, "main", {"spec": spec}, SPACE)
    for index in range(1, 110):
        await add_service(bench, f"s{index:03}", f"203.0.113.{index}")
    started = time.monotonic()
    _, report = await bench.run()
    assert time.monotonic() - started < 10
    assert "SA607" in found(report)  # the second item is in no node's subnet


async def test_the_wire_that_cannot_be_asked_is_exit_3_only_if_it_was_asked_for(bench: Bench) -> None:
    code, report = await bench.run("--wire", "-i", "nosuch0")
    assert code == 3
    told = {each["what"]: each["reason"] for each in report["notLookedAt"]}
    assert "nosuch0" in told["wire"]


async def test_reports_of_nodes_that_are_missing_are_exit_3(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "node1.json"
    file.write_text('{"node": "node1", "kernel": "6.1", "facts": {"devices": []}}')
    code, report = await bench.run("--node-reports", str(file))
    assert code in (2, 3)
    told = {each["what"]: each["reason"] for each in report["notLookedAt"]}
    assert told["node node2"] == told["node node3"] == "there is no report of it"


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/api/v1/nodes", {"kind": "status", "status": 500}),
        ("/api/v1/nodes", {"kind": "garbage"}),
        ("/apis/apps/v1/daemonsets", {"kind": "truncate"}),
        ("/api/v1/services", {"kind": "garbage"}),
    ],
)
async def test_an_api_that_is_ill_is_told_and_is_no_traceback(
    bench: Bench, path: str, fault: dict[str, object]
) -> None:
    await bench.api.fault(path=path, verb="list", count=100, **fault)
    code, report = await bench.run()
    assert code == 3
    told = {each["what"] for each in report["notLookedAt"]}
    assert told & {"cluster", path.rpartition("/")[2]}


async def test_what_is_gathered_is_judged_as_the_command_does(bench: Bench) -> None:
    view, blind = await gathering.gather(bench.api.client, lambda _: None)
    assert view is not None
    found = diagnose(Evidence(view, blind=blind), CHECKS, CLUSTER)
    assert (found.findings, found.exit_code) == ((), 0)
    assert {each.what for each in found.not_looked_at} == {Part.NODES.value, Part.WIRE.value}


def test_usage_errors_are_exit_64(tmp_path: Path) -> None:
    for argv in (
        ["--apply"],
        ["--print-manifest"],
        ["--markdown"],
        ["--apply", "--print-manifest", "--image", "i"],
        ["--node-reports", str(tmp_path / "none")],
        ["SA999"],
    ):
        assert main(["doctor", *argv]) == 64, argv


def test_a_file_that_is_no_report_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for text in ("", "{}", "[1]", '{"node": ""}', "strictarp-node-report 1/1 AAAA\n"):
        file = tmp_path / "odd.json"
        file.write_text(text)
        assert main(["doctor", "--node-reports", str(file), "--no-wire"]) == 3
        assert f"--node-reports {file}: " in capfd.readouterr().err


def test_without_a_way_to_any_cluster_it_cannot_look(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor"]) == 3


async def test_nodes_are_read_by_a_daemonset_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "POLL", 0.1)
    async with running_api(tmp_path) as api, running_kubelets(api, ["n1", "n2"], tmp_path):
        for index, name in enumerate(("n1", "n2", "n3")):
            addresses = [{"type": "InternalIP", "address": f"127.0.0.{31 + index}"}]
            await api.client.create(NODES, {"metadata": {"name": name}, "status": {"addresses": addresses}})
        order = session.Order(
            CHECKS,
            access=Access(str(tmp_path / "kubeconfig")),
            image="registry.example/strictarp:1",
            wire=False,
        )
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig(api.url)))
        told: list[str] = []
        diagnosis = await session.run(order, told.append)
        assert (await api.client.list(DAEMONSETS)).items == ()
    unseen = {each.what: each.reason for each in diagnosis.not_looked_at}
    assert unseen["node n3"] == "there is no report of it"
    assert not {"nodes", "node n1", "node n2"} & set(unseen)
    assert diagnosis.exit_code in (2, 3)
    assert "2 of 2 nodes have reported" in told

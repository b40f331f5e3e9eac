"""The short-lived DaemonSet: created, its reports gathered from logs, gone again whatever happens.

The API server is the embedded one; a stand-in plays DaemonSet controller and kubelets, the pods' processes
are real ones.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from strictarp.doctor.kinds import DAEMONSETS, PODS
from strictarp.doctor.node import applying, framing
from strictarp.doctor.node.applying import collect
from strictarp.doctor.node.framing import Broken, find, framed
from strictarp.doctor.node.manifest import PREFIX, document, manifest
from strictarp.doctor.node.view import NodeView
from strictarp.errors import UserError
from strictarp.kube.errors import BadRequest, NotFound, ServerError
from support.api import Api, running_api, until
from support.kubelets import Kubelets, running_kubelets
from support.node_views import healthy

DOCUMENT = document("registry.example/strictarp:1", PREFIX + "x7k2p")
NODES = ["n1", "n2"]


class Bench:
    def __init__(self, api: Api, kubelets: Kubelets) -> None:
        self.api = api
        self.kubelets = kubelets
        self.told: list[str] = []

    async def collect(self, seconds: float = 30.0) -> dict[str, NodeView | str]:
        return dict(await collect(self.api.client, DOCUMENT, self.told.append, seconds=seconds))

    async def left(self) -> int:
        listing = await self.api.client.list(DAEMONSETS)
        return len(listing.items)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(applying, "POLL", 0.1)
    ready = tmp_path / "ready.log"
    ready.write_text(framed(msgspec.json.encode(healthy())))
    async with running_api(tmp_path) as api, running_kubelets(api, NODES, tmp_path) as kubelets:
        for node in NODES:
            kubelets.programs[node] = ["sh", "-c", f"cat {ready}; exec sleep 60"]
        yield Bench(api, kubelets)


async def test_every_node_reports_and_nothing_is_left(bench: Bench) -> None:
    bench.kubelets.programs.clear()  # the container's real command
    found = await bench.collect()
    assert sorted(found) == NODES
    for node, view in found.items():
        assert isinstance(view, NodeView)
        assert view.node == node  # as the API names it, although the pod was told another name
        assert "lo" in view.host.by_name
    assert bench.told[-1] == f"DaemonSet kube-system/{DOCUMENT['metadata']['name']} deleted"
    assert await bench.left() == 0
    await until(lambda: not bench.kubelets.processes)
    for _ in range(100):
        if not (await bench.api.client.list(PODS)).items:
            break
        await asyncio.sleep(0.05)
    assert (await bench.api.client.list(PODS)).items == ()


async def test_a_pod_that_does_not_start_is_told_with_its_reason(bench: Bench) -> None:
    bench.kubelets.broken["n2"] = ("ImagePullBackOff", "no such image")
    found = await bench.collect()
    assert isinstance(found["n1"], NodeView)
    assert found["n2"] == "its pod is ImagePullBackOff: no such image"
    assert await bench.left() == 0


async def test_a_report_that_cannot_be_read_is_told(bench: Bench) -> None:
    line = "strictarp-node-report 1/1 " + "QUFB" * 4
    bench.kubelets.programs["n1"] = ["sh", "-c", f"echo {line}; exec sleep 60"]
    found = await bench.collect()
    assert str(found["n1"]).startswith("its report: it cannot be read: ")
    assert isinstance(found["n2"], NodeView)


async def test_a_pod_that_ends_without_a_report_is_told_with_what_it_said(bench: Bench) -> None:
    bench.kubelets.ended["n1"] = "error: cannot read this node"
    found = await bench.collect()
    assert found["n1"] == "its pod is Error; it said: error: cannot read this node"
    assert isinstance(found["n2"], NodeView)


async def test_nodes_that_say_nothing_are_told_when_the_time_is_over(bench: Bench) -> None:
    for node in NODES:
        bench.kubelets.programs[node] = ["sleep", "60"]
    found = await bench.collect(seconds=1.0)
    assert set(found.values()) == {"its pod is Running and has not reported"}
    assert await bench.left() == 0


async def test_it_is_deleted_after_an_interruption(bench: Bench) -> None:
    for node in NODES:
        bench.kubelets.programs[node] = ["sleep", "60"]
    task = asyncio.create_task(bench.collect())
    await until(lambda: bench.kubelets.started == len(NODES))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert await bench.left() == 0


async def test_it_is_deleted_after_an_error_of_the_api(bench: Bench) -> None:
    await bench.api.fault(kind="status", status=403, verb="list", path="/api/v1/namespaces/kube-system/pods")
    with pytest.raises(UserError, match="reading the reports"):
        await bench.collect()
    assert await bench.left() == 0


async def test_an_api_that_fails_for_a_moment_is_asked_again(bench: Bench) -> None:
    await bench.api.fault(kind="status", status=503, verb="list", path="/api/v1/namespaces/kube-system/pods")
    assert all(isinstance(view, NodeView) for view in (await bench.collect()).values())
    assert any("trying again" in line for line in bench.told)
    assert await bench.left() == 0


async def test_who_may_not_create_it_is_told_what_it_takes(bench: Bench) -> None:
    await bench.api.fault(kind="status", status=403, verb="create")
    with pytest.raises(
        UserError, match=r"create, get, delete daemonsets\.apps; list pods; get pods/log"
    ) as told:
        await bench.collect()
    assert told.value.exit_code == 3


async def test_who_cannot_delete_it_is_told_the_command(bench: Bench) -> None:
    await bench.api.fault(kind="status", status=500, verb="delete", count=applying.DELETE_TRIES)
    await bench.collect()
    name = DOCUMENT["metadata"]["name"]
    assert bench.told[-1].endswith(f"kubectl -n kube-system delete daemonset {name}")
    assert await bench.left() == 1


async def test_a_log_that_cannot_be_had_is_an_error_with_its_reason(bench: Bench) -> None:
    pod = {"metadata": {"name": "p", "namespace": "kube-system"}, "spec": {"nodeName": "n1"}}
    await bench.api.client.create(PODS, pod)
    with pytest.raises(BadRequest, match="waiting to start"):
        await bench.api.client.logs("p", "kube-system")
    bench.api.server.logs = None
    with pytest.raises(ServerError, match="n1 has no kubelet"):
        await bench.api.client.logs("p", "kube-system")
    with pytest.raises(NotFound):
        await bench.api.client.logs("other", "kube-system")


# --- manifest and frames, pure -----------------------------------------------------------------------------


def test_the_manifest_is_the_document_and_asks_for_little() -> None:
    loaded = yaml.safe_load(manifest("registry.example/strictarp:1", PREFIX + "x7k2p"))
    assert loaded == DOCUMENT
    pod = loaded["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert (pod["hostNetwork"], pod["hostPID"], pod["automountServiceAccountToken"]) == (True, True, False)


@pytest.mark.parametrize(
    ("image", "name"), [("", "x"), ("a b", "x"), ("x\ny: z", "x"), ("x", "X"), ("x", "-a")]
)
def test_odd_images_and_names_are_refused(image: str, name: str) -> None:
    with pytest.raises(UserError):
        manifest(image, name)


def test_a_report_is_found_among_other_lines() -> None:
    view = healthy()
    lines = framed(msgspec.json.encode(view)).splitlines()
    log = "warning: x\n" + "\n".join(f"2026-01-01T00:00:00Z stdout F {line}\nnoise" for line in lines)
    assert find(log) == view
    assert find("") is None


@pytest.mark.parametrize("gone", [0, 1, -1])
def test_a_report_that_is_not_whole_is_not_there_yet(gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "_WIDTH", 100)
    lines = framed(msgspec.json.encode(healthy())).splitlines()
    assert len(lines) > 3
    del lines[gone]
    assert find("\n".join(lines)) is None


@given(st.data())
def test_a_mutilated_report_is_refused_by_name(data: st.DataObject) -> None:
    text = framed(msgspec.json.encode(healthy()))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(["", "A", "=", "\n", "/", "9"])) + text[at + 1 :]
    with contextlib.suppress(Broken):
        find(text)

"""The API goes away at each request in turn, for that one or for good: every end is named, and truly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from strictarp.cluster import shell
from strictarp.cluster.edit import set_strictarp
from strictarp.cluster.report import Report, finished
from strictarp.cluster.shell import Switch, Wishes
from strictarp.cluster.signs import KUBEADM
from strictarp.cluster.steps import Progress
from strictarp.errors import UserError
from strictarp.kube.client import JSON, Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.errors import Unreachable
from strictarp.kube.objects import CONFIGMAPS, SERVICES
from support.enable_bench import Bench, running_bench

PLACE = "ConfigMap kube-system/kube-proxy"
MANY = 100


class Failing(Client):
    """Requests from number `dies` on fail, `away` of them; `late`: they reach the server all the same."""

    def __init__(self, config: ClientConfig, *, dies: int, away: int, late: bool) -> None:
        super().__init__(config)
        self.asked = 0
        self._failing = range(dies, dies + away)
        self._late = late

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, object] | None = None,
        content: str = JSON,
    ) -> bytes:
        self.asked += 1
        if self.asked - 1 not in self._failing:
            return await super()._call(method, path, query, body=body, content=content)
        if self._late:
            await super()._call(method, path, query, body=body, content=content)
        raise Unreachable(f"{method} {path}: the API is away")


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(shell, "POLL", 0.02)
    monkeypatch.setattr(shell, "PROOF_LIMIT", 0.2)
    async with running_bench(tmp_path) as made:
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
        await made.api.client.create(
            SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}
        )
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.200"}]}}}
        await made.api.client.merge_patch(SERVICES, "web", status, "default", subresource="status")
        yield made


async def _run(bench: Bench, client: Client) -> Report | None:
    """None: it could not look (exit 3), so nothing was begun."""
    switch = Switch(client, KUBEADM, Wishes(wanted=True, timeout=0.5), tell=lambda _: None)
    try:
        view = await switch.look()
    except UserError as error:
        return None if error.exit_code == 3 else pytest.fail(str(error))
    progress = await switch.carry_out(Progress(view.facts), lambda _: None)
    return finished(progress, nodes=switch.nodes, vips=switch.vips, troubles=switch.troubles)


async def _reset(bench: Bench) -> None:
    text = set_strictarp(await bench.proxies.text(), False).after
    patch = {"data": {"config.conf": text}}
    await bench.api.client.merge_patch(CONFIGMAPS, "kube-proxy", patch, "kube-system")
    bench.proxies.requested = dict.fromkeys(bench.proxies.requested, False)


def _is_true(state: str, strict: bool) -> bool:
    """What the sentence says of the ConfigMap."""
    if f"{PLACE} may say" in state:
        return True
    if f"{PLACE} is as it was" in state:
        return not strict
    return strict and (f"{PLACE} says strictARP: true" in state or "is in force" in state)


@pytest.mark.parametrize(("away", "late"), [(1, False), (1, True), (MANY, False)])
async def test_at_each_request(bench: Bench, away: int, late: bool) -> None:
    results = set()
    for dies in range(MANY):
        await _reset(bench)
        client = Failing(bench.api.client.config, dies=dies, away=away, late=late)
        async with client:
            report = await _run(bench, client)
        strict = "strictARP: true  #" in await bench.proxies.text()
        if report is None:
            assert not strict
            continue
        assert _is_true(report.state, strict), f"{dies}: {report.state}"
        results.add(report.result)
        if report.result == "rolled back":
            assert not strict
            assert not any(bench.proxies.requested.values()) or "no proxy was restarted" in report.state
        if client.asked <= dies:
            break
    assert results == {"done", "rolled back" if away == 1 else "failed"}

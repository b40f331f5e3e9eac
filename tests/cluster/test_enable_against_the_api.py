"""`strictarp enable` and `disable` over HTTP: embedded API server, a rolling DaemonSet, proxies that tell."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.cluster import shell
from strictarp.cluster.shell import Switch, Wishes
from strictarp.cluster.signs import KUBEADM
from strictarp.cluster.steps import Progress, Step, result
from strictarp.kube.objects import CONFIGMAPS, DAEMONSETS
from strictarp.lab.manifests import kubeconfig
from support.enable_bench import Bench, running_bench


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(shell, "POLL", 0.05)
    monkeypatch.setattr(shell, "PROOF_LIMIT", 0.5)
    async with running_bench(tmp_path) as made:
        yield made


async def test_enable_edits_one_word_rolls_out_and_sees_every_node(bench: Bench) -> None:
    before = await bench.proxies.text()
    code, report = await bench.run("enable", "--yes")
    assert code == 0
    assert report["state"] == "strictARP is in force on 3 of 3 nodes"
    assert await bench.proxies.text() == before.replace("strictARP: false", "strictARP: true")
    assert bench.proxies.restarts == 1
    assert [node["verdict"] for node in report["nodes"]] == ["right"] * 3  # type: ignore[attr-defined]


async def test_a_second_run_changes_nothing_and_says_so(bench: Bench) -> None:
    await bench.run("enable", "--yes")
    version = bench.api.version
    code, report = await bench.run("enable", "--yes")
    assert (code, report["changed"]) == (0, False)
    assert report["state"] == "strictARP is in force on 3 of 3 nodes already; nothing was changed"
    assert (bench.api.version, bench.proxies.restarts) == (version, 1)


async def test_disable_brings_the_same_text_back(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    before = await bench.proxies.text()
    await bench.run("enable", "--yes")
    code, report = await bench.run("disable", "--yes")
    assert (code, report["state"]) == (
        0,
        "strictARP is asked for no more on 3 of 3 nodes; the sysctls are as before on 3 of 3 nodes",
    )
    assert await bench.proxies.text() == before
    assert bench.proxies.restarts == 2


async def test_a_dry_run_shows_the_diff_and_writes_nothing(bench: Bench) -> None:
    version = bench.api.version
    code, report = await bench.run("enable", "--dry-run")
    assert (code, bench.api.version) == (0, version)
    assert "+  strictARP: true  # MetalLB's documentation says true" in str(report["diff"])
    assert report["state"] == (
        "would edit the ConfigMap, restart the proxies, follow the rollout, look at every node"
    )


async def test_without_yes_and_without_a_terminal_nothing_is_changed(bench: Bench) -> None:
    version = bench.api.version
    code, report = await bench.run("enable")
    assert (code, report["result"], bench.api.version) == (1, "declined", version)


async def test_a_node_that_stays_wrong_brings_everything_back(bench: Bench) -> None:
    before = await bench.proxies.text()
    bench.proxies.deaf = {"node2"}
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (1, "rolled back")
    assert str(report["state"]).startswith(
        "could not look at every node: node2: eth0: arp_ignore is 0; rolled back: ConfigMap "
        "kube-system/kube-proxy is as it was, and the proxies run with it again"
    )
    assert await bench.proxies.text() == before
    assert bench.proxies.requested == dict.fromkeys(bench.proxies.requested, False)


async def test_a_rollout_that_does_not_end_is_taken_back(bench: Bench) -> None:
    before = await bench.proxies.text()
    bench.proxies.stuck = 1
    code, report = await bench.run("enable", "--yes", "--timeout", "2")
    assert (code, report["result"]) == (1, "rolled back")
    assert "not finished within 2 s: 1 of 3 proxies are new" in str(report["state"])
    assert await bench.proxies.text() == before


async def test_a_kube_proxy_is_named_with_the_command_to_look(bench: Bench) -> None:
    bench.proxies.plain = {"node3"}
    code, report = await bench.run("enable", "--yes")
    assert code == 3
    assert report["state"] == "strictARP is in force on 2 of 3 nodes; the others cannot be seen from here"
    assert report["hints"] == [
        "node3 cannot be seen from here: its proxy is a kube-proxy, which does not tell; check it with: "
        "ssh 127.0.0.13 sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce"
    ]


async def test_a_node_that_does_not_answer_at_once_is_asked_again(bench: Bench) -> None:
    bench.proxies.silent = {"node1": 3}
    assert (await bench.run("enable", "--yes"))[0] == 0
    bench.proxies.silent = {"node1": 1000}
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (3, "unchanged")
    assert "node1 cannot be seen from here: its proxy does not answer at 127.0.0.11:" in str(report["hints"])


async def test_a_conflict_is_read_again_and_tried_again(bench: Bench) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps"
    await bench.api.fault(kind="status", status=409, verb="patch", path=path, count=4)
    assert (await bench.run("enable", "--yes"))[0] == 0
    await bench.api.fault(kind="status", status=409, verb="patch", path=path, count=5)
    code, report = await bench.run("disable", "--yes")
    assert (code, report["result"]) == (1, "rolled back")
    assert "changed by somebody else 5 times; run this again" in str(report["state"])


async def test_what_somebody_else_edits_meanwhile_is_kept_there_and_back(bench: Bench) -> None:
    async def edit(old: str, new: str) -> None:
        data = {"config.conf": (await bench.proxies.text()).replace(old, new)}
        await bench.api.client.merge_patch(CONFIGMAPS, "kube-proxy", {"data": data}, "kube-system")

    switch = Switch(bench.api.client, KUBEADM, Wishes(wanted=True, timeout=5.0), tell=lambda _: None)
    progress = Progress((await switch.look()).facts)
    await edit("oomScoreAdj: null", "oomScoreAdj: -998")
    bench.proxies.deaf = {"node1"}
    edits = [edit('scheduler: ""', "scheduler: wrr")]

    def tell(progress: Progress) -> None:
        if Step.EDIT in progress.done and edits:
            meanwhile.append(asyncio.create_task(edits.pop()))

    meanwhile: list[asyncio.Task[None]] = []
    progress = await switch.carry_out(progress, tell)
    assert result(progress) == "rolled back"
    text = await bench.proxies.text()
    assert ("oomScoreAdj: -998" in text, "scheduler: wrr" in text) == (True, True)
    assert "strictARP: false  # MetalLB" in text


async def test_an_api_that_fails_in_the_middle_leaves_the_old_configuration(bench: Bench) -> None:
    before = await bench.proxies.text()
    await bench.api.fault(
        kind="status", status=500, verb="patch", path="/apis/apps/v1/namespaces/kube-system/daemonsets"
    )
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (1, "rolled back")
    assert str(report["state"]).startswith("could not restart the proxies: ")
    assert await bench.proxies.text() == before


async def test_when_even_the_way_back_fails_the_state_is_named_and_a_second_run_finishes(
    bench: Bench,
) -> None:
    path = "/apis/apps/v1/namespaces/kube-system/daemonsets"
    await bench.api.fault(kind="status", status=500, verb="patch", path=path, count=2)
    bench.proxies.deaf = set()
    await bench.api.fault(
        kind="drop", verb="patch", path="/api/v1/namespaces/kube-system/configmaps", count=1
    )
    code, report = await bench.run("enable", "--yes")
    assert code == 1
    assert report["result"] == "rolled back"  # the edit never arrived, and that was seen by reading it again
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (1, "failed")
    assert "restart them: kubectl -n kube-system rollout restart" in str(report["state"])
    code, _ = await bench.run("enable", "--yes")
    assert code == 0


async def test_proxies_older_than_the_setting_are_restarted(bench: Bench) -> None:
    text = (await bench.proxies.text()).replace("strictARP: false", "strictARP: true")
    await bench.api.client.merge_patch(
        CONFIGMAPS, "kube-proxy", {"data": {"config.conf": text}}, "kube-system"
    )
    code, report = await bench.run("enable", "--yes")
    assert (code, report["changed"], bench.proxies.restarts) == (0, True, 1)
    assert report["diff"] == ""


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (CONFIGMAPS, "ConfigMap kube-system/kube-proxy, key config.conf: not found, or no DaemonSet"),
        (DAEMONSETS, "ConfigMap kube-system/kube-proxy, key config.conf: not found, or no DaemonSet"),
    ],
)
async def test_a_place_that_is_missing_is_named(bench: Bench, missing: object, message: str) -> None:
    await bench.api.client.delete(missing, "kube-proxy", "kube-system")  # type: ignore[arg-type]
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (1, "elsewhere")
    assert message in str(report["state"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_who_is_stopped_in_the_middle_names_the_state(
    bench: Bench, tmp_path: Path, number: signal.Signals
) -> None:
    bench.proxies.stuck = 1
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(kubeconfig(bench.api.url)))
    # Shells have their background jobs ignore SIGINT, and so would all that these start.
    started = ("env", "--default-signal=INT", sys.executable, "-m", "strictarp")
    argv = ("enable", "--yes", "--no-wire", "--kubeconfig", str(file))
    process = await asyncio.create_subprocess_exec(
        *started, *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    said = [""]
    async for line in process.stdout:
        said.append(line.decode())
        if said[-1].startswith("follow the rollout"):
            process.send_signal(number)
    assert await process.wait() == 1
    assert said[-1].startswith("stopped in the middle: ConfigMap kube-system/kube-proxy says strictARP: true")


async def test_an_api_that_is_not_there_is_exit_3(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(kubeconfig("http://127.0.0.1:1")))
    report = tmp_path / "report.json"
    argv = ["enable", "--yes", "--kubeconfig", str(file), "--json", str(report)]
    assert await asyncio.to_thread(main, argv) == 3
    said = capfd.readouterr().err
    assert said.startswith("cannot look: http://127.0.0.1:1: GET /api/v1/nodes")
    assert said.endswith("; nothing was changed\n")
    assert json.loads(report.read_text())["result"] == "cannot look"


@pytest.mark.parametrize(
    ("config", "code", "outcome"),
    [("a: [", 1, "refused"), ("kind: KubeProxyConfiguration\nmode: iptables\n", 4, "not applicable")],
)
@pytest.mark.parametrize("command", ["enable", "disable"])
async def test_a_configuration_that_cannot_be_edited_is_a_report_with_the_state(
    bench: Bench, command: str, config: str, code: int, outcome: str
) -> None:
    patch = {"data": {"config.conf": config}}
    await bench.api.client.merge_patch(CONFIGMAPS, "kube-proxy", patch, "kube-system")
    done, report = await bench.run(command, "--yes")
    assert (done, report["result"], report["changed"]) == (code, outcome, False)
    assert str(report["state"]).endswith("; nothing was changed")


def test_a_wrong_option_is_exit_64() -> None:
    assert main(["enable", "--timeout", "0"]) == 64

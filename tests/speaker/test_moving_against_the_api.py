"""The commands against the embedded API server, with the speakers played by the test."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.kube.custom import ANNOUNCEDADDRESSES, SERVICEL2STATUSES, AddressState
from strictarp.kube.errors import NotFound
from strictarp.kube.objects import LEASES, NODES, SERVICES
from strictarp.speaker import announced, l2status
from strictarp.speaker.membership import lease_body
from support.api import Api, running_api
from support.speaker_daemon import NS, furnish_services
from support.speaker_processes import kubeconfig

IPS = ("192.0.2.100", "192.0.2.101", "192.0.2.102")
NAMES = ("node1", "node2", "node3")


class Bench:
    def __init__(self, api: Api, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.wishes: list[str | None] = []

    async def run(self, *arguments: str) -> tuple[int, dict[str, object]]:
        config, target = self.folder / "config", self.folder / "result.json"
        config.write_text(kubeconfig(self.api.url))
        target.unlink(missing_ok=True)
        line = [*arguments, "--kubeconfig", str(config), "--json", str(target)]
        code = await asyncio.to_thread(main, line)
        return code, json.loads(target.read_text()) if target.exists() else {}

    async def own(self, address: str, node: str) -> None:
        state = AddressState(node=node, services=("default/x",))
        name = announced.object_name(address)
        try:
            await self.api.client.merge_patch(ANNOUNCEDADDRESSES, name, announced.document(state), NS)
        except NotFound:
            await self.api.client.create(ANNOUNCEDADDRESSES, announced.body(address, state), NS)

    async def owner(self, address: str) -> str | None:
        return (await self.api.client.get(ANNOUNCEDADDRESSES, announced.object_name(address), NS)).status.node

    async def speak(self) -> None:
        """Do what speakers do: wishes are met, drained nodes relieved by node3."""
        while True:
            await asyncio.sleep(0.05)
            for number, ip in enumerate(IPS):
                service = await self.api.client.get(SERVICES, f"web{number}", "default")
                wish = (service.metadata.annotations or {}).get("strictarp.io/move-to")
                if wish and wish != await self.owner(ip):
                    self.wishes.append(wish)
                    await self.own(ip, wish)
                node = await self.api.client.get(NODES, await self.owner(ip) or "")
                if "strictarp.io/drain" in (node.metadata.annotations or {}):
                    await self.own(ip, "node3")


@asynccontextmanager
async def bench(folder: Path, *, speaking: bool = True) -> AsyncIterator[Bench]:
    async with running_api(folder) as api:
        await furnish_services(api.client, NAMES, IPS)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for name in NAMES:
            await api.client.create(LEASES, _lease(name, now), NS)
        made = Bench(api, folder)
        for ip in IPS:
            await made.own(ip, "node1")
        task = asyncio.create_task(made.speak() if speaking else asyncio.sleep(0))
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.wait({task})


def _lease(name: str, now: str) -> dict[str, object]:
    body = lease_body(name, (), now)
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    del metadata["annotations"]  # its links are not told: it has one anywhere
    return body


async def _annotations(made: Bench, name: str) -> dict[str, str]:
    service = await made.api.client.get(SERVICES, name, "default")
    return service.metadata.annotations or {}


async def test_a_move_is_followed_until_it_is_seen_and_its_wish_taken_back(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        code, result = await made.run("move", "web0", "--to", "node2")
        assert code == 0
        assert result["result"] == "moved"
        assert result["owners"] == {IPS[0]: "node2"}
        assert await _annotations(made, "web0") == {}
        assert made.wishes == ["node2"]


async def test_a_move_that_nobody_makes_ends_in_time_and_its_wish_is_taken_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, speaking=False) as made:
        code, result = await made.run("move", IPS[0], "--to", "node2", "--timeout", "1")
        assert code == 1
        assert (result["result"], result["owners"]) == ("not seen", {IPS[0]: "node1"})
        assert await _annotations(made, "web0") == {}
        assert "node2 has not taken over within 1" in capsys.readouterr().err


async def test_who_is_stopped_by_ctrl_c_takes_its_wish_back(tmp_path: Path) -> None:
    async with bench(tmp_path, speaking=False) as made:
        config = tmp_path / "config"
        config.write_text(kubeconfig(made.api.url))
        line = ["-m", "strictarp", "move", "web0", "--to", "node2", "--kubeconfig", str(config)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *line,
            stderr=asyncio.subprocess.PIPE,
            # Who runs the tests in the background may have it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        for _ in range(500):
            await asyncio.sleep(0.02)
            if await _annotations(made, "web0"):
                break
        process.send_signal(signal.SIGINT)
        _, error = await process.communicate()
        assert (process.returncode, error.decode().splitlines()[-1]) == (130, "stopped")
        assert await _annotations(made, "web0") == {}


async def test_a_wish_that_cannot_be_taken_back_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, speaking=False) as made:

        async def fall() -> None:
            for _ in range(100):
                await asyncio.sleep(0.02)
                if await _annotations(made, "web0"):
                    break
            await made.api.fault(
                kind="status", status=503, path="/api/v1/namespaces/default/services", count=9
            )

        falling = asyncio.create_task(fall())
        code, _ = await made.run("move", "web0", "--to", "node2", "--timeout", "1")
        await falling
        assert code == 3
        assert "strictarp.io/move-to may be left on Service default/web0" in capsys.readouterr().err


async def test_dry_runs_change_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        version = made.api.version
        for arguments in (["move", "web0", "--to", "node2"], ["drain", "node1"], ["undrain", "node1"],
                          ["rebalance"]):  # fmt: skip
            code, result = await made.run(*arguments, "--dry-run")
            assert code == 0
            assert result["result"] in ("dry run", "unchanged")
        assert made.api.version == version


async def test_a_drain_is_followed_until_nothing_is_left(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        code, result = await made.run("drain", "node1")
        assert (code, result["result"], result["had"], result["left"]) == (0, "drained", list(IPS), {})
        assert (await made.run("move", "web0", "--to", "node1"))[0] == 1
        assert (await made.run("undrain", "node1"))[1]["result"] == "undrained"
        assert (await made.run("undrain", "node1"))[1]["result"] == "unchanged"
        node = await made.api.client.get(NODES, "node1")
        assert "strictarp.io/drain" not in (node.metadata.annotations or {})


async def test_what_no_other_node_may_announce_stays_and_is_named_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, speaking=False) as made:
        for name in ("node2", "node3"):
            await made.api.client.delete(LEASES, f"strictarp-speaker-{name}", NS)
        code, result = await made.run("drain", "node1", "--timeout", "30")
        assert (code, result["result"]) == (1, "stays")
        assert set(result["left"]) == set(IPS)
        assert float(result["seconds"]) < 5
        node = await made.api.client.get(NODES, "node1")
        assert "strictarp.io/drain" in (node.metadata.annotations or {}), "it stays marked"


async def test_a_rebalance_moves_one_after_another_and_not_faster_than_it_is_told(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        began = asyncio.get_running_loop().time()
        code, result = await made.run("rebalance", "--every", "1")
        assert asyncio.get_running_loop().time() - began >= 1
        assert (code, result["result"]) == (0, "moved")
        assert result["before"] == {"node1": 3, "node2": 0, "node3": 0}
        assert {await made.owner(ip) for ip in IPS} == set(NAMES)
        assert sorted(made.wishes) == ["node2", "node3"]
        assert [await _annotations(made, f"web{number}") for number in range(3)] == [{}, {}, {}]
        assert (await made.run("rebalance"))[1]["result"] == "even"


async def test_a_rebalance_stops_at_the_first_move_that_is_not_seen(tmp_path: Path) -> None:
    async with bench(tmp_path, speaking=False) as made:
        code, result = await made.run("rebalance", "--timeout", "1")
        assert (code, result["result"]) == (1, "stopped")
        assert len(result["moves"]) == 1


async def test_where_only_metallbs_definition_is_installed_its_status_is_followed(tmp_path: Path) -> None:
    async with bench(tmp_path, speaking=False) as made:
        await made.api.client.create(SERVICEL2STATUSES, l2status.body("default/web0", "node2"), NS)
        name = l2status.object_name("default/web0", "node2")
        patch = l2status.status("default/web0", "node2", ())
        await made.api.client.merge_patch(SERVICEL2STATUSES, name, patch, NS, subresource="status")
        await made.api.fault(kind="status", status=404, path="/apis/strictarp.io/", count=1000)
        code, result = await made.run("move", "web0", "--to", "node2")
        assert (code, result["result"]) == (0, "unchanged")


async def test_an_api_that_forbids_it_is_named_and_has_a_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with bench(tmp_path, speaking=False) as made:
        await made.api.fault(kind="status", status=403, path="/api/v1/services", count=100)
        assert (await made.run("move", "web0", "--to", "node2"))[0] == 3
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "Traceback" not in error


async def test_names_are_completed_from_the_api(tmp_path: Path) -> None:
    from click.shell_completion import ShellComplete

    from strictarp.cli.main import program

    async with bench(tmp_path, speaking=False) as made:
        config = tmp_path / "config"
        config.write_text(kubeconfig(made.api.url))

        def complete(*arguments: str) -> list[str]:
            shell = ShellComplete(program, {}, "strictarp", "_STRICTARP_COMPLETE")
            *before, last = arguments
            return [each.value for each in shell.get_completions(list(before), last)]

        known = ["--kubeconfig", str(config)]
        nodes = await asyncio.to_thread(complete, "drain", *known, "node")
        assert nodes == list(NAMES)
        services = await asyncio.to_thread(complete, "move", *known, "default/web1")
        assert services == ["default/web1"]
        assert await asyncio.to_thread(complete, "drain", "--kubeconfig", "/none", "node") == []
        assert "rebalance" in await asyncio.to_thread(complete, "re")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_STRICTARP_COMPLETE" in capsys.readouterr().out

"""`strictarp guard` as people start it: what it says, its exit codes, its servers."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.lab import namespaces
from support.guarding import VIP, Node, node
from support.segment import needs_root

IGNORE = "net.ipv4.conf.all.arp_ignore"


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--once", "--metrics-bind-address", ":9474"], "cannot go with --once"),
        (["--metrics-bind-address", "9474"], "no address such as"),
        (["--metrics-bind-address", ":0"], "no address such as"),
        (["--json"], "--json goes with"),
        (["--scope", "some"], "not one of"),
    ],
)
def test_wrong_usage_is_refused(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guard", *argv]) == 64
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["--release", "--status"])
def test_without_a_journal_there_is_nothing_to_say(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["guard", mode, "--state", str(tmp_path / "none")]) == 3
    assert "no journal" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mode", ["--release", "--status", "--once"])
def test_a_foreign_journal_is_left_alone(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "guard.json").write_text('{"kind": "other"}')
    assert main(["guard", mode, "--state", str(tmp_path)]) == 1
    assert "error: journal" in capsys.readouterr().err
    assert (tmp_path / "guard.json").read_text() == '{"kind": "other"}'


@pytest.fixture
def made() -> Iterator[Node]:
    with node(VIP) as one:
        yield one


def command(made: Node, *argv: str) -> subprocess.CompletedProcess[str]:
    return namespaces.run(made.space, [sys.executable, "-m", "strictarp", "guard", *argv], check=False)


@needs_root
@pytest.mark.netns
def test_once_status_and_release(made: Node, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    done = command(made, "--once", *state)
    assert done.returncode == 0
    assert f"set: {IGNORE} 0 -> 1" in done.stderr or f"{IGNORE} 0 -> 1" in done.stderr
    assert "eth0: in force" in done.stdout
    told = json.loads(command(made, "--status", "--json", *state).stdout)
    assert (told["inForce"], told["process"], told["journalled"][IGNORE]) == (True, 0, 0)
    namespaces.run(made.space, ["sysctl", "-qw", f"{IGNORE}=3"])
    done = command(made, "--status", *state)
    assert done.returncode == 2
    assert f"{VIP} is answered: arp_ignore=3 in conf.all is effective" in done.stdout
    done = command(made, "--release", *state)
    assert done.returncode == 2
    assert f"left: {IGNORE}: somebody set it to 3 since (ours was 1, found was 0)" in done.stdout
    assert made.value("all", "arp_announce") == 0


@needs_root
@pytest.mark.netns
def test_the_daemon_serves_ends_without_releasing_and_says_so(made: Node, tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "strictarp",
        "guard",
        "--state",
        str(tmp_path / "lib"),
        "--host-root",
        str(tmp_path),
    ]
    with namespaces.entered(made.space), (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*argv, "--metrics-bind-address", "127.0.0.1:9474"], stderr=log)
    try:
        assert told(made, "healthz") == "ok"
        namespaces.run(made.space, ["sysctl", "-qw", f"{IGNORE}=0"])
        time.sleep(1.5)
        metrics = told(made, "metrics")
        assert f'strictarp_guard_drifts_total{{what="{IGNORE}"}} 1.0' in metrics
        assert 'strictarp_guard_in_force{interface="eth0"} 1.0' in metrics
        report = json.loads(told(made, "strictarp"))
        assert (report["inForce"], report["drifts"], report["lastDrift"]["was"]) == (True, 1, "0")
        held = command(made, "--release", "--state", str(tmp_path / "lib"))
        assert held.returncode == 1
        assert f"held by process {process.pid}" in held.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["level"] for line in lines].count("warning") == 1
    assert "--release` puts it back" in lines[-1]["msg"]
    assert made.value("all", "arp_ignore") == 1
    assert command(made, "--release", "--state", str(tmp_path / "lib")).returncode == 0
    assert made.value("all", "arp_ignore") == 0
    assert os.listdir(tmp_path / "lib") == ["guard.lock"]  # noqa: PTH208


def told(made: Node, path: str) -> str:
    with namespaces.entered(made.space):
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:9474/{path}", timeout=5) as answer:
                    return str(answer.read().decode())
            except OSError:
                time.sleep(0.1)
    raise AssertionError(f"/{path} is not served")


@needs_root
@pytest.mark.netns
def test_it_needs_cap_net_admin_and_no_other_capability(made: Node) -> None:
    """As a user of its own, with a journal folder of its own and CAP_NET_ADMIN alone."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's are closed to other users
        os.chown(folder, 65534, 65534)
        other = [
            "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
            "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin",
            sys.executable,
        ]  # fmt: skip
        if namespaces.run(made.space, [*other, "-c", "import strictarp"], check=False).returncode:
            pytest.skip("another user cannot start this interpreter, or read our sources")
        program = ["-m", "strictarp", "guard", "--state", folder, "--once"]
        for scope in ("all", "vips"):
            done = namespaces.run(made.space, [*other, *program, "--scope", scope], check=False)
            assert done.returncode == 0, done.stderr
            assert "eth0: in force" in done.stdout

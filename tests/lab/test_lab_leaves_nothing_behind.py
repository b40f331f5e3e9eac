import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]
PROGRAM = str(Path(sys.prefix, "bin", "strictarp"))


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "STRICTARP_LAB": str(folder / "lab")}


def lab(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "lab", *argv],
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def ours(folder: Path) -> list[int]:
    """Processes that carry this lab's folder in their environment."""
    marker = f"STRICTARP_LAB={folder / 'lab'}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_gone(folder: Path) -> None:
    end = time.monotonic() + 20
    while ours(folder):
        assert time.monotonic() < end, f"still running: {ours(folder)}"
        time.sleep(0.1)


def test_up_status_exec_apply_down(tmp_path: Path) -> None:
    try:
        up = lab(tmp_path, "up", "--proxy", "none", "--nodes", "2")
        assert up.returncode == 0, up.stderr
        second = lab(tmp_path, "up", "--proxy", "none")
        assert second.returncode == 1
        assert "running already" in second.stderr
        status = lab(tmp_path, "status", "--json")
        assert '"phase": "running"' in status.stdout
        assert '"arp_ignore": "1"' in status.stdout
        assert lab(tmp_path, "exec", "node1", "--", "sh", "-c", "echo here; exit 5").returncode == 5
        unknown = lab(tmp_path, "exec", "node7", "--", "true")
        assert (unknown.returncode, "no such host" in unknown.stderr) == (1, True)
        pool = tmp_path / "pool.yaml"
        pool.write_text(
            "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\n"
            "metadata: {name: play, namespace: metallb-system}\nspec: {addresses: [192.0.2.64/28]}\n"
        )
        applied = lab(tmp_path, "apply", "-f", str(pool))
        assert applied.stdout == "ipaddresspool/play created\n", applied.stderr
        nonsense = tmp_path / "nonsense.yaml"
        nonsense.write_text("apiVersion: v1\nkind: Unicorn\nmetadata: {name: x}\n")
        refused = lab(tmp_path, "apply", "-f", str(nonsense))
        assert (refused.returncode, "Unicorn" in refused.stderr) == (1, True)
    finally:
        assert lab(tmp_path, "down").returncode == 0
    wait_gone(tmp_path)
    assert not (tmp_path / "lab").exists()
    assert lab(tmp_path, "status").returncode == 1


def test_down_cleans_up_after_the_first_process_was_killed(tmp_path: Path) -> None:
    assert lab(tmp_path, "up", "--proxy", "none", "--nodes", "1").returncode == 0
    launch = (tmp_path / "lab" / "launch.json").read_text()
    os.kill(int(launch.split('"pid":')[1].split(",")[0]), signal.SIGKILL)
    wait_gone(tmp_path)
    assert lab(tmp_path, "down").returncode == 0
    assert not (tmp_path / "lab").exists()


def test_ctrl_c_while_starting_leaves_nothing_running(tmp_path: Path) -> None:
    with subprocess.Popen(
        # Shells have their background jobs ignore SIGINT, and so would all that these start.
        ["env", "--default-signal=INT", PROGRAM, "lab", "up", "--proxy", "none"],
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        end = time.monotonic() + 30
        while not (tmp_path / "lab" / "launch.json").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    wait_gone(tmp_path)


def test_a_caller_that_is_killed_takes_its_lab_with_it(tmp_path: Path) -> None:
    script = (
        "import time\nfrom strictarp.lab import host\nfrom strictarp.lab.cluster import Settings\n"
        "launch = host.start(Settings(nodes=1, proxy='none'), ephemeral=True, progress=print)\n"
        "remote = host.connect(launch)\nhost.wait_running(launch, remote, print)\n"
        "print('UP', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "UP":
                break
        process.kill()
        process.wait()
    wait_gone(tmp_path)

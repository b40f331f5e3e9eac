"""`make sim`: exit codes, and a trace that people can read."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

_TOOL = Path(__file__).resolve().parents[2] / "tools" / "simulate.py"


def _simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(_TOOL), *arguments], capture_output=True, text=True, check=False, timeout=100
    )


def test_a_range_of_seeds_ends_with_0_and_figures_when_every_promise_is_kept() -> None:
    done = _simulate("0:2", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 schedules in" in done.stdout
    assert "every promise kept" in done.stdout


def test_one_seed_is_printed_with_its_schedule_and_what_happened() -> None:
    lines = _simulate("3", "--kinds", "crash").stdout.splitlines()
    assert lines[0].startswith("seed 3: ")
    assert any(" crash " in line for line in lines[1:8])
    assert any("CLAIM of" in line for line in lines)
    assert any(" owns 203.0.113." in line for line in lines)


def test_fresh_seeds_are_told_so_that_they_can_be_run_again() -> None:
    done = _simulate("fresh:1", "--workers", "1")
    told, first, last = re.split("[ :]", done.stdout.splitlines()[0])
    assert told == "seeds"
    assert int(last) == int(first) + 1


def test_a_record_is_gone_on_with_and_only_by_the_same_code(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    assert _simulate("0:2", "--workers", "1", "--record", str(path)).returncode == 0
    (line,) = path.read_text().splitlines()
    assert line.startswith("0:2 ")
    assert line.endswith(" all ok")
    path.write_text(line.removesuffix("ok") + "1\n")  # as if seed 1 had failed: it is believed, not run again
    assert _simulate("0:2", "--workers", "1", "--record", str(path)).returncode == 1
    assert len(path.read_text().splitlines()) == 1
    path.write_text("0:2 0123456789ab all ok\n")
    assert _simulate("0:2", "--workers", "1", "--record", str(path)).returncode == 0
    assert path.read_text().splitlines() == ["0:2 0123456789ab all ok", line]


@pytest.mark.parametrize(
    "arguments",
    [["x"], ["5:5"], ["0:"], ["1", "--kinds", "earthquake"], ["0:1", "--record", "/nowhere/runs"]],
)
def test_bad_arguments_are_told_in_a_line(arguments: list[str]) -> None:
    done = _simulate(*arguments)
    assert done.returncode == 64
    assert len(done.stderr.splitlines()) == 1

"""`make sim`: exit codes, and a trace that people can read."""

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


@pytest.mark.parametrize("arguments", [["x"], ["5:5"], ["0:"], ["1", "--kinds", "earthquake"]])
def test_bad_arguments_are_told_in_a_line(arguments: list[str]) -> None:
    done = _simulate(*arguments)
    assert done.returncode == 64
    assert len(done.stderr.splitlines()) == 1

"""Scenarios on a whole lab: one that is shipped, and one of a user's own that expects what cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from strictarp.lab.judging import RunReport

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]
OWN = """
title: A speaker is restarted, and nobody may notice that the address moves
steps:
  - terminate: {process: speaker@owner, away: 1}
  - wait: 1
expect:
  answerers: 1
  moves: 0
told: [HandedOver, NeverSaid]
"""


def test_a_scenario_holds_or_not_by_what_the_wire_shows(tmp_path: Path) -> None:
    own, out = tmp_path / "no-move.yaml", tmp_path / "result.json"
    own.write_text(OWN)
    argv = [sys.executable, "-m", "strictarp", "lab", "run", "power-off", str(own), "--json", str(out)]
    done = subprocess.run(
        [*argv, "--proxy", "none", "--nodes", "3", "--season-ms", "3000"],
        env={**os.environ, "STRICTARP_LAB": str(tmp_path / "lab")},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 1, done.stderr
    report = msgspec.json.decode(out.read_bytes(), type=RunReport)
    shipped, mine = report.scenarios
    assert shipped.holds, done.stdout
    seen = shipped.repetitions[0]
    assert (seen.answerers, seen.moves) == (1, 1)
    assert 300 < seen.unanswered_ms <= 1000
    assert seen.questions > 100
    assert not mine.holds
    assert [(each.figure, each.holds) for each in mine.measures] == [("answerers", True), ("moves", False)]
    assert mine.repetitions[0].unanswered_ms < 300
    assert mine.problems == ("repetition 1: no speaker told NeverSaid",)
    assert not report.ok
    assert "no speaker told NeverSaid" in done.stdout


def test_a_mistake_in_a_file_is_told_before_a_lab_is_started(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(OWN.replace("- wait: 1", "- wait: long"))
    done = subprocess.run(
        [sys.executable, "-m", "strictarp", "lab", "run", str(own)],
        env={**os.environ, "STRICTARP_LAB": str(tmp_path / "lab")},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr == f"error: {own}: step 2, wait: seconds: Expected `float`, got `str`\n"
    assert not (tmp_path / "lab").exists()

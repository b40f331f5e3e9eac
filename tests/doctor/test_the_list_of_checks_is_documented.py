"""`doctor --list`, and the page that is made of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.doctor.registry import CHECKS

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "doctor_page.py"), "--check"]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_for_people_names_every_code(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--list"]) == 0
    out = capfd.readouterr().out
    assert [check.code for check in CHECKS if f"  {check.code}  {check.severity.value}" not in out] == []
    assert [check.why for check in CHECKS if check.why not in out] == []


def test_the_list_for_programs(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--list", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert [each["code"] for each in listed] == sorted(check.code for check in CHECKS)
    one = next(each for each in listed if each["code"] == "SA701")
    assert (one["area"], one["needs"], one["severity"]) == ("The wire", ["wire"], "error")


def test_the_list_of_some_codes(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--list", "sa101"]) == 0
    assert capfd.readouterr().out.startswith("strictARP in the configuration:\n  SA101  error")


def test_the_list_as_the_page_has_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--list", "--markdown"]) == 0
    assert capfd.readouterr().out.rstrip() in (ROOT / "docs" / "doctor.md").read_text()

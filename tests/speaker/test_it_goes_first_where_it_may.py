import os
import subprocess
import sys

import pytest

from strictarp.speaker import priority

PROGRAM = "import os; from strictarp.speaker.priority import go_first; print(go_first(), os.nice(0))"


def test_it_has_the_priority_that_it_says_it_has() -> None:
    """In a process of its own, so that this one keeps its place."""
    out = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert out.split() in (["True", str(priority.NICE)], ["False", str(os.nice(0))])


def test_without_the_right_to_it_everything_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    assert priority.go_first() is False

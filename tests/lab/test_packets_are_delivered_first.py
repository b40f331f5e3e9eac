"""The virtual machine's kernel threads for packets go before the five speakers that share it."""

import os
from pathlib import Path

import pytest

from strictarp.lab.supervisor import deliver_first


def test_only_the_threads_that_deliver_packets_are_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in ((14, "ksoftirqd/0"), (20, "ksoftirqd/1"), (21, "python"), (22, "gone")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n")
    (tmp_path / "22" / "comm").unlink()
    (tmp_path / "self").symlink_to("21")
    preferred: dict[int, int] = {}

    def note(which: int, who: int, priority: int) -> None:
        assert which == os.PRIO_PROCESS
        if who == 20:
            raise ProcessLookupError
        preferred[who] = priority

    monkeypatch.setattr(os, "setpriority", note)
    deliver_first(tmp_path)
    assert preferred == {14: -20}

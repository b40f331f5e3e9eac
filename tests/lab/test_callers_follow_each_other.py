"""The virtual machine's lab is reached by one caller at a time; whoever calls next must not be lost."""

import random
import time
from pathlib import Path

import pytest

from strictarp.lab import host
from strictarp.lab.cluster import Settings

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]
CALLS = 80


def test_all_are_answered_however_soon_they_call_after_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(host.STATE_VARIABLE, str(tmp_path / "lab"))
    pauses = random.Random(1)
    settings = Settings(nodes=1, proxy="none", isolation="vm", timing=host.VM_TIMING)
    launch = host.start(settings, ephemeral=False, progress=print)
    try:
        remote = host.connect(launch)
        host.wait_running(launch, remote, print)
        for _ in range(CALLS):
            remote.close()
            time.sleep(pauses.uniform(0, 0.4))
            remote = host.connect(launch)
            assert remote.status(limit=10)["phase"] == "running"
    finally:
        host.stop(launch)

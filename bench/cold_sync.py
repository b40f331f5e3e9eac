"""A daemon's first sync in the virtual machine, with the real ip_vs, against a replay of its own bytes.

The replay sends the same messages through bare sockets and gives the same texts to `nft -f`: what is left is
the kernel's own work. The ratio says what deciding and following costs on top. QEMU without KVM is many times
slower than a machine; only ratios carry over.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import _cluster
from strictarp.lab import vm

SERVICES = 5000
PAGE = 500
LIMIT = 600.0
_ROOT = Path(__file__).parent.parent


def run() -> Iterator[dict[str, object]]:
    """One line: seconds of each part, and the ratio; or one that says why there is none."""
    if shutil.which("qemu-system-x86_64") is None:
        print(
            "cold_sync: LEFT OUT: qemu-system-x86_64 is missing (Debian package qemu-system-x86)",
            file=sys.stderr,
        )
        yield {"figure": "cold sync", "left_out": "qemu-system-x86_64 is missing"}
        return
    with tempfile.TemporaryDirectory(prefix="strictarp-bench-") as name:
        folder = Path(name)
        shutil.copytree(_ROOT / "bench", folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
        _write_pages(folder)
        words = [
            "env",
            f"PYTHONPATH={vm.GUEST_CODE}:{folder}",
            sys.executable,
            "-m",
            "bench._guest_cold_sync",
        ]
        code = vm.run([*words, str(SERVICES), str(folder)], share=folder, limit=LIMIT, progress=_tell)
        printed = (folder / "guest.log").read_text(encoding="utf-8", errors="replace")
        if code != 0:
            raise RuntimeError(f"the guest ended with {code}:\n{printed}")
    found = json.loads(printed.splitlines()[-1])
    ours, bare = found["ours"], found["bare"]
    yield {
        "figure": f"cold sync of {SERVICES} Services in the virtual machine",
        "seconds": {name: round(value, 2) for name, value in ours.items()},
        "replay_seconds": {name: round(value, 2) for name, value in bare.items()},
        "messages": found["messages"],
        "ratio": round(ours["all"] / bare["all"], 2),
    }


def _write_pages(folder: Path) -> None:
    """The API's answers, made here since the guest is many times slower."""
    (folder / "nodes.0").write_bytes(_cluster.page([_cluster.node()]))
    for number, first in enumerate(range(0, SERVICES, PAGE)):
        numbers = range(first, min(first + PAGE, SERVICES))
        for kind, made in (("services", _cluster.service), ("endpointslices", _cluster.piece)):
            (folder / f"{kind}.{number:03d}").write_bytes(_cluster.page([made(each) for each in numbers]))


def _tell(text: str) -> None:
    print(f"cold_sync: {text}", file=sys.stderr)

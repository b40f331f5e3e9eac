"""Run every benchmark, or those named, and print a JSON line a figure: `python -m bench [NAME ...]`."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path


def main(names: list[str]) -> int:
    """Print the lines of all benchmarks named, of all without names. 64 for an unknown name."""
    known = sorted(
        found.name
        for found in pkgutil.iter_modules([str(Path(__file__).parent)])
        if not found.name.startswith("_")
    )
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 64
    for name in names or known:
        print(f"bench {name} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        for line in importlib.import_module(f"bench.{name}").run():
            print(json.dumps({"bench": name, **line}), flush=True)
        print(f"bench {name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

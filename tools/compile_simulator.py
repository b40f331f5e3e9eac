"""A copy of this tree whose machine and simulator are compiled by mypyc, for long runs: nearly twice as fast.

    python tools/compile_simulator.py /tmp/compiled
    nice -n 19 python /tmp/compiled/tools/simulate.py 0:100000 --record runs.txt

The same sources, and the same traces seed by seed; `--record` names both alike. Needs a C compiler and mypy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import simulation.run  # noqa: E402, F401 - loads what a run needs

_FOLDERS = ("src", "tests")
_PACKAGES = ("strictarp.speaker.", "strictarp.hello.", "simulation.")
_CANNOT = "msgspec.Struct"
"""A module that defines such a value stays as it is."""
_STAY = ("simulation.run", "simulation.trace")
"""They hand functions of others from one to the other, or are quick."""


def modules() -> list[Path]:
    """The files to compile: of what a run has loaded, what mypyc can compile; relative to the tree."""
    loaded = {
        name: Path(module.__file__)
        for name, module in sorted(sys.modules.items())
        if name.startswith(_PACKAGES) and module.__file__ and name not in _STAY
    }
    return [
        path.relative_to(ROOT) for path in loaded.values() if _CANNOT not in path.read_text(encoding="utf-8")
    ]


def compile_into(target: Path) -> int:
    """Copy the tree and compile the copy; mypyc puts each library beside its source, which it replaces."""
    for folder in (*_FOLDERS, "tools"):
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    paths = os.pathsep.join(str(target / folder) for folder in _FOLDERS)
    for folder in _FOLDERS:
        files = [str(path.relative_to(folder)) for path in modules() if path.parts[0] == folder]
        mypyc = [str(Path(sys.executable).with_name("mypyc")), "--follow-imports=silent", *files]
        done = subprocess.run(mypyc, cwd=target / folder, env=os.environ | {"MYPYPATH": paths}, check=False)
        if done.returncode:
            return done.returncode
        shutil.rmtree(target / folder / "build", ignore_errors=True)
    return 0


def main(argv: list[str]) -> int:
    """The command line."""
    if len(argv) != 1 or argv[0].startswith("-") or Path(argv[0]).exists():
        print(f"give one folder that is not there yet{': ' + argv[0] if argv else ''}", file=sys.stderr)
        return 64
    return compile_into(Path(argv[0]).resolve())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

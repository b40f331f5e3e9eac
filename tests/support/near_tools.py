"""Programs that tests start again and again, brought near: the VM reads each page from a file server."""

import os
import re
import shutil
import subprocess
from pathlib import Path

FOLDER = Path("/run/strictarp-tools")


def bring_near(*names: str) -> None:
    """Inside the VM, copy programs with their libraries into its memory, and prefer them."""
    if not _on_a_file_server() or FOLDER.exists():
        return
    programs, libraries = FOLDER / "bin", FOLDER / "lib"
    for folder in (programs, libraries):
        folder.mkdir(parents=True)
    for name in names:
        found = shutil.which(name)
        if found is None:
            continue
        shutil.copy(found, programs)
        needed = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"=> (/\S+)", needed):
            shutil.copy(path, libraries)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    os.environ["LD_LIBRARY_PATH"] = str(libraries)


def _on_a_file_server() -> bool:
    mounts = Path("/proc/mounts").read_text().splitlines()
    return any(line.split()[1:3] == ["/", "9p"] for line in mounts)

import subprocess
import sys
import tarfile
from pathlib import Path

from strictarp.lab.bundle import pack

PROGRAM = """
import sys
from strictarp.lab import preload
preload.load()
for name in ("strictarp", "aiohttp", "msgspec", "yaml", "click", "prometheus_client"):
    print(sys.modules[name].__file__)
"""


def test_all_that_is_forked_is_imported_from_the_bundle_alone(tmp_path: Path) -> None:
    pack(tmp_path / "bundle.tar")
    code = tmp_path / "code"
    with tarfile.open(tmp_path / "bundle.tar") as bundle:
        bundle.extractall(code, filter="data")
    # -S: without site-packages nothing but the bundle and the standard library is there.
    argv = [sys.executable, "-S", "-c", PROGRAM]
    done = subprocess.run(
        argv, env={"PYTHONPATH": str(code)}, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = done.stdout.split()
    assert len(files) == 6
    assert all(Path(file).is_relative_to(code) for file in files)

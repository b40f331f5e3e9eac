"""What a node carries for each daemon: no tool's libraries, and not more memory than was agreed."""

import subprocess
import sys

import pytest

HEAVY = ("rich", "ruamel", "pyroute2", "hypothesis", "pytest")
MEBIBYTES = 45
# VmHWM is of this image alone; getrusage's figure would include what the test's own process had before exec.
PROGRAM = """
import importlib, pathlib, re, sys
importlib.import_module(sys.argv[1])
print([name for name in sys.argv[2:] if name in sys.modules])
print(int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text()).group(1)) // 1024)
"""


@pytest.mark.parametrize("daemon", ["speaker", "proxy", "controller", "guard"])
def test_a_daemon_loads_no_tools_library_and_little_memory(daemon: str) -> None:
    argv = [sys.executable, "-c", PROGRAM, f"strictarp.{daemon}.daemon", *HEAVY]
    heavy, mebibytes = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    assert heavy == "[]"
    assert int(mebibytes) <= MEBIBYTES

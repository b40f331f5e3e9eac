"""Runs the tests tier by tier and says what each tier did. Exit 0 only if every tier passed.

pure:  no kernel; netns: root (or user namespaces) and the running kernel; vm: inside the virtual machine with
real ip_vs and dummy; lab: whole clusters, in namespaces or the virtual machine. A tier that cannot run is
told loudly and, where CI is set, counts as a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from strictarp.errors import UserError
from strictarp.lab import vm

ROOT = Path(__file__).resolve().parent.parent
VM_LIMIT = 1800.0
TIERS = ("pure", "netns", "vm", "lab")


class Outcome(NamedTuple):
    """What one tier did."""

    tier: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""
    reasons: tuple[str, ...] = ()


def read_results(tier: str, path: Path, code: int, seconds: float) -> Outcome:
    """The counts in pytest's JUnit file. A run without results, or without tests, has failed."""
    if not path.exists():
        return Outcome(tier, failed=1, seconds=seconds, note=f"pytest ended with {code} and left no results")
    suite = ET.parse(path).getroot().find("testsuite")  # noqa: S314 - our own file
    if suite is None:
        return Outcome(tier, failed=1, seconds=seconds, note="no results in pytest's file")
    count = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    if code != 0 and failed == 0:
        return Outcome(tier, failed=1, seconds=seconds, note=f"pytest ended with {code}")
    reasons = tuple(
        f"{case.get('classname')}.{case.get('name')}: {skip.get('message')}"
        for case in suite.iter("testcase")
        for skip in case.iter("skipped")
    )
    passed = count["tests"] - failed - count["skipped"]
    return Outcome(tier, passed, failed, count["skipped"], seconds, reasons=reasons)


def pytest_argv(marker: str, results: Path, *extra: str) -> list[str]:
    """The command line of one tier."""
    return [sys.executable, "-m", "pytest", "-q", "-m", marker, f"--junitxml={results}", *extra]


def run_here(tier: str, argv: list[str], results: Path) -> Outcome:
    """Run a tier on this machine."""
    began = time.monotonic()
    code = subprocess.run(argv, check=False, cwd=ROOT).returncode
    return read_results(tier, results, code, time.monotonic() - began)


def pure(folder: Path) -> Outcome:
    """No kernel."""
    results = folder / "pure.xml"
    # Whoever has nothing left takes from the other: the longest tests stand together at the end.
    workers = ("-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal")
    return run_here("pure", pytest_argv("not netns and not vm and not lab", results, *workers), results)


def netns(folder: Path) -> Outcome:
    """Namespaces of the running kernel; without root, in a user namespace."""
    prefix = ["unshare", "--net", "--mount"]
    if os.geteuid() != 0:
        prefix += ["--user", "--map-root-user"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        return Outcome("netns", skipped=1, note="network namespaces may not be used here")
    results = folder / "netns.xml"
    # They wait more than they compute, and each file makes namespaces of its own.
    workers = ("-n", "2", "--dist", "loadfile")
    return run_here("netns", [*prefix, *pytest_argv("netns", results, *workers)], results)


def vm_test_files() -> list[str]:
    """The files that have tests for the guest: importing all the others there would take half a minute."""
    found = [str(path) for path in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.vm" in path.read_text()]
    return found or [str(ROOT / "tests")]


def in_vm(folder: Path) -> Outcome:
    """Inside the virtual machine."""
    if shutil.which("qemu-system-x86_64") is None:
        return Outcome("vm", skipped=1, note="qemu-system-x86_64 is missing")
    results = folder / "vm.xml"
    argv = pytest_argv(
        "vm", results, "-p", "no:cacheprovider", f"--rootdir={ROOT}", "-c", f"{ROOT}/pyproject.toml"
    )
    # What tests are to repeat or to do at length is said by variables of ours; the guest has none of its own.
    ours = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("STRICTARP_")]
    began = time.monotonic()
    try:
        code = vm.run(["env", *ours, *argv, *vm_test_files()], share=folder, limit=VM_LIMIT, progress=print)
    except UserError as error:
        return Outcome("vm", failed=1, seconds=time.monotonic() - began, note=str(error))
    finally:
        log = folder / "guest.log"
        if log.exists():
            print(log.read_text(encoding="utf-8", errors="replace"))
    return read_results("vm", results, code, time.monotonic() - began)


def lab(folder: Path) -> Outcome:
    """Whole clusters."""
    results = folder / "lab.xml"
    return run_here("lab", pytest_argv("lab", results), results)


RUNNERS: dict[str, Callable[[Path], Outcome]] = {"pure": pure, "netns": netns, "vm": in_vm, "lab": lab}


def report(outcomes: list[Outcome], *, in_ci: bool) -> int:
    """Print what every tier did; returns the exit code."""
    print("\ntier     passed failed skipped  seconds")
    for each in outcomes:
        print(
            f"{each.tier:8} {each.passed:6} {each.failed:6} {each.skipped:7} {each.seconds:8.0f}  {each.note}"
        )
    for each in outcomes:
        for reason in each.reasons:
            print(f"SKIPPED in {each.tier}: {reason}")
        if each.skipped and not each.reasons:
            print(f"SKIPPED: the whole tier {each.tier}: {each.note}")
    passed, failed, skipped = (sum(each[i] for each in outcomes) for i in (1, 2, 3))
    empty = [each.tier for each in outcomes if each.passed == 0]
    if empty:
        print(f"no test passed in: {', '.join(empty)}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or (in_ci and (skipped or empty)) else 0


def main(wanted: list[str]) -> int:
    """Run the tiers named, or all."""
    unknown = [tier for tier in wanted if tier not in RUNNERS]
    if unknown:
        print(f"no such tier: {', '.join(unknown)}; there are {', '.join(TIERS)}", file=sys.stderr)
        return 64
    with tempfile.TemporaryDirectory(prefix="strictarp-tests-") as name:
        outcomes = [RUNNERS[tier](Path(name)) for tier in (wanted or TIERS)]
    return report(outcomes, in_ci=bool(os.environ.get("CI")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The host's side of a lab: choose the isolation, start the lab's first process, find it again, end it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from strictarp.errors import UserError
from strictarp.lab import supervisor, vm
from strictarp.lab.channel import MAX_LINE
from strictarp.lab.cluster import Settings, Timing
from strictarp.lab.remote import Remote

Isolation = Literal["netns", "vm"]
Progress = Callable[[str], None]

STATE_VARIABLE = "STRICTARP_LAB"
GUEST_STATE = "/run/strictarp-lab"
START_LIMIT = 180.0
CONNECT_LIMIT = 90.0
END_LIMIT = 15.0
# An emulated CPU is nine times slower and shared by everything in the lab.
VM_TIMING = Timing(hello_ms=200, claim_ms=220, late_ms=110)

_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_AS_ROOT = ("--user", "--map-root-user")


class Launch(msgspec.Struct, frozen=True):
    """What is remembered of a started lab: its leading process and how to reach it."""

    pid: int
    started: int
    control: str
    isolation: Isolation


def state_folder() -> Path:
    """The folder of this user's lab; one lab a folder. STRICTARP_LAB names another."""
    named = os.environ.get(STATE_VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir(), f"strictarp-lab-{os.geteuid()}")


def _start_time(pid: int) -> int | None:
    """Start of a process in clock ticks after boot (proc(5), stat field 22), or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def _unshare() -> tuple[str, ...]:
    return _UNSHARE if os.geteuid() == 0 else (*_UNSHARE, *_AS_ROOT)


def _works(argv: Sequence[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def choose_isolation(wanted: str, proxy: str) -> tuple[Isolation, str]:
    """Which isolation to use and why. Raises UserError when the wanted one cannot be had."""
    if wanted == "vm":
        return "vm", "asked for"
    if not _works([*_unshare(), "true"]):
        why = "network namespaces may not be used here"
    elif proxy == "none":
        return "netns", "a lab without IPVS runs on any kernel"
    else:
        if os.geteuid() == 0:
            _works(["modprobe", "-a", "ip_vs", "dummy"])
        check = "ip link add strictarp0 type dummy && test -e /proc/net/ip_vs"
        if _works([*_unshare(), "sh", "-c", check]):
            return "netns", "the running kernel has ip_vs and dummy"
        why = "the running kernel has no ip_vs or dummy"
    if wanted == "netns":
        raise UserError(f"--isolation netns: {why}; use --isolation vm")
    return "vm", why


def running() -> Launch | None:
    """The lab of this user, or None."""
    try:
        launch = msgspec.json.decode((state_folder() / "launch.json").read_bytes(), type=Launch)
    except (OSError, msgspec.MsgspecError):
        return None
    return launch if _start_time(launch.pid) == launch.started else None


def _claim_folder() -> Path:
    """An empty state folder that is ours alone."""
    folder = state_folder()
    if running() is not None:
        raise UserError("a lab is running already; end it with `strictarp lab down`")
    clean_up()
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; set {STATE_VARIABLE} to another folder") from error
    return folder


def start(settings: Settings, *, ephemeral: bool, progress: Progress) -> Launch:
    """Start a lab's first process in the isolation that `settings` name; returns at once."""
    folder = _claim_folder()
    in_vm = settings.isolation == "vm"
    options = supervisor.Options(
        settings=settings,
        state=GUEST_STATE if in_vm else str(folder),
        ephemeral=ephemeral,
        logs_to=str(folder / "logs") if in_vm else "",
    )
    options_file = folder / "options.json"
    options_file.write_bytes(msgspec.json.encode(options))
    inner = [sys.executable, "-m", "strictarp", "lab", "supervise", str(options_file)]
    control = folder / supervisor.SOCKET_NAME
    if in_vm:
        kernel = vm.ensure_kernel(progress)
        vm.compile_sources()
        script = folder / "guest.sh"
        files = {"log": folder / "guest.log", "code": folder / "exit-code"}
        vm.write_script(script, inner, **files, modules_first=False)
        argv = vm.command(kernel, script, share=folder, control=control)
    else:
        argv = [*_unshare(), *inner]
    with (folder / "console.log").open("wb") as out:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=vm.environment(),
        )
    launch = Launch(
        pid=process.pid,
        started=_start_time(process.pid) or 0,
        control=str(control),
        isolation="vm" if in_vm else "netns",
    )
    (folder / "launch.json").write_bytes(msgspec.json.encode(launch))
    return launch


def connect(launch: Launch, limit: float = CONNECT_LIMIT) -> Remote:
    """Reach a lab's control; waits while it boots. Raises UserError when it ended or does not answer."""
    end = time.monotonic() + limit
    while True:
        try:
            return Remote(launch.control, MAX_LINE)
        except OSError:
            if _start_time(launch.pid) != launch.started:
                raise UserError(f"the lab ended while starting; see {state_folder()}") from None
            if time.monotonic() > end:
                raise UserError(f"the lab does not answer; see {state_folder()}") from None
            time.sleep(0.1)


def wait_running(launch: Launch, remote: Remote, progress: Progress) -> dict[str, object]:
    """Follow a lab's start until it runs; returns its status. Raises UserError when it fails."""
    end = time.monotonic() + START_LIMIT
    shown = ""
    while time.monotonic() < end:
        status = remote.status(limit=max(1.0, end - time.monotonic()))
        phase = str(status.get("phase"))
        if phase != shown:
            progress(phase)
            shown = phase
        if phase == "running":
            return status
        if phase.startswith("failed"):
            raise UserError(f"the lab cannot start: {phase}; its logs are in {state_folder()}")
        if _start_time(launch.pid) != launch.started:
            break
        time.sleep(0.3)
    raise UserError(f"the lab does not come up; see {state_folder()}")


def require() -> Launch:
    """The running lab; raises UserError without one."""
    launch = running()
    if launch is None:
        raise UserError("no lab is running; start one with `strictarp lab up`")
    return launch


def stop(launch: Launch) -> None:
    """End a lab: asked first, then by force. Everything in it ends with its first process."""
    with contextlib.suppress(UserError, OSError):
        connect(launch, limit=2).request_end(limit=5)
    end = time.monotonic() + END_LIMIT
    while _start_time(launch.pid) == launch.started and time.monotonic() < end:
        _reap(launch.pid)
        time.sleep(0.1)
    if _start_time(launch.pid) == launch.started:
        vm.end_group(launch.pid)
        _reap(launch.pid)


def _reap(pid: int) -> None:
    """Collect the process if it is our child, so that it does not linger as a zombie."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def clean_up() -> None:
    """Remove the state folder of a lab that has ended."""
    folder = state_folder()
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.geteuid()):
        raise UserError(f"{folder} is not ours; set {STATE_VARIABLE} to another folder")
    shutil.rmtree(folder, ignore_errors=True)

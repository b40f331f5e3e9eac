import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from strictarp.lab import namespaces, zygote
from strictarp.lab.processes import Processes

pytestmark = pytest.mark.netns
Scenario = Callable[[Processes], Awaitable[None]]


def program(argv: Sequence[str]) -> int:
    """Stands for strictarp's command line."""
    if argv[0] == "say":
        print(argv[1])
        sys.stderr.write("aside\n")
        return 7
    if argv[0] == "links":
        print(",".join(name for _, name in socket.if_nameindex()))
        return 0
    if argv[0] == "crash":
        raise ValueError("planted")
    time.sleep(60)
    return 0


def in_supervisor(scenario: Scenario) -> int:
    """Run a scenario where the supervisor runs, under a zygote of its own; returns the zygote's exit code."""

    async def run(channel: socket.socket) -> None:
        await scenario(Processes(channel))

    def supervise(channel: socket.socket) -> int:
        asyncio.run(run(channel))
        return 0

    pid = os.fork()
    if pid == 0:
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # pytest has put its own there
        os._exit(zygote.serve(program, supervise, lambda: None))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_a_program_says_and_how_it_ends_comes_back() -> None:
    async def scenario(processes: Processes) -> None:
        here = namespaces.current()
        assert await processes.run(here, ["strictarp", "say", "hello"]) == (7, "hello\n", "aside\n")
        assert await processes.run(here, ["echo", "external"]) == (0, "external\n", "")
        code, _, err = await processes.run(here, ["no-such-program"])
        assert (code, err) == (zygote.CANNOT_RUN, "no-such-program: No such file or directory\n")

    assert in_supervisor(scenario) == 0


def test_a_program_runs_in_the_namespace_it_was_put_in() -> None:
    async def scenario(processes: Processes) -> None:
        space = namespaces.create("one")
        namespaces.ip(space, "link add here type veth peer name there")
        _, out, _ = await processes.run(space, ["strictarp", "links"])
        assert set(out.strip().split(",")) >= {"lo", "here", "there"}
        _, out, _ = await processes.run(namespaces.create("two"), ["strictarp", "links"])
        assert "here" not in out

    assert in_supervisor(scenario) == 0


def test_a_program_that_crashes_leaves_a_traceback_in_its_log_and_nothing_else_dies(tmp_path: Path) -> None:
    async def scenario(processes: Processes) -> None:
        log = tmp_path / "log"
        process = await processes.start_logged(namespaces.current(), ["strictarp", "crash"], log)
        assert await process.ended == 70
        assert "ValueError: planted" in log.read_text()
        assert (await processes.run(namespaces.current(), ["true"]))[0] == 0

    assert in_supervisor(scenario) == 0


def test_kill_nine_ends_a_program_and_is_reported_as_that_signal(tmp_path: Path) -> None:
    async def scenario(processes: Processes) -> None:
        process = await processes.start_logged(namespaces.current(), ["strictarp", "sleep"], tmp_path / "log")
        process.signal(signal.SIGKILL)
        assert await process.ended == -signal.SIGKILL
        assert not process.running
        process.signal(signal.SIGKILL)  # nobody is there any more: nothing happens

    assert in_supervisor(scenario) == 0


def test_many_programs_at_once_all_end_and_leave_no_zombie(tmp_path: Path) -> None:
    async def scenario(processes: Processes) -> None:
        here = namespaces.current()
        results = await asyncio.gather(
            *(processes.run(here, ["strictarp", "say", str(number)]) for number in range(30))
        )
        assert sorted(int(out) for _, out, _ in results) == list(range(30))
        sleepers = [
            await processes.start_logged(here, ["strictarp", "sleep"], tmp_path / "log") for _ in range(5)
        ]
        await processes.end_all()
        assert [process.ended.result() for process in sleepers] == [-signal.SIGKILL] * 5
        assert not any(os.path.exists(f"/proc/{process.pid}") for process in sleepers)  # noqa: ASYNC240, PTH110

    assert in_supervisor(scenario) == 0

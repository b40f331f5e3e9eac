"""Programs in forked children of the test's process: no interpreter is started, which is slow in the VM."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace


class Child:
    """`work` in a child inside a namespace, its output in a file. It dies with `kill`."""

    def __init__(self, space: Namespace, work: Callable[[], object], log: str) -> None:
        self.log = log
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(space, work)

    def _run(self, space: Namespace, work: Callable[[], object]) -> None:
        code = 1
        try:
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            namespaces.enter(space)
            done = work()
            code = done if isinstance(done, int) else 0
        finally:
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it with a signal; its exit code, negative for a signal."""
        if self.pid <= 0:
            return 0
        os.kill(self.pid, number)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


def until(check: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `check` gives something true; errors of the network count as not yet."""
    limit = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except OSError:
            pass
        if time.monotonic() > limit:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)

"""The supervisor's side of the zygote: start, end and wait for the lab's processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from strictarp.lab import zygote
from strictarp.lab.namespaces import Namespace


class Process:
    """One process of the lab. `ended` holds its exit code: minus the signal if a signal ended it."""

    def __init__(self, argv: Sequence[str], pid: int) -> None:
        self.argv = tuple(argv)
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self.ended.done()

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, grace: float) -> int:
        """SIGTERM, then SIGKILL after `grace` seconds; returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(asyncio.shield(self.ended), grace)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.ended


class Processes:
    """Asks the zygote for processes and follows them until they end."""

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._last_id = 0
        self._starting: dict[int, tuple[tuple[str, ...], asyncio.Future[Process]]] = {}
        self._running: dict[int, Process] = {}
        asyncio.get_running_loop().add_reader(channel, self._on_notice)

    def _on_notice(self) -> None:
        while True:
            try:
                data = self._channel.recv(zygote.MAX_MESSAGE)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self._channel)
                return
            notice = zygote.decode_notice(data)
            if isinstance(notice, zygote.Started):
                argv, waiting = self._starting.pop(notice.id)
                self._running[notice.pid] = started = Process(argv, notice.pid)
                waiting.set_result(started)
            elif process := self._running.pop(notice.pid, None):  # else: an orphan that the zygote inherited
                process.ended.set_result(notice.code)

    async def start(self, namespace: Namespace, argv: Sequence[str], out: int, err: int) -> Process:
        """Start a program in a namespace with the given descriptors; they may be closed afterwards."""
        self._last_id += 1
        request = zygote.Spawn(self._last_id, tuple(argv))
        waiting: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._starting[request.id] = (request.argv, waiting)
        socket.send_fds(self._channel, [zygote.encode(request)], [namespace.fd, out, err])
        return await waiting

    async def start_logged(self, namespace: Namespace, argv: Sequence[str], log: Path) -> Process:
        """Start a program whose output is appended to a file."""
        with log.open("ab") as file:
            return await self.start(namespace, argv, file.fileno(), file.fileno())

    async def run(self, namespace: Namespace, argv: Sequence[str]) -> tuple[int, str, str]:
        """Run a program to its end; returns exit code, standard output and standard error."""
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        process = await self.start(namespace, argv, out_write, err_write)
        os.close(out_write)
        os.close(err_write)
        out, err = await asyncio.gather(read_all(out_read), read_all(err_read))
        return await process.ended, out.decode(errors="replace"), err.decode(errors="replace")

    async def end_all(self) -> None:
        """Kill whatever still runs and wait for it."""
        for process in list(self._running.values()):
            process.signal(signal.SIGKILL)
        while self._running:
            await asyncio.wait([process.ended for process in self._running.values()], timeout=1)


async def pipe_reader(fd: int) -> asyncio.StreamReader:
    """A stream over the reading end of a pipe, which it closes at the end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    return reader


async def read_all(fd: int) -> bytes:
    """Everything that comes out of a pipe until its writers are gone."""
    return await (await pipe_reader(fd)).read()

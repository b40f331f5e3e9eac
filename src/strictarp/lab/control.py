"""The supervisor's control: carries out what the `lab` commands ask for."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from strictarp.errors import UserError
from strictarp.lab import channel, playing, scenario
from strictarp.lab.channel import Parameters, Reply, Request
from strictarp.lab.cluster import Cluster
from strictarp.lab.processes import Process, pipe_reader
from strictarp.lab.story import play

log = logging.getLogger(__name__)

Send = Callable[[Reply], None]
Operation = Callable[["Control", Request, Send], Awaitable[object]]
READ_SIZE = 32 * 1024
FINISH_GRACE = 20.0
CALL_INTERVAL = 0.1
"""Seconds between two looks for a caller: nothing tells of one."""


class Control:
    """Answers requests about one cluster. `ended` is set when the lab is to end.

    A lab that belongs to one caller (`ephemeral`) ends when that caller hangs up, however he ended.
    """

    def __init__(self, cluster: Cluster, *, ephemeral: bool = False) -> None:
        self.cluster = cluster
        self.ended = asyncio.Event()
        self.measuring: dict[str, Process] = {}
        self._ephemeral = ephemeral

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests until it is closed; what then still runs for it is given up."""

        def send(reply: Reply) -> None:
            writer.write(channel.encode(reply))

        running: set[asyncio.Task[None]] = set()
        heard = False
        while line := await _line(reader):
            heard = True
            request = channel.decode_request(line)
            if request is not None:
                task = asyncio.create_task(self._answer(request, send))
                running.add(task)
                task.add_done_callback(running.discard)
        for task in running:
            task.cancel()
        if heard and self._ephemeral:
            self.ended.set()
        writer.close()

    async def _answer(self, request: Request, send: Send) -> None:
        operation = OPERATIONS.get(request.op)
        try:
            if operation is None:
                raise UserError(f"{request.op}: no such operation")
            result = await operation(self, request, send)
            send(Reply(request.id, result=msgspec.to_builtins(result), done=True))
        except UserError as error:
            send(Reply(request.id, error=str(error), code=error.exit_code, done=True))
        except Exception as error:  # whoever asked would wait for ever
            log.exception("operation failed", extra={"fields": {"op": request.op}})
            send(Reply(request.id, error=f"{request.op}: {error}", code=1, done=True))


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line; nothing at the end, also when the connection broke or the line was endless."""
    try:
        return await reader.readline()
    except (ConnectionError, ValueError):
        return b""


def _text(params: Parameters, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise UserError(f"{name}: a text is needed")
    return value


def _words(params: Parameters) -> list[str]:
    argv = params.get("argv")
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise UserError("argv: a command is needed")
    return argv


async def _status(control: Control, _request: Request, _send: Send) -> object:
    return control.cluster.status()


async def _exec(control: Control, request: Request, send: Send) -> object:
    argv = _words(request.params)
    space = control.cluster.space(_text(request.params, "host"))
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    process = await control.cluster.processes.start(space, argv, out_write, err_write)
    os.close(out_write)
    os.close(err_write)

    async def forward(fd: int, make: Callable[[str], Reply]) -> None:
        reader = await pipe_reader(fd)
        while data := await reader.read(READ_SIZE):
            send(make(channel.pack(data)))

    try:
        await asyncio.gather(
            forward(out_read, lambda text: Reply(request.id, out=text)),
            forward(err_read, lambda text: Reply(request.id, err=text)),
        )
        return await asyncio.shield(process.ended)
    finally:
        process.signal(signal.SIGKILL)


async def _apply(control: Control, request: Request, _send: Send) -> object:
    documents = request.params.get("documents")
    if not isinstance(documents, list) or not all(isinstance(each, dict) for each in documents):
        raise UserError("documents: a list of objects is needed")
    return await control.cluster.apply(documents)


async def _demo(control: Control, request: Request, send: Send) -> object:
    return await play(
        control.cluster,
        lambda text: send(Reply(request.id, progress=text)),
        lambda step: send(Reply(request.id, event=msgspec.to_builtins(step))),
    )


async def _run(control: Control, request: Request, send: Send) -> object:
    """Play scenarios, given as files would hold them, with their names."""
    documents, times = request.params.get("scenarios"), request.params.get("times")
    if not isinstance(documents, dict) or not isinstance(times, int):
        raise UserError("scenarios, times: a mapping and a number are needed")
    return await playing.run(
        control.cluster,
        [scenario.parse(name, name, document) for name, document in documents.items()],
        times=times,
        progress=lambda text: send(Reply(request.id, progress=text)),
        on_result=lambda result: send(Reply(request.id, event=msgspec.to_builtins(result))),
    )


async def _power(control: Control, request: Request, _send: Send) -> object:
    host = _text(request.params, "host")
    if request.params.get("on"):
        await control.cluster.power_on(host)
    else:
        await control.cluster.power_off(host)
    return None


async def _kill(control: Control, request: Request, _send: Send) -> object:
    away = request.params.get("away", 0.0)
    if not isinstance(away, int | float) or away < 0:
        raise UserError("away: a number of seconds is needed")
    control.cluster.kill(_text(request.params, "process"), away=away)
    return None


async def _start(control: Control, request: Request, _send: Send) -> object:
    """Start a program that outlives the call, such as a measurement; `finish` ends it by its name."""
    name = _text(request.params, "name")
    if name in control.measuring:
        raise UserError(f"{name}: runs already")
    argv = _words(request.params)
    control.measuring[name] = await control.cluster.start_on(_text(request.params, "host"), name, *argv)
    return None


async def _finish(control: Control, request: Request, _send: Send) -> object:
    name = _text(request.params, "name")
    process = control.measuring.pop(name, None)
    if process is None:
        raise UserError(f"{name}: was not started")
    return await process.stop(FINISH_GRACE)


async def _down(control: Control, _request: Request, _send: Send) -> object:
    control.ended.set()
    return None


OPERATIONS: dict[str, Operation] = {
    "apply": _apply,
    "demo": _demo,
    "down": _down,
    "exec": _exec,
    "finish": _finish,
    "kill": _kill,
    "power": _power,
    "run": _run,
    "start": _start,
    "status": _status,
}


async def listen_on_socket(control: Control, path: Path) -> None:
    """Serve a Unix socket."""
    server = await asyncio.start_unix_server(control.serve, path, limit=channel.MAX_LINE)
    await server.start_serving()


async def serve_port(control: Control, device: Path) -> None:
    """Serve a virtio port: one caller at a time; after it hangs up, the next.

    The port stays open in between: the kernel throws away what has come to a port that is closed, and with it
    the request of who called in that moment.
    """
    loop = asyncio.get_running_loop()
    port = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        while True:
            await _called(port)
            reader = asyncio.StreamReader(limit=channel.MAX_LINE)
            sending, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(os.dup(port), "wb", buffering=0)
            )
            receiving, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader),  # noqa: B023
                os.fdopen(os.dup(port), "rb", buffering=0),
            )
            await control.serve(reader, asyncio.StreamWriter(sending, protocol, reader, loop))
            receiving.close()
    finally:
        os.close(port)


async def _called(port: int) -> None:
    """Wait until somebody has the host's end of a virtio port open: until then it is hung up.

    The event loop's selector cannot be asked: a port that is hung up would wake it without end.
    """
    look = select.poll()
    look.register(port, select.POLLIN)
    while any(flags & select.POLLHUP for _, flags in look.poll(0)):  # noqa: ASYNC110 - see above
        await asyncio.sleep(CALL_INTERVAL)

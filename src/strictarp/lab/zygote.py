"""The lab's first process: imports everything once and forks what the lab runs.

A fresh interpreter with asyncio takes seconds on an emulated CPU, a fork milliseconds. This process stays
single-threaded and does nothing but fork, wait for its children and say how they ended. It ends when the
supervisor does, and with it (it is the first process of its PID namespace, or of the virtual machine)
everything that it started.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence

import msgspec

from strictarp.lab.namespaces import Namespace, enter

Program = Callable[[Sequence[str]], int]
"""Runs one strictarp command line and returns its exit code."""

MAX_MESSAGE = 64 * 1024
CANNOT_RUN = 127


class Spawn(msgspec.Struct, frozen=True, tag="spawn"):
    """Start a program. Comes with three descriptors: network namespace, standard output, standard error."""

    id: int
    argv: tuple[str, ...]


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The program asked for by `id` runs as `pid`."""

    id: int
    pid: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A child ended; `code` is its exit status, or minus the signal that ended it."""

    pid: int
    code: int


_decode_request = msgspec.json.Decoder(Spawn).decode
decode_notice = msgspec.json.Decoder(Started | Ended).decode
encode = msgspec.json.encode


def _run_child(argv: Sequence[str], fds: Sequence[int], program: Program) -> int:
    """In the child: take the place asked for and run. Returns the exit code."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    namespace, out, err = fds
    enter(Namespace("child", namespace))
    with open(os.devnull, "rb") as null:  # noqa: PTH123 - a descriptor is wanted, not a path
        os.dup2(null.fileno(), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for fd in fds:
        os.close(fd)
    if argv[0] == "strictarp":
        return program(argv[1:])
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - that is its job
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
    return CANNOT_RUN


def _spawn(request: Spawn, fds: Sequence[int], program: Program, inherited: Sequence[socket.socket]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        for end in inherited:
            end.close()
        gc.enable()
        code = _run_child(request.argv, fds, program)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - a child must never return into the parent's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap() -> list[Ended]:
    ended: list[Ended] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append(Ended(pid, os.waitstatus_to_exitcode(status)))


def serve(program: Program, supervise: Callable[[socket.socket], int], load: Callable[[], None]) -> int:
    """Fork the supervisor, then fork what it asks for until it ends; returns its exit code.

    `supervise` gets its end of the channel on which it sends `Spawn` and receives `Started` and `Ended`.
    `load` makes what the forked need while the supervisor builds the network; requests wait for it.
    """
    sys.stdout.flush()  # else every child would print what is still buffered
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    supervisor = os.fork()
    if supervisor == 0:
        for end in (ours, wake_read, wake_write):
            end.close()
        gc.enable()
        code = 70
        try:
            code = supervise(theirs)
        except BaseException:  # noqa: BLE001 - as above
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    theirs.close()
    load()
    gc.freeze()
    gc.disable()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    inherited = (ours, wake_read, wake_write)
    with selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake_read:
                    wake_read.recv(4096)
                    for ended in _reap():
                        if ended.pid == supervisor:
                            return ended.code
                        _tell(ours, ended)
                elif not _serve_request(ours, program, inherited):
                    selector.unregister(ours)  # the supervisor is ending; its SIGCHLD follows


def _serve_request(channel: socket.socket, program: Program, inherited: Sequence[socket.socket]) -> bool:
    data, fds, _, _ = socket.recv_fds(channel, MAX_MESSAGE, 3)
    if not data:
        return False
    request = _decode_request(data)
    _tell(channel, Started(request.id, _spawn(request, fds, program, inherited)))
    for fd in fds:
        os.close(fd)
    return True


def _tell(channel: socket.socket, notice: Started | Ended) -> None:
    try:
        channel.send(encode(notice))
    except (BrokenPipeError, ConnectionError):
        return  # the supervisor is gone, and so are we in a moment

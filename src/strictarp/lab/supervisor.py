"""The lab's supervisor: builds the cluster and serves its control until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from strictarp import logs
from strictarp.errors import UserError
from strictarp.lab import control
from strictarp.lab.cluster import Cluster, Settings
from strictarp.lab.processes import Processes
from strictarp.lab.zygote import Program, serve
from strictarp.speaker.priority import go_first

log = logging.getLogger(__name__)

PORT_NAME = "strictarp"
SOCKET_NAME = "control.sock"
_FIRST = -20
"""The highest priority of an ordinary process (setpriority(2))."""


class Options(msgspec.Struct, frozen=True):
    """How to start: the lab's settings, its state folder, and whether it ends with its first caller."""

    settings: Settings
    state: str
    ephemeral: bool = False
    logs_to: str = ""
    """Folder that the logs are copied to at the end, where `state` does not outlive the lab."""


def virtio_port(name: str, root: Path = Path("/sys/class/virtio-ports")) -> Path | None:
    """The device of a named virtio port, or None outside the virtual machine."""
    for entry in sorted(root.glob("*")):
        if (entry / "name").read_text(encoding="ascii").strip() == name:
            return Path("/dev", entry.name)
    return None


def deliver_first(proc: Path = Path("/proc")) -> None:
    """Have the kernel's threads that deliver deferred packets go before all others, speakers included.

    Five nodes share two processors in the virtual machine, with a speaker each that goes first on its node. A
    thread behind all five delivers nothing for 100 ms and more, also no ARP: to others all nodes are dead.
    """
    for comm in proc.glob("[0-9]*/comm"):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if comm.read_text(encoding="ascii", errors="replace").startswith("ksoftirqd/"):
                os.setpriority(os.PRIO_PROCESS, int(comm.parent.name), _FIRST)


async def _supervise(channel: socket.socket, options: Options) -> int:
    state = Path(options.state)
    cluster = Cluster(options.settings, Processes(channel), state)
    controller = control.Control(cluster, ephemeral=options.ephemeral)
    port = virtio_port(PORT_NAME)
    serving: asyncio.Task[None] | None = None
    if options.settings.isolation == "vm" and port is not None:
        deliver_first()
        go_first()  # what died is started again at once, though all its clients are just then busy with that
        serving = asyncio.create_task(control.serve_port(controller, port))
    else:
        await control.listen_on_socket(controller, state / SOCKET_NAME)
    try:
        await cluster.start(log.info)
    except (UserError, OSError, RuntimeError) as error:
        log.exception("the lab cannot start")
        cluster.phase = f"failed: {error}"
    await controller.ended.wait()
    await asyncio.sleep(0.2)  # the last answer leaves
    if serving is not None:
        serving.cancel()
    await cluster.end()
    if options.logs_to:
        shutil.copytree(state / "logs", options.logs_to, dirs_exist_ok=True)
    return 0


def run(options: Options, program: Program, load: Callable[[], None]) -> int:
    """Become the lab's first process: fork the supervisor and what it asks for; returns when the lab ends."""
    os.umask(0o077)
    state = Path(options.state)
    state.mkdir(parents=True, exist_ok=True)

    def supervise(channel: socket.socket) -> int:
        logs.setup("lab")
        return asyncio.run(_supervise(channel, options))

    return serve(program, supervise, load)

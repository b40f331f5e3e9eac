"""The lab's supervisor: builds the cluster and serves its control until it is told to end."""

from __future__ import annotations

import asyncio
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

log = logging.getLogger(__name__)

PORT_NAME = "strictarp"
SOCKET_NAME = "control.sock"


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


async def _supervise(channel: socket.socket, options: Options) -> int:
    state = Path(options.state)
    cluster = Cluster(options.settings, Processes(channel), state)
    controller = control.Control(cluster, ephemeral=options.ephemeral)
    port = virtio_port(PORT_NAME)
    serving: asyncio.Task[None] | None = None
    if options.settings.isolation == "vm" and port is not None:
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

"""The proxy as it is started on nodes, but for one thing: its generic netlink socket is one that is given.

`python -m bench._daemon SOCKET REPORTS CONFIG SETTINGS`, the first two file descriptors. On SIGUSR2 it writes
a JSON line to REPORTS: what it has used and done so far.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any

from strictarp.cli.main import entry
from strictarp.starting import import_aiohttp

import_aiohttp()  # as `strictarp proxy` does, before anything else
from strictarp.netlink.socket import NETLINK_GENERIC, NETLINK_ROUTE, Netlink  # noqa: E402
from strictarp.proxy import process  # noqa: E402
from strictarp.proxy.daemon import Proxy  # noqa: E402
from strictarp.proxy.kernel import LinuxKernel  # noqa: E402
from strictarp.sysctl import files  # noqa: E402

_started = 0


def _count(event: str, _: tuple[object, ...]) -> None:
    global _started  # noqa: PLW0603 - an audit hook has no other place
    if event == "subprocess.Popen":
        _started += 1


def _ensure(name: str, value: int) -> int | None:
    """A kernel without ip_vs has none of its sysctls."""
    return None if name.startswith("net.ipv4.vs.") else files.ensure(name, value)


def main(given: int, reports: int, config: str, settings: str) -> None:
    """Run until SIGTERM."""
    proxies: list[Proxy] = []
    generic = Netlink(NETLINK_GENERIC, socket.socket(fileno=given))
    route = Netlink(NETLINK_ROUTE)

    def report(_signal: int, _frame: FrameType | None) -> None:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = {
            "cpu": time.process_time(),
            "children_cpu": children.ru_utime + children.ru_stime,
            "processes": _started,
            "netlink": generic.sent + route.sent,
            "settled": any(proxy.syncer.settled.is_set() for proxy in proxies),
            "waiting": max((len(proxy.engine.store) for proxy in proxies), default=0),
        }
        os.write(reports, json.dumps(told).encode() + b"\n")

    signal.signal(signal.SIGUSR2, report)
    sys.addaudithook(_count)
    setattr(  # noqa: B010 - mypy forbids it the other way
        process,
        "LinuxKernel",
        lambda render, *, device: LinuxKernel(
            render, generic=generic, route=route, device_kind="bridge", device=device
        ),
    )

    def proxy(*parts: Any) -> Proxy:  # noqa: ANN401 - as the process passes them
        proxies.append(Proxy(*parts, ensure=_ensure))
        return proxies[-1]

    setattr(process, "Proxy", proxy)  # noqa: B010
    files_given = ["--config", config, "--settings", settings]
    sys.argv = ["strictarp", "proxy", *files_given, "--hostname-override", "node-x"]
    entry()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])

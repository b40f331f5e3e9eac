"""What is measured in a running lab: processes that ask, listen or hold connections, and what they wrote."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from strictarp.arp.probing import Findings
from strictarp.errors import UserError
from strictarp.lab import holding, layout, manifests, namespaces, stream
from strictarp.lab.begun import begun_file
from strictarp.lab.cluster import Cluster
from strictarp.lab.figures import Witnessed
from strictarp.lab.holding import Held
from strictarp.lab.ipvs_table import serving
from strictarp.lab.processes import Process

READY_LIMIT = 20.0
Measuring = tuple[Process, Path]


class Pace(msgspec.Struct, frozen=True):
    """How often is measured, in milliseconds: the listener's question, a new connection and how long it may
    take, a question on each open connection.
    """

    ask: int = 20
    stream: int = 20
    limit: int = 250
    hold: int = 200


PACE = Pace()
PACE_IN_VM = Pace(ask=100, stream=100, limit=3000, hold=1000)
"""Else those who measure would take the emulated processors from those who are measured. A packet that a move
costs is repeated after 200 ms and more, and takes its time there besides.
"""


def pace(cluster: Cluster) -> Pace:
    """How often is measured in this lab."""
    return PACE_IN_VM if cluster.settings.isolation == "vm" else PACE


def file(cluster: Cluster, name: str) -> Path:
    """Where a measurement writes."""
    return cluster.state / name


async def start_witness(cluster: Cluster, vip: str, name: str, *, interval_ms: int) -> Measuring:
    """A witness that listens already. Raises UserError when it does not come up."""
    out = file(cluster, f"{name}.witnessed")
    options = ("--vip", vip, "--out", str(out), "--interval-ms", str(interval_ms))
    return await _begin(cluster, layout.WIRE, name, "witness", out, options)


async def start_stream(
    cluster: Cluster, vip: str, name: str, *, count: int, interval_ms: int, limit_ms: int
) -> Measuring:
    """A stream of requests, `count` or, with 0, until it is told to end."""
    out = file(cluster, f"{name}.answers")
    options = ["--address", vip, "--out", str(out), "--count", str(count)]
    options += ["--interval-ms", str(interval_ms), "--limit-ms", str(limit_ms)]
    return await cluster.start_on(layout.CLIENT, name, "strictarp", "lab", "stream", *options), out


async def start_holding(
    cluster: Cluster, vip: str, name: str, *, connections: int, interval_ms: int
) -> Measuring:
    """Connections that stay open. Raises UserError when they cannot be opened."""
    out = file(cluster, f"{name}.held")
    options = ["--address", vip, "--out", str(out), "--connections", str(connections)]
    options += ["--interval-ms", str(interval_ms)]
    return await _begin(cluster, layout.CLIENT, name, "hold", out, options)


async def _begin(
    cluster: Cluster, host: str, name: str, program: str, out: Path, options: Sequence[str]
) -> Measuring:
    """Start a program that says when it has begun, and wait for that."""
    begun = begun_file(out)
    begun.unlink(missing_ok=True)  # of an earlier measurement of this name
    process = await cluster.start_on(host, name, "strictarp", "lab", program, *options)
    end = time.monotonic() + READY_LIMIT
    while not begun.exists():
        if time.monotonic() > end or not process.running:
            raise UserError(f"{' '.join(process.argv[:3])} does not begin; see the lab's logs")
        await asyncio.sleep(0.02)
    return process, out


async def finish(cluster: Cluster, measuring: Measuring) -> bytes:
    """Let a measuring process end; returns what it wrote. Raises UserError when it failed."""
    process, out = measuring
    process.signal(signal.SIGTERM)
    code = await process.ended
    if code != 0:
        raise UserError(f"{' '.join(process.argv[:3])} failed; see the logs in {cluster.state}/logs")
    return out.read_bytes()


async def finish_witness(cluster: Cluster, measuring: Measuring) -> Witnessed:
    """What the witness saw."""
    return msgspec.json.decode(await finish(cluster, measuring), type=Witnessed)


async def finish_stream(cluster: Cluster, measuring: Measuring) -> list[stream.Answer]:
    """The answers of a stream."""
    await finish(cluster, measuring)
    return stream.read(measuring[1])


async def finish_holding(cluster: Cluster, measuring: Measuring) -> Held:
    """What became of the connections that were held."""
    return msgspec.json.decode(await finish(cluster, measuring), type=holding.Held)


async def probe(cluster: Cluster, vip: str, *, wait: float | None = None) -> tuple[str, ...]:
    """The MACs that answer for the VIP, asked from the client with our own tool. Raises UserError."""
    rest = () if wait is None else ("--wait", str(wait))
    code, out, err = await cluster.run(
        layout.CLIENT, "strictarp", "probe", vip, "-i", "eth0", "--json", *rest
    )
    if code not in (0, 1, 2):
        raise UserError(f"probe could not look: {err.strip()}")
    return tuple(each.mac for each in msgspec.json.decode(out, type=Findings).answerers)


def programmed(cluster: Cluster, vip: str, node: str) -> bool:
    """Whether a node's kernel has the VIP as virtual server that sends to the backends of all nodes.

    Raises UserError when there is no such node.
    """
    with namespaces.entered(cluster.space(node)):
        table = Path("/proc/thread-self/net/ip_vs").read_text(encoding="ascii")
    return serving(table, vip, manifests.WEB_PORT) == len(cluster.network.nodes)

"""Inside the virtual machine: a daemon's first sync, then a replay of the bytes that it sent.

Prints one JSON object: `python -m bench._guest_cold_sync SERVICES FOLDER`. The folder holds the pages of the
API's answers, as `cold_sync` makes them on the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from bench import _cluster
from bench._feed import Feed
from strictarp.guard.settings import PROXY
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.kube.client import Client
from strictarp.netlink import genl, ipvs_encode
from strictarp.netlink.exchange import join
from strictarp.netlink.ipvs import FAMILY_NAME
from strictarp.netlink.messages import Message, Refusal
from strictarp.netlink.socket import BATCH, NETLINK_GENERIC, NETLINK_ROUTE, Netlink
from strictarp.proxy import nftables
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Options, Proxy
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.seam import DEVICE
from strictarp.proxy.settings import Liveness, Settings


class Meter:
    """Seconds by part. A part inside another is taken from that one."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs inside belongs to this part."""
        started, before = time.perf_counter(), self._inner
        self._inner = 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - started
            self.seconds[name] += took - self._inner
            self._inner = before + took

    def wrap(self, owner: object, method: str, name: str) -> None:
        """Count a method of an object."""
        inner = getattr(owner, method)

        def counted(*args: Any, **rest: Any) -> Any:  # noqa: ANN401 - any method
            with self.part(name):
                return inner(*args, **rest)

        setattr(owner, method, counted)

    def wrap_waiting(self, owner: object, method: str, name: str) -> None:
        """Count a coroutine method, with what others do meanwhile."""
        inner: Callable[..., Awaitable[Any]] = getattr(owner, method)

        async def counted(*args: Any, **rest: Any) -> Any:  # noqa: ANN401
            with self.part(name):
                return await inner(*args, **rest)

        setattr(owner, method, counted)


class Recorded:
    """A netlink socket that counts its time and keeps what changes something. `changes`: in order."""

    def __init__(self, protocol: int, meter: Meter) -> None:
        self.protocol = protocol
        self.changes: list[bytes] = []
        self._inner = Netlink(protocol)
        self._meter = meter

    async def request(self, messages: Sequence[bytes]) -> list[Refusal | None]:
        """As `Netlink.request`."""
        self.changes += messages
        with self._meter.part("kernel"):
            return await self._inner.request(messages)

    async def query(self, message: bytes) -> list[Message]:
        """As `Netlink.query`."""
        with self._meter.part("kernel"):
            return await self._inner.query(message)

    async def dump(self, message: bytes) -> list[Message]:
        """As `Netlink.dump`."""
        with self._meter.part("kernel"):
            return await self._inner.dump(message)

    def close(self) -> None:
        """Close the socket."""
        self._inner.close()


def _meter_daemon(meter: Meter, proxy: Proxy, kernel: LinuxKernel, loaded: list[str]) -> None:
    """Which part the work of a daemon belongs to."""
    for name in ("plan", "steps", "looked", "done", "follow_drains", "everything"):
        meter.wrap(proxy.engine, name, "plan")
    meter.wrap_waiting(kernel, "apply", "encode")
    meter.wrap_waiting(kernel, "list_rules", "kernel")
    inner = kernel.load_rules

    async def load_rules(text: str) -> None:
        loaded.append(text)
        with meter.part("kernel"):
            await inner(text)

    setattr(kernel, "load_rules", load_rules)  # noqa: B010 - mypy forbids it the other way
    # The caches are filled while their pages are decoded: taking objects in is decoding's last step.
    for cache in (proxy.services, proxy.slices):
        meter.wrap(cache, "_put", "decode")


async def first_sync(
    services: int, feed: Feed, folder: Path
) -> tuple[dict[str, float], list[Recorded], list[str]]:
    """Seconds of a daemon's first sync by part; the sockets with what went through, and nft's texts."""
    meter, loaded = Meter(), list[str]()
    generic, route = Recorded(NETLINK_GENERIC, meter), Recorded(NETLINK_ROUTE, meter)
    kernel = LinuxKernel(nftables.change_elements, generic=generic, route=route)
    settings = Settings(liveness=Liveness(enabled=False), hand_over=False)
    options = Options(Config(), settings, _cluster.NODE, guard=GuardSettings(state=folder, owner=PROXY))
    started = time.perf_counter()
    proxy = Proxy(options, kernel, cast(Client, feed))
    _meter_daemon(meter, proxy, kernel, loaded)
    work = asyncio.create_task(proxy.run())
    settled = asyncio.create_task(proxy.syncer.settled.wait())
    try:
        await asyncio.wait({work, settled}, return_when=asyncio.FIRST_COMPLETED)
        took = time.perf_counter() - started
        if work.done():
            await work
    finally:
        work.cancel()
        await asyncio.wait({work})
        kernel.close()
    if proxy.syncer.failing or len(proxy.engine.mirror.servers) < services:
        raise RuntimeError(f"the sync is not whole: {proxy.syncer.failing or 'virtual servers are missing'}")
    meter.seconds["decode"] += feed.decoding
    parts = {name: meter.seconds[name] for name in ("decode", "plan", "encode", "kernel")}
    return {"all": took, **parts, "other": took - sum(parts.values())}, [generic, route], loaded


def replay(sockets: Sequence[Recorded], texts: Sequence[str]) -> dict[str, float]:
    """Seconds that the same bytes cost through bare sockets, answers read but not looked at, and `nft -f`."""
    batches = [
        (each.protocol, [join(each.changes[i : i + BATCH], i) for i in range(0, len(each.changes), BATCH)])
        for each in sockets
    ]
    started = time.perf_counter()
    for text in texts:
        subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)
    after_nft = time.perf_counter()
    buffer = bytearray(1 << 16)
    for protocol, datagrams in batches:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol) as bare:
            bare.setsockopt(socket.SOL_SOCKET, 33, 1 << 20)  # SO_RCVBUFFORCE
            for datagram in datagrams:
                bare.send(datagram)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        bare.recv_into(buffer)
    ended = time.perf_counter()
    return {"all": ended - started, "nft": after_nft - started, "sockets": ended - after_nft}


def _count(services: int) -> None:
    """Refuse to compare unless the replay has built the same."""
    with Path("/proc/net/ip_vs").open() as table:
        lines = sum(line.startswith(("TCP", "  ->")) for line in table) - 1
    if lines != services * (1 + _cluster.ENDPOINTS):
        raise RuntimeError(f"the replay made {lines} virtual and real servers")


def forget() -> None:
    """Take away all that was programmed; kube-ipvs0 stays, since the messages name it by its number."""
    asyncio.run(_flush())
    subprocess.run(["ip", "addr", "flush", "dev", DEVICE], check=True)
    subprocess.run(["nft", "-f", "-"], input=nftables.no_table().encode(), check=True)


async def _flush() -> None:
    async with Netlink(NETLINK_GENERIC) as generic:
        family = (await genl.resolve(generic, FAMILY_NAME)).number
        await generic.request([ipvs_encode.encode_flush(family)])


def main(services: int, folder: Path) -> int:
    """Ours, then the replay."""
    logging.basicConfig(level=logging.WARNING)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    pages = {
        kind: [path.read_bytes() for path in sorted(folder.glob(f"{kind}.*"))]
        for kind in ("services", "endpointslices", "nodes")
    }
    ours, sockets, texts = asyncio.run(first_sync(services, Feed(pages), folder))
    print(json.dumps(ours), flush=True)
    messages = sum(len(each.changes) for each in sockets)
    _count(services)
    forget()
    bare = replay(sockets, texts)
    _count(services)
    print(json.dumps({"ours": ours, "bare": bare, "messages": messages}))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))

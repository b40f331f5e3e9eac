"""A node in namespaces for tests of the guard: an uplink, kube-ipvs0, and the far end of the cable."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from strictarp.arp.frames import BROADCAST_MAC, ArpFrame, encode
from strictarp.guard.drifts import Drift
from strictarp.guard.guardian import Guardian
from strictarp.guard.settings import Settings
from strictarp.lab import namespaces
from strictarp.sysctl import files

NODE, FAR, VIP, OTHER_VIP = "192.0.2.11", "192.0.2.1", "192.0.2.100", "203.0.113.5"
FAR_MAC = bytes.fromhex("020000000001")


class Node:
    """eth0 with the node's address and the default route; kube-ipvs0 (a bridge without ports) with VIPs."""

    def __init__(self, *vips: str) -> None:
        self.space = namespaces.create("node")
        self.far = namespaces.create("far")
        namespaces.veth((self.space, "eth0"), (self.far, "eth0"))
        namespaces.ip(
            self.space,
            f"addr add {NODE}/24 dev eth0",
            f"route add default via {FAR}",
            "link add kube-ipvs0 type bridge",
            "link set kube-ipvs0 arp off",
            *(f"addr add {vip}/32 dev kube-ipvs0" for vip in vips),
        )
        with namespaces.entered(self.space):
            for interface in ("all", "default", "eth0", "kube-ipvs0"):
                for key in ("arp_ignore", "arp_announce"):
                    files.write(files.conf(interface, key), 0)
        with namespaces.entered(self.far):
            self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
            self.wire.bind(("eth0", 0x0806))
        self.wire.settimeout(0.15)

    def close(self) -> None:
        self.wire.close()
        self.space.close()
        self.far.close()

    def value(self, interface: str, key: str) -> int:
        with namespaces.entered(self.space):
            return files.read_int(files.conf(interface, key))

    def values(self) -> dict[tuple[str, str], int]:
        keys = ("arp_ignore", "arp_announce")
        return {(name, key): self.value(name, key) for name in ("all", "default", "eth0") for key in keys}

    def heard(self, pause: float = 0.15) -> list[bytes]:
        """ARP frames that reach the far end until it is quiet."""
        found = []
        self.wire.settimeout(pause)
        with contextlib.suppress(TimeoutError):
            while True:
                found.append(self.wire.recv(200))
        return found

    def ask(self, target: str) -> list[bytes]:
        """Frames after a request for `target`, by an asker of the uplink's subnet."""
        self.heard(0.01)
        self.wire.send(encode(request(FAR, target)))
        return self.heard()


def request(sender: str, target: str) -> ArpFrame:
    packed = socket.inet_aton(sender), socket.inet_aton(target)
    return ArpFrame(BROADCAST_MAC, FAR_MAC, 1, FAR_MAC, packed[0], bytes(6), packed[1])


@contextlib.contextmanager
def node(*vips: str) -> Iterator[Node]:
    made = Node(*vips)
    try:
        yield made
    finally:
        made.close()


@contextlib.asynccontextmanager
async def guarding(settings: Settings) -> AsyncIterator[tuple[Guardian, list[Drift]]]:
    """A guardian at work in the thread's namespace, and the drifts that it met."""
    drifts: list[Drift] = []

    def met(drift: Drift) -> Drift:
        drifts.append(drift)
        return drift

    guardian = Guardian(settings, met)
    try:
        await guardian.start()
        work = asyncio.create_task(guardian.run())
        yield guardian, drifts
        assert not work.done(), work.exception()
        work.cancel()
        await asyncio.wait({work})
    finally:
        guardian.close()


def inside(made: Node, work: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function in the node's namespace."""

    async def run() -> None:
        await work()

    with namespaces.entered(made.space):
        asyncio.run(run())


async def until(check: Callable[[], bool], what: str, limit: float = 5.0) -> float:
    """Seconds until the check holds."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < limit, f"not within {limit} s: {what}"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def settings(folder: Path, scope: str = "all", **more: object) -> Settings:
    from strictarp.arp.switching import Scope

    return Settings(Scope(scope), state=folder, **more)  # type: ignore[arg-type]

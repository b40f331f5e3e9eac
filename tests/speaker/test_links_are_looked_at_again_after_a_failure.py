"""A look at the links that failed is made again, though nothing of theirs changes any more."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.speaker.host import Host, HostUnreadable
from support.segment import needs_root

pytestmark = [pytest.mark.netns, needs_root]

ADDRESSES = [f"10.{number >> 8}.{number & 255}.1/32" for number in range(6000)]
LINES = [
    f"addr {verb} 10.99.{number % 250}.1/32 dev vips0" for number in range(120_000) for verb in ("add", "del")
]


def flood(space: Namespace, batch: Path) -> subprocess.Popen[bytes]:
    """Addresses come and go for seconds, as when a proxy starts: no dump of so many is consistent then."""
    batch.write_text("\n".join(LINES))
    with namespaces.entered(space):
        return subprocess.Popen(["ip", "-batch", str(batch)])


async def test_a_link_that_changed_in_a_flood_of_addresses_is_seen_once_that_is_over(tmp_path: Path) -> None:
    space = namespaces.create("node")
    namespaces.ip(
        space, "link add vips0 type bridge", *(f"addr add {address} dev vips0" for address in ADDRESSES)
    )
    with namespaces.entered(space):
        host = Host()
    changes = host.changes()
    busy = flood(space, tmp_path / "batch")
    try:
        namespaces.ip(space, "link add eth0 type veth peer name eth1", "addr add 192.0.2.11/24 dev eth0")
        async with asyncio.timeout(5):
            await anext(changes)
        with pytest.raises(HostUnreadable, match="changed during each"):
            await host.look()
        busy.kill()
        busy.wait()
        async with asyncio.timeout(5):
            await anext(changes)
        assert [place.name for place in await host.look()] == ["eth0"]
    finally:
        busy.kill()
        busy.wait()
        host.close()
        space.close()

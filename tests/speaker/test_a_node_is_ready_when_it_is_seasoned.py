"""/readyz, which a rolling update waits for: 200 once this node can take an address over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import msgspec
import pytest

from strictarp.hello.messages import State
from strictarp.lab import namespaces
from strictarp.speaker.daemon import Options, Speaker
from strictarp.speaker.kernel_answers import Who
from strictarp.speaker.readiness import unready
from strictarp.speaker.settings import MS, SECOND, Settings
from support.api import running_api
from support.segment import build, needs_root
from support.speaker_daemon import furnish, with_ipv6

SETTINGS = Settings(
    hello=200 * MS, claim=200 * MS, late=90 * MS, accept=120 * MS, settle=SECOND, drain_grace=300 * MS
)
PORT = 17472


def test_every_link_has_to_be_seasoned_and_what_is_missing_is_said() -> None:
    assert unready(None) == "the objects of the cluster are not known yet"
    assert unready([]) == ""
    assert unready([("eth0", State.SEASONED)]) == ""
    links = [("eth1", State.DRAINING), ("eth0", State.JOINING), ("eth2", State.SEASONED)]
    assert unready(links) == "eth0: joining, eth1: draining"


@pytest.mark.netns
@needs_root
async def test_the_daemon_says_so_over_http(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, season=2 * SECOND)
    with build(["node1", "client"]) as wire:
        with_ipv6(wire)
        with namespaces.entered(wire.hosts["node1"]):
            async with running_api(tmp_path) as api, aiohttp.ClientSession() as session:
                await furnish(api)
                options = Options(None, "node1", settings, metrics_port=PORT, answer=Who.PROCESS)
                known: list[int] = []
                speaker = Speaker(
                    options, api.client, on_known=lambda: known.append(len(speaker.services.objects))
                )
                work = asyncio.create_task(speaker.run())
                told: list[tuple[int, str]] = []
                try:
                    async with asyncio.timeout(20):
                        while not told or told[-1][0] != 200:
                            told += await _asked(session)
                            await asyncio.sleep(0.1)
                finally:
                    work.cancel()
                    await asyncio.wait({work})
    assert len(known) == 1, "it goes first, from when it knows the Services on"
    assert known[0] > 0
    assert told[-1] == (200, "ok")
    assert (503, "eth0: joining") in told


async def _asked(session: aiohttp.ClientSession) -> list[tuple[int, str]]:
    """What /readyz says, nothing while it is not served."""
    try:
        async with session.get(f"http://127.0.0.1:{PORT}/readyz") as answer:
            return [(answer.status, await answer.text())]
    except aiohttp.ClientConnectionError:
        return []

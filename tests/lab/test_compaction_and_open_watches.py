"""What a compaction of the embedded API server's history means for watches that are open."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from strictarp.lab.apiserver.targets import Query, Selection, parse_path
from strictarp.lab.apiserver.watchers import Watcher
from support.memory_api import MemoryApi

pytestmark = pytest.mark.looptime
PATH = "/api/v1/configmaps"


def spoken(chunks: list[bytes]) -> list[tuple[str, object]]:
    """Kind of event, and name or code."""
    lines = [msgspec.json.decode(line) for line in b"".join(chunks).splitlines()]
    return [
        (line["type"], line["object"].get("code") or line["object"]["metadata"]["name"]) for line in lines
    ]


async def follow(api: MemoryApi, version: int) -> list[bytes]:
    """Everything that a watch of 100 s is told."""
    query = Query(Selection(), watch=True, version=str(version), seconds=100)
    return [chunk async for chunk in api.watchers.chunks(Watcher(PATH, parse_path(PATH), query))]


@pytest.mark.parametrize("times", [1, 2])
async def test_a_watch_that_missed_an_event_is_told_410_however_often_history_is_compacted(
    times: int,
) -> None:
    api = MemoryApi()
    task = asyncio.create_task(follow(api, api.engine.store.version))
    await asyncio.sleep(1)
    api.put("a")
    for _ in range(times):
        api.watchers.compact()
    assert spoken(await task) == [("ERROR", 410)]


async def test_a_watch_that_has_been_told_everything_goes_on_after_a_compaction() -> None:
    api = MemoryApi()
    task = asyncio.create_task(follow(api, api.engine.store.version))
    await asyncio.sleep(1)
    api.put("a")
    await asyncio.sleep(1)
    api.watchers.compact()
    api.watchers.compact()
    api.put("b")
    assert spoken(await task) == [("ADDED", "a"), ("ADDED", "b")]

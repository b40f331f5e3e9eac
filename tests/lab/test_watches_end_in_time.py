"""When an open watch of the embedded API server speaks and ends, on a virtual clock."""

from __future__ import annotations

import asyncio

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.lab.apiserver.store import Store
from strictarp.lab.apiserver.targets import Query, Selection, parse_path
from strictarp.lab.apiserver.watchers import Watcher, Watchers

PATH = "/api/v1/configmaps"


async def spoken(began: float, *, seconds: int, bookmark_seconds: float) -> list[float]:
    """Seconds after its begin, at loop time `began`, at which a watch sends something; last, when it ends."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(began - loop.time())
    began = loop.time()
    store, looks = Store(1), iter(range(20))

    def look() -> Store:
        next(looks)  # a watch that spins is stopped here: on this clock it would never end
        return store

    query = Query(Selection(), watch=True, version="1", bookmarks=True, seconds=seconds)
    times = []
    async for _ in Watchers(look, bookmark_seconds).chunks(Watcher(PATH, parse_path(PATH), query)):
        times.append(round(loop.time() - began, 9))
    return [*times, round(loop.time() - began, 9)]


@given(began=st.integers(1, 10**10).map(lambda micro: micro / 1e6))
@settings(max_examples=200)
def test_a_watch_sends_bookmarks_and_ends_exactly_in_time_whenever_it_began(began: float) -> None:
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        times = runner.run(spoken(began, seconds=7, bookmark_seconds=2.5))
    assert times == [2.5, 5.0, 7.0, 7.0]

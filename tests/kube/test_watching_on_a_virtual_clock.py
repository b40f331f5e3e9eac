"""What the cache does when lists and watches fail, and exactly when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from strictarp.kube.cache import Cache
from strictarp.kube.errors import Forbidden, Gone, Malformed, ServerError, TooManyRequests, Unreachable
from strictarp.kube.objects import CONFIGMAPS, ConfigMap
from strictarp.kube.pacing import Pace
from strictarp.kube.relist import Suspicion
from strictarp.kube.wire import Decoder
from strictarp.lab.apiserver.targets import Target, parse_path
from support.memory_api import EMPTY, SILENT, MemoryApi

pytestmark = pytest.mark.looptime

# With randomness at 1.0 a wait is the full one: 0.2, 0.3, 0.45 … seconds; watches ask for 600 s.
FULL = 1.0


class Followed:
    """A cache of ConfigMaps that runs, and what it told."""

    def __init__(self, api: MemoryApi, pace: Pace, suspicion: Suspicion, *, doubt_empty_start: bool) -> None:
        self.deltas: list[tuple[str, str | None, str | None]] = []
        self.refused: list[tuple[str, str]] = []
        self.cache = Cache(
            api,
            CONFIGMAPS,
            on_delta=lambda delta: self.deltas.append((delta.key, data(delta.old), data(delta.new))),
            on_refused=lambda key, reason: self.refused.append((key, reason)),
            random=lambda: FULL,
            pace=pace,
            suspicion=suspicion,
            doubt_empty_start=doubt_empty_start,
        )

    @property
    def values(self) -> dict[str, str | None]:
        return {key.removeprefix("default/"): data(item) for key, item in self.cache.objects.items()}


def data(item: ConfigMap | None) -> str | None:
    return None if item is None else (item.data or {}).get("value")


@asynccontextmanager
async def following(
    api: MemoryApi,
    *,
    pace: Pace = Pace(),  # noqa: B008
    suspicion: Suspicion = Suspicion(),  # noqa: B008
    doubt_empty_start: bool = False,
) -> AsyncIterator[Followed]:
    followed = Followed(api, pace, suspicion, doubt_empty_start=doubt_empty_start)
    task = asyncio.create_task(followed.cache.run())
    try:
        yield followed
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert api.open_watches == 0


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_lists_once_and_then_watches_from_there() -> None:
    api = MemoryApi()
    api.put("a", "1")
    async with following(api) as it:
        await it.cache.synced.wait()
        api.put("b", "2")
        api.remove("a")
        await asyncio.sleep(0.1)
        assert it.values == {"b": "2"}
        assert it.deltas == [("default/a", None, "1"), ("default/b", None, "2"), ("default/a", "1", None)]
        assert api.calls == [(0.0, "list"), (0.0, "watch from 5")]


async def test_a_server_that_ends_the_watch_in_time_is_watched_again_at_once_from_the_last_bookmark() -> None:
    api = MemoryApi()
    api.put("a")
    async with following(api, pace=Pace(watch_low=60, watch_high=60, inactivity=90)) as it:
        await asyncio.sleep(61)
        assert api.calls == [(0.0, "list"), (0.0, "watch from 5"), (60.0, "watch from 5")]
        api.put("b")
        await asyncio.sleep(60)
        assert api.calls[3:] == [(120.0, "watch from 6")]
        assert list(it.values) == ["a", "b"]


async def test_a_broken_watch_is_taken_up_after_the_last_event_without_a_list() -> None:
    api = MemoryApi()
    async with following(api) as it:
        await asyncio.sleep(10)
        api.put("a")
        await asyncio.sleep(1)
        api.drop_watches()
        api.put("b")
        await asyncio.sleep(1)
        assert api.calls[2:] == [(11.2, "watch from 5")]
        assert sorted(it.values) == ["a", "b"]


async def test_a_server_that_is_away_is_asked_again_after_growing_waits() -> None:
    api = MemoryApi()
    async with following(api, pace=Pace(first=0.2, longest=1.0)) as it:
        await asyncio.sleep(10)
        api.go_down()
        await asyncio.sleep(3)
        assert isinstance(it.cache.trouble, Unreachable)
        times = [at for at, _ in api.calls[2:]]
        assert times == [10.2, 10.5, 10.95, 11.625, 12.625]
        api.come_back()
        api.put("a")
        await asyncio.sleep(0.7)
        assert list(it.values) == ["a"]
        assert it.cache.trouble is None
        assert all(what.startswith("watch") for _, what in api.calls[1:])


async def test_a_cache_that_lost_its_server_comes_back_no_later_than_half_as_long_again() -> None:
    for away in (1, 4, 12):
        api = MemoryApi()
        began = now()
        async with following(api):
            await asyncio.sleep(10)
            api.go_down()
            await asyncio.sleep(away)
            api.come_back()
            while not api.open_watches:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert now() - began - 10 <= away * 1.5 + 0.31


async def test_jitter_takes_up_to_half_of_a_wait_away() -> None:
    api = MemoryApi()
    api.lists += [ServerError(500, "", "broken")] * 2
    chances = iter([0.0, 0.5, 0.0])
    cache = Cache(api, CONFIGMAPS, on_delta=lambda _: None, random=lambda: next(chances))
    task = asyncio.create_task(cache.run())
    await cache.synced.wait()
    assert [at for at, _ in api.calls[:3]] == [0.0, 0.1, 0.325]
    task.cancel()


async def test_a_watch_that_says_nothing_is_given_up_after_the_limit() -> None:
    api = MemoryApi()
    api.put("a")
    api.watches.append(SILENT)
    async with following(api, pace=Pace(inactivity=90)) as it:
        await asyncio.sleep(80)
        api.put("b")
        await asyncio.sleep(9.9)
        assert list(it.values) == ["a"]
        await asyncio.sleep(1)
        assert api.calls[2:] == [(90.2, "watch from 5")]
        assert list(it.values) == ["a", "b"]


async def test_bookmarks_keep_a_quiet_watch_alive_and_move_it_on() -> None:
    api = MemoryApi(bookmark_seconds=60)
    api.put("a")
    async with following(api, pace=Pace(inactivity=90)):
        api.write("create", "/api/v1/namespaces", {"metadata": {"name": "other"}})  # of another kind
        await asyncio.sleep(300)
        api.drop_watches()
        await asyncio.sleep(0.3)
        assert api.calls[2:] == [(300.2, "watch from 6")]


async def test_a_compacted_history_leads_to_a_list_at_once_and_deletions_in_the_gap_are_told() -> None:
    api = MemoryApi()
    for name in "abcd":
        api.put(name, "1")
    async with following(api) as it:
        await asyncio.sleep(10)
        api.go_down()
        api.remove("a")
        api.put("b", "2")
        api.remove("c")
        api.put("c", "3")  # made again: another object of that name
        api.watchers.compact()
        await asyncio.sleep(0.1)
        api.come_back()
        it.deltas.clear()
        await asyncio.sleep(0.2)
        assert it.deltas == [
            ("default/a", "1", None),
            ("default/b", "1", "2"),
            ("default/c", "1", None),
            ("default/c", None, "3"),
        ]
        assert [what for _, what in api.calls[2:]] == ["watch from 8", "list", "watch from 12"]
        assert api.calls[3][0] == 10.2


async def test_a_server_that_always_says_gone_is_not_hammered() -> None:
    api = MemoryApi()
    api.watches += [Gone(410, "Expired", "too old")] * 6
    async with following(api, pace=Pace(first=0.2, longest=10)):
        await asyncio.sleep(3)
        lists = [at for at, what in api.calls if what == "list"]
        assert lists == [0.0, 0.0, 0.2, 0.5, 0.95, 1.625, 2.6375]


async def test_an_error_event_of_410_in_the_stream_counts_as_gone() -> None:
    api = MemoryApi()
    async with following(api) as it:
        await asyncio.sleep(10)
        api.hurt("gone")
        api.put("a")
        await asyncio.sleep(0.1)
        assert [what for _, what in api.calls] == ["list", "watch from 4", "list", "watch from 5"]
        assert list(it.values) == ["a"]


async def test_retry_after_is_honoured_and_spread() -> None:
    api = MemoryApi()
    api.lists.append(TooManyRequests(429, "TooManyRequests", "later", retry_after=4.0))
    async with following(api) as it:
        await asyncio.sleep(4.3)
        assert not it.cache.synced.is_set()
        await it.cache.synced.wait()
        assert [at for at, _ in api.calls] == [0.0, 4.4, 4.4]


async def test_retry_after_of_a_watch_is_honoured_without_a_new_list() -> None:
    api = MemoryApi()
    api.watches += [TooManyRequests(429, "TooManyRequests", "later", retry_after=2.0)] * 5
    async with following(api):
        await asyncio.sleep(20)
        assert [what for _, what in api.calls].count("list") == 1
        assert [at for at, _ in api.calls[1:4]] == [0.0, 2.2, 4.4]


async def test_a_watch_that_is_refused_again_and_again_is_given_up_for_a_list() -> None:
    api = MemoryApi()
    api.watches += [ServerError(500, "InternalError", "broken")] * 3
    async with following(api):
        await asyncio.sleep(5)
        assert [what.split()[0] for _, what in api.calls] == [
            "list",
            "watch",
            "watch",
            "watch",
            "list",
            "watch",
        ]


async def test_a_forbidden_list_is_asked_again_and_known_as_the_trouble() -> None:
    api = MemoryApi()
    api.lists += [Forbidden(403, "Forbidden", 'configmaps is forbidden: cannot "list"')] * 3
    async with following(api) as it:
        await asyncio.sleep(0.1)
        assert isinstance(it.cache.trouble, Forbidden)
        await it.cache.synced.wait()
        assert now() == pytest.approx(0.2 + 0.3 + 0.45)


async def test_a_line_that_is_no_json_breaks_the_watch_but_loses_no_event() -> None:
    api = MemoryApi()
    async with following(api) as it:
        await asyncio.sleep(10)
        api.hurt("garbage")
        api.put("a")
        await asyncio.sleep(1)
        assert list(it.values) == ["a"]
        assert api.calls[2:] == [(10.2, "watch from 4")]


async def test_a_line_that_breaks_off_is_dropped_and_the_watch_taken_up() -> None:
    api = MemoryApi()
    api.watches.append(b'{"type":"ADDED","object":{"metadata":{"name":"half"')
    async with following(api) as it:
        await asyncio.sleep(1)
        assert it.values == {}
        assert [what for _, what in api.calls[2:]] == ["watch from 4"]


async def test_an_object_that_does_not_decode_is_refused_alone_and_its_last_good_version_stays() -> None:
    api = MemoryApi()
    api.put("good", "1")
    api.put("bad", "1")
    async with following(api) as it:
        await it.cache.synced.wait()
        target = _target("bad")
        await asyncio.sleep(1)
        api.engine.put_raw(target, {"data": "no mapping", "metadata": {}})
        api.put("good", "2")
        await asyncio.sleep(0.1)
        assert it.values == {"good": "2", "bad": "1"}
        assert [key for key, _ in it.refused] == ["default/bad"]
        assert "data" in it.refused[0][1]
        api.hurt("gone")  # and the same in a list
        await asyncio.sleep(1)
        assert it.values == {"good": "2", "bad": "1"}
        assert len(it.refused) == 1, "told once"
        assert list(it.cache.refused) == ["default/bad"]
        api.remove("bad")  # the last state of a deleted object need not be readable
        await asyncio.sleep(0.1)
        assert it.values == {"good": "2"}
        assert it.refused[1:] == [("default/bad", "")]
        assert it.cache.refused == {}


async def test_an_object_nested_too_deeply_stops_nothing() -> None:
    api = MemoryApi()
    api.put("good", "1")
    async with following(api) as it:
        await it.cache.synced.wait()
        deep: object = []
        for _ in range(900):
            deep = [deep]
        api.engine.put_raw(_target("deep"), {"data": {"value": deep}})
        api.put("good", "2")
        await asyncio.sleep(0.1)
        assert it.values == {"good": "2"}
    line = b'{"type":"ADDED","object":{"metadata":{"name":"a"},"x":' + b"[" * 9_000 + b"]" * 9_000 + b"}}"
    with pytest.raises(Malformed):
        Decoder(CONFIGMAPS).event(line)


async def test_a_refused_object_that_a_list_lacks_is_no_longer_refused() -> None:
    api = MemoryApi()
    api.engine.put_raw(_target("bad"), {"data": 7})
    async with following(api) as it:
        await it.cache.synced.wait()
        assert list(it.cache.refused) == ["default/bad"]
        api.go_down()
        api.remove("bad")
        api.come_back()
        api.hurt("gone")
        await asyncio.sleep(5)
        assert it.cache.refused == {}
        assert it.refused[-1] == ("default/bad", "")


async def test_an_object_that_never_decoded_appears_when_it_is_mended() -> None:
    api = MemoryApi()
    api.engine.put_raw(_target("bad"), {"data": 7})
    async with following(api) as it:
        await it.cache.synced.wait()
        assert it.values == {}
        assert it.refused
        api.write("update", "/api/v1/namespaces/default/configmaps/bad", {"metadata": {"name": "bad"}})
        await asyncio.sleep(0.1)
        assert list(it.values) == ["bad"]


async def test_an_empty_list_after_a_failure_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    api = MemoryApi()
    for name in "abc":
        api.put(name)
    async with following(api, suspicion=Suspicion(lists=3, apart=5.0)) as it:
        await asyncio.sleep(10)
        it.deltas.clear()
        api.lists += [EMPTY, EMPTY]
        with caplog.at_level(logging.WARNING, "strictarp.kube.cache"):
            api.hurt("gone")
            await asyncio.sleep(20)
        assert it.deltas == []
        assert sorted(it.values) == ["a", "b", "c"]
        assert [at for at, what in api.calls if what == "list"] == [0.0, 10.0, 15.0, 20.0]
        assert (
            caplog.messages.count("a list lacks most of what was known; asking again before believing it")
            == 2
        )


async def test_a_loss_that_further_lists_confirm_is_believed_after_a_bounded_time() -> None:
    api = MemoryApi()
    for name in "abc":
        api.put(name)
    async with following(api, suspicion=Suspicion(lists=3, apart=5.0)) as it:
        await asyncio.sleep(10)
        api.go_down()
        for name in "abc":
            api.remove(name)
        api.watchers.compact()
        api.put("new")
        api.come_back()
        await asyncio.sleep(10)
        assert sorted(it.values) == ["a", "b", "c", "new"]  # what is there is taken in at once
        await asyncio.sleep(5.1)
        assert sorted(it.values) == ["a", "b", "c", "new"]
        await asyncio.sleep(0.2)
        assert list(it.values) == ["new"]
        assert [at for at, what in api.calls if what == "list"] == [0.0, 10.2, 15.2, 20.2, 25.2]


async def test_failures_between_confirming_lists_do_not_end_the_doubt() -> None:
    api = MemoryApi()
    for name in "abc":
        api.put(name)
    async with following(api) as it:
        await asyncio.sleep(10)
        api.lists += [EMPTY, ServerError(503, "", "x"), EMPTY, ServerError(503, "", "x")]
        api.hurt("gone")
        await asyncio.sleep(60)
        assert sorted(it.values) == ["a", "b", "c"]
        assert it.cache.trouble is None


async def test_losing_half_is_believed_at_once() -> None:
    api = MemoryApi()
    for name in "abcd":
        api.put(name)
    async with following(api) as it:
        await asyncio.sleep(10)
        api.go_down()
        api.remove("a")
        api.remove("b")
        api.watchers.compact()
        api.come_back()
        await asyncio.sleep(0.3)
        assert list(it.values) == ["c", "d"]


async def test_an_empty_first_list_is_doubted_by_those_who_ask_for_it() -> None:
    api = MemoryApi()
    async with following(api, doubt_empty_start=True, suspicion=Suspicion(lists=2, apart=3.0)) as it:
        await it.cache.synced.wait()
        assert now() == 6.0
    api = MemoryApi()
    async with following(api) as it:
        await it.cache.synced.wait()
        assert now() == 6.0  # at once


async def test_a_loss_that_was_believed_wrongly_is_mended_after_a_minute() -> None:
    api = MemoryApi()
    for name in "abc":
        api.put(name)
    async with following(api, suspicion=Suspicion(lists=1, apart=5.0, again=60.0)) as it:
        await asyncio.sleep(10)
        api.lists += [EMPTY, EMPTY]  # at the present version, from which a watch will never tell of a, b, c
        api.hurt("gone")
        await asyncio.sleep(10)
        assert it.values == {}
        api.put("d")
        await asyncio.sleep(40)
        assert list(it.values) == ["d"]
        api.drop_watches()  # what is left of the minute counts, not a new one
        await asyncio.sleep(16)
        assert sorted(it.values) == ["a", "b", "c", "d"]
        assert [at for at, what in api.calls if what == "list"] == [0.0, 10.0, 15.0, 75.2]
        await asyncio.sleep(1000)
        assert [what for _, what in api.calls].count("list") == 4


async def test_a_collection_without_objects_is_listed_again_more_and_more_rarely() -> None:
    api = MemoryApi()
    async with following(api, suspicion=Suspicion(again=60.0, longest=480.0)) as it:
        await asyncio.sleep(1500)
        lists = [at for at, what in api.calls if what == "list"]
        assert lists == [0.0, 60.0, 180.0, 420.0, 900.0, 1380.0]
        assert len(api.calls) == 2 * len(lists)
        api.put("a")
        await asyncio.sleep(3000)
        assert list(it.values) == ["a"]
        assert [at for at, what in api.calls if what == "list"][6:] == [1860.0]


async def test_an_object_that_cannot_be_read_is_an_object_all_the_same() -> None:
    api = MemoryApi()
    api.engine.put_raw(_target("bad"), {"data": 7})
    async with following(api) as it:
        await asyncio.sleep(1000)
        assert it.values == {}
        assert [what for _, what in api.calls].count("list") == 1


async def test_a_change_that_nobody_reads_makes_no_delta_but_moves_the_version() -> None:
    api = MemoryApi()
    api.put("a", "1")
    async with following(api) as it:
        await it.cache.synced.wait()
        await asyncio.sleep(0.1)
        it.deltas.clear()
        api.write("patch", "/api/v1/namespaces/default/configmaps/a", {"immutable": True})
        await asyncio.sleep(0.1)
        assert it.deltas == []
        assert it.cache.objects["default/a"].metadata.resource_version == "6"


def _target(name: str) -> Target:
    return parse_path(f"/api/v1/namespaces/default/configmaps/{name}")

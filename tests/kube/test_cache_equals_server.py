"""Whatever happens to server and connection, in the end the cache holds what the server holds."""

from __future__ import annotations

import asyncio

import looptime
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strictarp.kube.cache import Cache, Delta
from strictarp.kube.errors import Gone, ServerError, TooManyRequests, Unreachable
from strictarp.kube.objects import CONFIGMAPS, ConfigMap
from strictarp.kube.relist import same
from support.memory_api import EMPTY, SILENT, MemoryApi, make_engine

NAMES = "abcd"
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES), st.sampled_from("123")),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
        st.tuples(st.sampled_from(["compact", "drop", "down", "up", "gone", "close", "garbage", "stall"])),
        st.tuples(
            st.just("list"),
            st.sampled_from(
                [
                    EMPTY,
                    Unreachable("x"),
                    ServerError(503, "", "x"),
                    TooManyRequests(429, "", "x", 2.0),
                    Gone(410, "", "x"),
                ]
            ),
        ),
        st.tuples(
            st.just("watch"),
            st.sampled_from(
                [SILENT, b'{"type":"AD', b"no json\n", Gone(410, "", "x"), ServerError(500, "", "x")]
            ),
        ),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.05, 0.3, 1.0, 7.0])),
    ),
    max_size=40,
)


class Mirror:
    """Rebuilds the objects from the deltas alone, and checks that each follows from what was before."""

    def __init__(self) -> None:
        self.objects: dict[str, ConfigMap] = {}

    def take(self, delta: Delta[ConfigMap]) -> None:
        before = self.objects.get(delta.key)
        assert (before is None) == (delta.old is None), delta
        assert delta.old is not None or delta.new is not None
        if before is not None and delta.old is not None:
            assert same(before, delta.old)
        if delta.new is None:
            del self.objects[delta.key]
        else:
            assert delta.new.key == delta.key
            if delta.old is not None:
                assert delta.old.metadata.uid == delta.new.metadata.uid
                assert not same(delta.old, delta.new)
            self.objects[delta.key] = delta.new


def on_server(api: MemoryApi) -> dict[str, tuple[str, str]]:
    """Version and value of each object there."""
    objects = api.engine.store.collection("v1/configmaps").objects.values()
    return {
        "/".join(item.key): (str(item.version), item.document.get("data", {}).get("value"))
        for item in objects
    }


def of(objects: dict[str, ConfigMap]) -> dict[str, tuple[str, str | None]]:
    return {
        key: (item.metadata.resource_version, (item.data or {}).get("value")) for key, item in objects.items()
    }


async def carry_out(api: MemoryApi, step: tuple) -> None:
    match step:
        case ("put", name, value):
            api.put(name, value)
        case ("remove", name):
            if ("default", name) in api.engine.store.collection("v1/configmaps").objects:
                api.remove(name)
        case ("compact",):
            api.watchers.compact()
        case ("drop",):
            api.drop_watches()
        case ("down",):
            api.go_down()
        case ("up",):
            api.come_back()
        case ("list", what):
            api.lists.append(what)
        case ("watch", what):
            api.watches.append(what)
        case ("wait", seconds):
            await asyncio.sleep(seconds)
        case (kind,):
            api.hurt(kind)


async def play(script: list[tuple]) -> None:
    api = MemoryApi(make_engine(history=3))
    mirror = Mirror()
    cache = Cache(api, CONFIGMAPS, on_delta=mirror.take, random=lambda: 0.5)
    task = asyncio.create_task(cache.run())
    for step in script:
        await carry_out(api, step)
    api.come_back()
    api.lists.clear()
    api.watches.clear()
    # By then backoff, a stalled watch and doubts are over; a list that lied is read again within 480 s.
    await asyncio.sleep(600 if ("list", EMPTY) in script else 300)
    assert not task.done()
    assert of(cache.objects) == on_server(api)
    assert {key: value for key, (_, value) in of(mirror.objects).items()} == {
        key: value for key, (_, value) in on_server(api).items()
    }
    assert cache.trouble is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert api.open_watches == 0


@given(script=steps)
@example(script=[("list", EMPTY), ("put", "a", "1"), ("wait", 0.05)])  # at a version that has the object
@example(script=[("list", EMPTY), ("wait", 0.0), ("put", "a", "1"), ("wait", 0.0)])
@example(script=[("put", "a", "1"), ("wait", 1.0), *[("list", EMPTY)] * 4, ("gone",), ("wait", 7.0)])
@settings(max_examples=150)
def test_any_interleaving_of_writes_and_failures_ends_with_cache_equal_to_server(script: list[tuple]) -> None:
    with asyncio.Runner(loop_factory=_virtual_loop) as runner:
        runner.run(play(script))


def _virtual_loop() -> asyncio.AbstractEventLoop:
    return looptime.new_event_loop()

"""Whatever bytes a server sends in watches and lists: following goes on, and sound objects are known."""

import asyncio
import json

import looptime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strictarp.kube.cache import Cache
from strictarp.kube.errors import ApiError, Gone, KubeError, Malformed, TooManyRequests
from strictarp.kube.objects import CONFIGMAPS, SERVICES, ConfigMap, Service
from strictarp.kube.wire import Bookmark, Decoder, Refused, Removed, Upsert
from support.memory_api import MemoryApi

TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
scalars = st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.text(max_size=6)
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "name": scalars,
        "namespace": st.just("default") | scalars,
        "resourceVersion": scalars,
        "labels": values,
        "uid": scalars,
    },
)
statuses = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from([410, 429, 500, 200, -1, 0, "410", 10**30]) | scalars,
        "reason": scalars,
        "message": scalars,
        "details": values,
    },
)
# Nothing here makes a sound ConfigMap: what is refused must not change what is known.
odd_maps = st.fixed_dictionaries(
    {"metadata": metadata, "data": st.integers() | st.lists(scalars, min_size=1)}
)
odd_events = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(TYPES[:3]), "object": odd_maps}),
    st.fixed_dictionaries({"type": st.just("BOOKMARK"), "object": values | odd_maps}),
    st.fixed_dictionaries({"type": st.just("ERROR"), "object": statuses | values}),
    st.fixed_dictionaries({"type": scalars, "object": odd_maps}),
    values,
)
lines = st.one_of(
    odd_events.map(lambda event: json.dumps(event).encode()),
    st.tuples(odd_events, st.integers(1, 30)).map(lambda cut: json.dumps(cut[0]).encode()[: -cut[1]]),
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"[" * 3_000,
            b'{"type":"ADDED","object":{"metadata":{"name":"a"},"data":'
            + b"[" * 3_000
            + b"]" * 3_000
            + b"}}",
            b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":""}}}',
            b'{"type":"BOOKMARK"}',
            b'{"type":"ERROR"}',
            b"null",
            b"\xff\xfe",
            b"  ",
        ]
    ),
)
streams = (
    st.lists(lines, max_size=6).map(b"\n".join).flatmap(lambda text: st.sampled_from([text, text + b"\n"]))
)


def _is_about(line: bytes) -> bool:
    """A deletion with a readable name is one, however odd the rest."""
    return b"DELETED" in line or b"resourceVersion" in line


async def _play(scripts: list[bytes]) -> None:
    api = MemoryApi()
    api.put("good", "1")
    api.watches.extend(scripts)
    refused: list[tuple[str, str]] = []
    cache = Cache(
        api,
        CONFIGMAPS,
        on_delta=lambda _: None,
        on_refused=lambda *what: refused.append(what),
        random=lambda: 0.5,
    )
    task = asyncio.create_task(cache.run())
    await asyncio.sleep(600)
    assert not task.done(), task
    assert {key: (item.data or {}).get("value") for key, item in cache.objects.items()} == {
        "default/good": "1"
    }
    api.put("good", "2")
    await asyncio.sleep(1)
    assert (cache.objects["default/good"].data or {}).get("value") == "2"
    assert cache.trouble is None
    assert len(set(refused)) == len(refused)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@settings(max_examples=80)
@given(st.lists(streams.filter(lambda text: not any(map(_is_about, text.split(b"\n")))), max_size=4))
@example([b'{"type":"BOOKMARK","object":{"metadata":{}}}\n'])
@example([b"[" * 3_000 + b"\n"])
def test_a_watch_may_send_anything_and_what_is_known_stays(scripts: list[bytes]) -> None:
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(_play(scripts))


@settings(max_examples=400)
@given(lines)
def test_a_line_is_something_or_the_apis_error(line: bytes) -> None:
    try:
        made = Decoder(CONFIGMAPS).event(line)
    except KubeError:
        return
    assert isinstance(made, Upsert | Removed | Bookmark | Refused)


@settings(max_examples=200)
@given(st.lists(odd_maps, max_size=4), st.integers(0, 4))
def test_odd_objects_in_a_list_hide_none_of_the_others(odd: list[object], at: int) -> None:
    sound = {"metadata": {"name": "good", "namespace": "default"}, "data": {"value": "1"}}
    items = [*odd[:at], sound, *odd[at:]]
    page = Decoder(CONFIGMAPS).page(
        json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}).encode()
    )
    assert [item.key for item in page.items] == ["default/good"]
    assert len(page.refused) == len(odd)


@pytest.mark.parametrize("bad", [rb'"\ud800"', rb'"\udc00\ud800"', b'"\xff"', b'"\xed\xa0\x80"'])
def test_text_that_is_no_unicode_hides_no_other_object(bad: bytes) -> None:
    items = b'{"metadata":{"name":"odd"},"spec":{"type":' + bad + b'}},{"metadata":{"name":"good"}}'
    page = Decoder(SERVICES).page(b'{"metadata":{"resourceVersion":"7"},"items":[' + items + b"]}")
    assert [item.key for item in page.items][-1] == "good"
    assert {*(item.key for item in page.items), *(refused.key for refused in page.refused)} == {"odd", "good"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"code":410}', Gone),
        (b'{"code":429,"details":{"retryAfterSeconds":5}}', TooManyRequests),
        (b'{"code":0}', ApiError),
        (b'{"code":-5,"message":null,"reason":null}', ApiError),
        (b'{"code":"410"}', Malformed),
        (b"5", Malformed),
        (b"null", Malformed),
        (b'"\\ud800"', Malformed),
    ],
)
def test_error_events_are_errors_whatever_they_hold(body: bytes, kind: type[ApiError]) -> None:
    with pytest.raises(kind):
        Decoder(CONFIGMAPS).event(b'{"type":"ERROR","object":' + body + b"}")


@pytest.mark.looptime
async def test_a_server_that_asks_for_years_of_patience_is_asked_again_in_minutes() -> None:
    api = MemoryApi()
    api.lists.append(TooManyRequests(429, "", "later", 1e9))
    cache: Cache[ConfigMap] = Cache(api, CONFIGMAPS, on_delta=lambda _: None)
    task = asyncio.create_task(cache.run())
    await asyncio.wait_for(cache.synced.wait(), 400)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _mend(document: object, struct: type[Service]) -> tuple[Service | None, list[str]]:
    """Leaves the spec out of what is wrong."""
    del struct
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return (_named(name), ["spec: odd"]) if isinstance(name, str) and name else (None, ["metadata: odd"])


def _named(name: str) -> Service:
    return Decoder(SERVICES).object(json.dumps({"metadata": {"name": name}}).encode())


def test_a_resource_that_mends_gives_the_object_and_names_what_it_left_out() -> None:
    decoder = Decoder(SERVICES.mended(_mend))
    odd = {"metadata": {"name": "a", "resourceVersion": "7"}, "spec": 5}
    event = decoder.event(json.dumps({"type": "MODIFIED", "object": odd}).encode())
    assert event == Upsert(_named("a"), ("spec: odd",))
    gone = decoder.event(json.dumps({"type": "DELETED", "object": odd}).encode())
    assert isinstance(gone, Removed)
    nameless = json.dumps({"metadata": 5, "spec": 5})
    items = f"[{json.dumps(odd)}, {nameless}]"
    page = decoder.page(f'{{"metadata": {{"resourceVersion": "7"}}, "items": {items}}}'.encode())
    assert (page.items, page.refused) == (
        (_named("a"),),
        (Refused("a", "spec: odd"), Refused("?", "metadata: odd", body=nameless.encode())),
    )

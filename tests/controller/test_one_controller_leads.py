"""The Lease: who may take it, and when."""

import asyncio

import msgspec
import pytest

from strictarp.controller import elector
from strictarp.controller.elector import Elector
from strictarp.controller.leading import DURATION, Observed, observe, record, verdict
from strictarp.kube.objects import Lease, LeaseSpec

NOW = "2026-01-02T03:04:05.006000Z"


def _lease(holder: str, renewed: str = "t0") -> Lease:
    return Lease(spec=LeaseSpec(holder, DURATION, "a", renewed, 3))


@pytest.mark.parametrize(
    ("lease", "age", "expected"),
    [
        (None, 0.0, "take"),
        (_lease(""), 0.0, "take"),
        (_lease("me"), 0.0, "take"),
        (_lease("other"), 14.9, "wait"),
        (_lease("other"), 15.0, "take"),
    ],
)
def test_a_lease_is_free_when_its_holder_is_silent_for_its_duration(
    lease: Lease | None, age: float, expected: str
) -> None:
    observed = observe(None, lease, 100.0)
    assert verdict(observed, "me", 100.0 + age) == expected


def test_only_a_change_of_the_record_counts_as_life() -> None:
    first = observe(None, _lease("other"), 0.0)
    same = observe(first, _lease("other"), 10.0)
    assert same == Observed(_lease("other").spec, 0.0)
    renewed = observe(same, _lease("other", "t1"), 14.0)
    assert verdict(renewed, "me", 28.0) == "wait"
    assert verdict(renewed, "me", 29.0) == "take"


def test_a_renewal_keeps_the_time_of_acquisition_and_a_takeover_is_counted() -> None:
    before = _lease("me").spec
    renewed = msgspec.convert(record(before, "me", NOW), LeaseSpec)
    assert (renewed.acquire_time, renewed.renew_time, renewed.lease_transitions) == (
        "a",
        NOW,
        3,
    )
    taken = msgspec.convert(record(before, "you", NOW), LeaseSpec)
    assert (taken.holder_identity, taken.acquire_time, taken.lease_transitions) == (
        "you",
        NOW,
        4,
    )
    assert msgspec.convert(record(None, "me", NOW), LeaseSpec).lease_transitions == 0


class SlowClient:
    """Of an API that takes `delay` seconds for each request."""

    def __init__(self) -> None:
        self.delay = 0.0

    async def get(self, *_: object) -> Lease:
        await asyncio.sleep(self.delay)
        return _lease("me")

    async def merge_patch(self, *_: object) -> None:
        await asyncio.sleep(self.delay)


async def test_a_term_ends_although_the_right_to_write_came_back_a_moment_after_it_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was to be written in between was left out: the next term decides it anew."""
    for name, seconds in (("TRUST", 0.6), ("RENEW", 0.4)):
        monkeypatch.setattr(elector, name, seconds)
    client = SlowClient()
    candidate = Elector(client, "ns", "me")
    await candidate.acquire()
    held = asyncio.ensure_future(candidate.hold())
    await asyncio.sleep(1.0)
    assert not held.done(), "renewed in time"
    client.delay = 0.14
    await asyncio.wait_for(held, 2)
    assert candidate.leading

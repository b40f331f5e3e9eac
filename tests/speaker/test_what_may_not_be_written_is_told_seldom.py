"""Objects that the API does not know, or does not let this account write."""

import asyncio
import logging

import pytest

from strictarp.kube.errors import ApiError, Forbidden, NotFound, ServerError
from strictarp.speaker import persisting
from strictarp.speaker.persisting import Persisting


@pytest.mark.parametrize(
    ("error", "tries", "counted"), [(NotFound, 1, False), (Forbidden, 1, True), (ServerError, 3, True)]
)
async def test_what_lasts_is_tried_again_after_minutes_only_and_holds_nobody_up(
    error: type[ApiError],
    tries: int,
    counted: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(persisting, "RETRY", 0.001)
    tried = asyncio.Semaphore(0)

    async def work() -> None:
        tried.release()
        raise error(0, "", "refused")

    failures: list[None] = []
    made = Persisting("ServiceL2Status", work, lambda: failures.append(None))
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(made.run())
        for _ in range(tries):
            await asyncio.wait_for(tried.acquire(), 5)
        if tries == 1:
            await asyncio.wait_for(made.settled(), 5)
            await asyncio.sleep(0.05)
            assert len(caplog.records) == 1
        task.cancel()
        await asyncio.wait([task])
    assert "ServiceL2Status" in caplog.text
    assert bool(failures) == counted

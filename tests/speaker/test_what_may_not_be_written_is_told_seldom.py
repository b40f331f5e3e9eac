"""Objects that the API does not know, or does not let this account write."""

import asyncio
import logging

import pytest

from strictarp.kube.errors import ApiError, Forbidden, NotFound, ServerError
from strictarp.speaker import persisting
from strictarp.speaker.persisting import Persisting


@pytest.mark.parametrize(("error", "tries"), [(NotFound, 1), (Forbidden, 1), (ServerError, 3)])
async def test_what_lasts_is_tried_again_after_minutes_only_and_holds_nobody_up(
    error: type[ApiError], tries: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(persisting, "RETRY", 0.001)
    tried = asyncio.Semaphore(0)

    async def work() -> None:
        tried.release()
        raise error(0, "", "refused")

    made = Persisting("ServiceL2Status", work, lambda: None)
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

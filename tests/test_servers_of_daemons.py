import asyncio
import logging
import socket

import pytest

from strictarp import serving
from strictarp.proxy.health import metrics_application
from strictarp.proxy.metrics import Metrics
from support.api import until


async def test_a_taken_port_is_fatal_only_with_hard_fail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "RETRY_SECONDS", 0.02)
    made = metrics_application(Metrics())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = ("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(OSError, match="address already in use"):
            await serving.serve(made, *listen, "metrics", hard_fail=True)
        with caplog.at_level(logging.ERROR):
            made = metrics_application(Metrics())
            task = asyncio.create_task(serving.serve(made, *listen, "metrics"))
            await until(lambda: "cannot serve metrics" in caplog.text)
    answer = b""
    async with asyncio.timeout(5):
        while not answer:
            try:
                reader, writer = await asyncio.open_connection(*listen)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            writer.write(b"GET /proxyMode HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
    assert answer.endswith(b"ipvs")
    task.cancel()
    await asyncio.wait({task})

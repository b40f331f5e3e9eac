"""The small HTTP servers of the daemons: health and metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(handlers: dict[str, Handler]) -> web.Application:
    """An application that answers GET on these paths."""
    made = web.Application()
    for path, handler in handlers.items():
        made.router.add_get(path, handler)
    return made


def exposition(registry: CollectorRegistry) -> Handler:
    """Answers with the metrics of a registry."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer


async def fine(_: web.Request) -> web.Response:
    """Answers that the process answers."""
    return web.Response(text="ok")


def ready(why_not: Callable[[], str]) -> Handler:
    """Answers 200, or 503 and the reason while there is one."""

    async def answer(_: web.Request) -> web.Response:
        reason = why_not()
        return web.Response(text=reason or "ok", status=503 if reason else 200)

    return answer


async def serve(
    made: web.Application,
    host: str | None,
    port: int,
    what: str,
    *,
    hard_fail: bool = False,
    failed: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until cancelled. host: None for all addresses. An address that cannot be bound is tried again.

    `failed` is told why, once for each reason.

    Raises OSError, with `hard_fail` only, when it cannot be bound.
    """
    runner = web.AppRunner(made, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    told = ""
    try:
        while True:
            try:
                await web.TCPSite(runner, host, port).start()
                break
            except OSError as error:
                if str(error) != told:
                    told = str(error)
                    failed(told)
                if hard_fail:
                    raise
                fields = {"address": f"{host or '*'}:{port}", "reason": str(error)}
                log.error("cannot serve %s", what, extra={"fields": fields})
                await asyncio.sleep(RETRY_SECONDS)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()

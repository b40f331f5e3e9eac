"""Asking the status pages of our daemons on all nodes at once. Thin."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from strictarp.doctor.pages import Answer

LIMIT = 3.0
"""Seconds for one answer."""
PARALLEL = 64
LARGEST = 8 << 20
"""Bytes of a page that are read; a longer one is cut off."""


async def fetch(urls: Mapping[str, str]) -> dict[str, Answer]:
    """Name → the answer at its URL."""
    gate = asyncio.Semaphore(PARALLEL)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as session:
        answers = await asyncio.gather(*(_fetch(session, gate, url) for url in urls.values()))
    return dict(zip(urls, answers, strict=True))


async def _fetch(session: aiohttp.ClientSession, gate: asyncio.Semaphore, url: str) -> Answer:
    try:
        async with gate, session.get(url, allow_redirects=False) as response:
            return response.status, await response.content.read(LARGEST)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return str(error) or f"no answer within {LIMIT:g} s"

"""Writing objects that others read: when something is new, again after a failure, never else. Thin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from strictarp.kube.errors import Forbidden, KubeError, NotFound

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds after a write that failed."""
ABSENT = 300.0
"""Seconds after which a kind that the API does not know, or does not let us write, is tried again."""


class Persisting:
    """kind: for the log. work: writes all there is to write; raises KubeError: NotFound where the API does
    not know the kind, Forbidden where this account may not write it; both last. on_failure: called for each
    write that failed, but not for want of the kind.
    """

    def __init__(
        self, kind: str, work: Callable[[], Awaitable[None]], on_failure: Callable[[], None]
    ) -> None:
        self._kind = kind
        self._work = work
        self._on_failure = on_failure
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()

    def wake(self) -> None:
        """There is something new; returns at once."""
        self._quiet.clear()
        self._wake.set()

    async def settled(self) -> None:
        """Until there is nothing left to write."""
        await self._quiet.wait()

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            self._wake.clear()
            wait: float | None = None
            try:
                await self._work()
                self._quiet.set()
            except (NotFound, Forbidden) as error:
                if isinstance(error, Forbidden):
                    self._on_failure()
                log.warning("no %s kept", self._kind, extra={"fields": {"reason": str(error)}})
                self._quiet.set()
                wait = ABSENT
            except KubeError as error:
                self._on_failure()
                log.warning("%s not written", self._kind, extra={"fields": {"reason": str(error)}})
                wait = RETRY
            if wait is not None:
                await asyncio.sleep(wait)
            else:
                await self._wake.wait()

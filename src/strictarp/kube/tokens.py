"""The bearer token that requests carry: given, from a file, or from a command."""

from __future__ import annotations

import asyncio
import time

from strictarp.kube.config import ClientConfig
from strictarp.kube.exec_plugin import ExecPlugin, ask

EARLY = 10.0
"""Seconds before its end that a token is not used any more."""


class GivenToken:
    """The bearer token; one from a file is read again when the file changes (the kubelet rotates it)."""

    def __init__(self, config: ClientConfig) -> None:
        self._file = config.token_file
        self._value = config.token if config.token_file is None else None
        self._seen: tuple[int, int, int] | None = None

    async def current(self) -> str | None:
        """The token to send now. A file that has vanished for a moment leaves the last token in place."""
        if self._file is None:
            return self._value
        try:
            state = self._file.stat()
            seen = (state.st_mtime_ns, state.st_ino, state.st_size)
            if seen != self._seen:
                self._value = self._file.read_text(encoding="ascii", errors="ignore").strip() or self._value
                self._seen = seen
        except OSError:
            return self._value
        return self._value

    def refused(self) -> None:
        """The server said 401. There is no other token than the one that was given."""


class ExecToken:
    """The token of a command: fetched when it is first needed, when it ends, and after it was refused."""

    def __init__(self, plugin: ExecPlugin) -> None:
        self._plugin = plugin
        self._token = ""
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def current(self) -> str:
        """The token to send now. Raises Unreachable when the command does not give one."""
        async with self._asking:
            if not self._token or time.time() > self._until - EARLY:
                found = await ask(self._plugin)
                ends = found.expiration_timestamp
                self._token, self._until = found.token, ends.timestamp() if ends else float("inf")
            return self._token

    def refused(self) -> None:
        """The server said 401: the next request takes a new token."""
        self._token = ""


def token_of(config: ClientConfig) -> GivenToken | ExecToken:
    """Where the bearer tokens for requests come from."""
    return ExecToken(config.plugin) if config.plugin is not None else GivenToken(config)

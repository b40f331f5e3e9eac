"""A file that others write: its text when it changes. Looked at by name: a ConfigMap is swapped in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

EVERY_SECONDS = 1.0

_Mark: TypeAlias = tuple[int, int, int, int]


async def texts_of(path: Path, known: str, every: float = EVERY_SECONDS) -> AsyncIterator[str]:
    """Each new text, after `known`. While the file is away or unreadable nothing happens."""
    mark: _Mark | None = None
    while True:
        found = _mark(path)
        if found is not None and found != mark:
            mark = found
            try:
                text = path.read_text(encoding="utf-8", errors="replace")  # noqa: ASYNC240 - small and local
            except OSError:
                mark = None
            else:
                if text != known:
                    known = text
                    yield text
        await asyncio.sleep(every)


def _mark(path: Path) -> _Mark | None:
    """What changes with the file, at the end of all links."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size

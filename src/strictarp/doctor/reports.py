"""Reports of nodes from files: JSON of `strictarp node-report`, or logs of the DaemonSet's pods. Thin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from strictarp.doctor.node.framing import Broken, find
from strictarp.doctor.node.view import NodeView
from strictarp.errors import UserError

SUFFIXES = (".json", ".log", ".txt")
"""Files of a folder that are read."""


def read_reports(paths: Iterable[Path]) -> dict[str, NodeView]:
    """Node → its report, the youngest if there are several. Raises UserError naming the file."""
    found: dict[str, NodeView] = {}
    for path in paths:
        for file in _files(path):
            view = parse(_text(file), str(file))
            before = found.get(view.node)
            if before is None or before.taken <= view.taken:
                found[view.node] = view
    return found


def parse(text: str, source: str) -> NodeView:
    """A report; one that contradicts itself is none. Raises UserError naming `source`."""
    try:
        view = find(text)
        if view is None:
            view = msgspec.json.decode(text, type=NodeView)
    except (Broken, msgspec.DecodeError, RecursionError) as error:
        raise UserError(
            f"--node-reports {source}: no report of a node: {error}; write one with `strictarp "
            f"node-report --json`"
        ) from None
    if not view.node:
        raise UserError(f"--node-reports {source}: node: the report does not name its node")
    _ = view.host  # raises UserError
    return view


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    found = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
    if not found:
        raise UserError(f"--node-reports {path}: no file there ends in {', '.join(SUFFIXES)}")
    yield from found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(
            f"--node-reports {path}: {error.strerror}; name a file or folder of reports"
        ) from None

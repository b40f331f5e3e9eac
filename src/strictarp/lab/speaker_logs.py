"""What the speakers of a lab log: the turns that they tell, and whether they are seasoned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from strictarp.lab.kubelet import STARTED
from strictarp.speaker.actions import Kind


class _Line(msgspec.Struct, frozen=True):
    msg: str = ""


class SpeakerLogs:
    """Follows the log files of these nodes."""

    def __init__(self, folder: Path, nodes: Iterable[str]) -> None:
        self._files = {node: folder / f"speaker@{node}.log" for node in nodes}
        self._read = dict.fromkeys(self._files, 0)
        self.seasoned: set[str] = set()
        self.frozen: set[str] = set()
        """Nodes whose speaker started over, and was not started afresh since."""
        self._told: list[str] = []

    def look(self) -> None:
        """Read what is new."""
        for node in self._files:
            self._follow(node)

    def take_told(self) -> tuple[str, ...]:
        """What was logged since the last time."""
        self.look()
        told, self._told = tuple(self._told), []
        return told

    def _follow(self, node: str) -> None:
        path = self._files[node]
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read[node])
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[node] += len(whole)
        for line in whole.splitlines():
            self._take(node, line)

    def _take(self, node: str, line: bytes) -> None:
        try:
            text = msgspec.json.decode(line, type=_Line).msg
        except msgspec.MsgspecError:
            return  # what Python prints when it dies
        self._told.append(text)
        if text == STARTED:  # what the one before said says nothing of this one
            self.seasoned.discard(node)
            self.frozen.discard(node)
        elif text == Kind.SEASONED:
            self.seasoned.add(node)
        elif text == Kind.FROZEN:
            self.seasoned.discard(node)
            self.frozen.add(node)

"""The server's state: objects, one growing version, and the recent history for watches. No I/O.

Changes are values (`Record`): they are decided elsewhere, written to the journal, and then applied here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from strictarp.lab.apiserver.documents import Document, texts
from strictarp.lab.apiserver.refusals import compacted

Key: TypeAlias = tuple[str, str]
Action: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]

HISTORY = 1000


class Record(msgspec.Struct, frozen=True):
    """One change: what an object is from this version on, or was last (DELETED)."""

    version: int
    action: Action
    kind: str
    document: Document


class Stored(msgspec.Struct, frozen=True):
    """An object, encoded once. `document` is not to be changed."""

    version: int
    key: Key
    document: Document
    raw: bytes
    labels: dict[str, str]


class Event(msgspec.Struct, frozen=True):
    """A change as watches see it, with the line they get, and the state before."""

    version: int
    action: Action
    stored: Stored
    before: Stored | None
    line: bytes


def watch_line(action: str, raw: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (action.encode(), raw)


def stored(record: Record) -> Stored:
    """The object of a record, encoded."""
    metadata = record.document["metadata"]
    assert isinstance(metadata, dict)  # noqa: S101 - records are made after validation
    key = (str(metadata.get("namespace", "")), str(metadata["name"]))
    raw = msgspec.json.encode(record.document)
    return Stored(record.version, key, record.document, raw, texts(metadata, "labels"))


class Collection:
    """The objects of one kind and what happened to them since `floor`."""

    def __init__(self, floor: int = 0) -> None:
        self.objects: dict[Key, Stored] = {}
        self.history: list[Event] = []
        self.floor = floor

    def apply(self, record: Record) -> Event:
        """Take a change in."""
        item = stored(record)
        before = self.objects.get(item.key)
        if record.action == "DELETED":
            self.objects.pop(item.key, None)
        else:
            self.objects[item.key] = item
        event = Event(record.version, record.action, item, before, watch_line(record.action, item.raw))
        self.history.append(event)
        return event

    def compact(self, keep: int) -> None:
        """Forget all but the last `keep` events."""
        cut = len(self.history) - keep
        if cut > 0:
            self.floor = self.history[cut - 1].version
            del self.history[:cut]

    def since(self, version: int) -> list[Event]:
        """What happened after that version; raises Refusal (410) if it is no longer known."""
        if version < self.floor:
            raise compacted(version, self.floor)
        if not self.history or self.history[-1].version <= version:
            return []
        return self.history[bisect_right(self.history, version, key=_version_of) :]

    def nothing_since(self, version: int) -> bool:
        """Whether it is known that nothing happened after that version."""
        return version >= self.floor and not self.since(version)

    def at(self, version: int) -> dict[Key, Stored]:
        """The objects as they were then; raises Refusal (410)."""
        later = self.since(version)
        if not later:
            return self.objects
        objects = dict(self.objects)
        for event in reversed(later):
            if event.before is None:
                objects.pop(event.stored.key, None)
            else:
                objects[event.stored.key] = event.before
        return objects


def _version_of(event: Event) -> int:
    return event.version


class Store:
    """All collections under one version, which grows by one with each change."""

    def __init__(self, version: int = 0, history: int = HISTORY) -> None:
        self.version = version
        self._start = version
        self._keep = history
        self._collections: dict[str, Collection] = {}

    def collection(self, kind: str) -> Collection:
        """The collection of a kind, empty if nothing was ever stored."""
        found = self._collections.get(kind)
        if found is None:
            found = self._collections[kind] = Collection(self._start)
        return found

    def restore(self, record: Record) -> None:
        """Put back an object of a snapshot; there is no history of it."""
        item = stored(record)
        self.collection(record.kind).objects[item.key] = item

    def apply(self, record: Record) -> Event:
        """Take a change in. Its version must follow ours; ValueError if not."""
        if record.version != self.version + 1:
            raise ValueError(f"record {record.version} does not follow {self.version}")
        self.version = record.version
        collection = self.collection(record.kind)
        event = collection.apply(record)
        if len(collection.history) >= 2 * self._keep:  # in bulk: compacting moves the rest of the list
            collection.compact(self._keep)
        return event

    def compact(self) -> None:
        """Forget all history: every older watch and page ends with 410."""
        for collection in self._collections.values():
            collection.compact(0)
            collection.floor = self.version
        self._start = self.version

    def size(self) -> int:
        """How many objects there are."""
        return sum(len(collection.objects) for collection in self._collections.values())

    def records(self) -> Iterator[Record]:
        """Every object as a record, for a snapshot."""
        for kind, collection in self._collections.items():
            for item in collection.objects.values():
                yield Record(item.version, "ADDED", kind, item.document)

"""The file that holds the server's objects: a snapshot and the changes since, one checked line each.

A write is acknowledged after its line is on the disk. A line that a crash tore off at the end was never
acknowledged and is cut away; a broken line before the end means that the file is damaged.
"""

from __future__ import annotations

import os
from pathlib import Path
from zlib import crc32

import msgspec

from strictarp.errors import UserError
from strictarp.lab.apiserver.store import HISTORY, Record, Store

MIN_CHANGES = 2000
FORMAT = 1


class _Head(msgspec.Struct, frozen=True):
    """The first line: up to which version the next `objects` lines show everything."""

    format: int
    version: int
    objects: int


_encoder = msgspec.json.Encoder()
_head = msgspec.json.Decoder(_Head)
_record = msgspec.json.Decoder(Record)


def frame(value: _Head | Record) -> bytes:
    """A line: CRC-32 in hex, a space, JSON."""
    body = _encoder.encode(value)
    return b"%08x %s\n" % (crc32(body), body)


def _unframe(line: bytes) -> bytes | None:
    """The JSON of a line, None if it is not what was written."""
    body = line[9:]
    return body if line[:9] == b"%08x " % crc32(body) else None


def read(data: bytes, history: int = HISTORY) -> tuple[Store, int]:
    """The state in a file's bytes, and how many of them are sound; raises ValueError naming the line."""
    store, offset, objects, number = Store(0, history), 0, 0, 0
    while offset < len(data):
        end = data.find(b"\n", offset)
        body = _unframe(data[offset:end]) if end >= 0 else None
        if body is None:
            if end < 0 or end == len(data) - 1:
                break  # torn off by a crash
            raise ValueError(f"line {number + 1}: checksum does not match")
        try:
            if number == 0:
                head = _head.decode(body)
                if head.format != FORMAT:
                    raise ValueError(f"format {head.format} is not {FORMAT}")
                store, objects = Store(head.version, history), head.objects
            elif number <= objects:
                store.restore(_record.decode(body))
            else:
                store.apply(_record.decode(body))
        except (msgspec.DecodeError, ValueError, KeyError) as error:
            raise ValueError(f"line {number + 1}: {error}") from error
        number += 1
        offset = end + 1
    if 0 < number <= objects:
        raise ValueError(f"line {number}: the snapshot of {objects} objects is not complete")
    return store, offset


class Journal:
    """The open file. One process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._size = 0
        self._changes = 0

    def open(self, history: int = HISTORY) -> Store:
        """Read the state and make ready to append; raises UserError naming file and line."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            data = self._path.read_bytes() if self._path.exists() else b""
            store, self._size = read(data, history)
            if self._size == 0:
                self.rewrite(store)
            else:
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                os.ftruncate(self._file, self._size)
                os.fsync(self._file)
        except ValueError as error:
            raise UserError(f"{self._path}: damaged: {error}; move the file away to start empty") from error
        except OSError as error:
            raise UserError(f"{self._path}: {error.strerror}") from error
        return store

    def append(self, records: tuple[Record, ...]) -> None:
        """Write records and wait for the disk; after an OSError the file is as it was before."""
        lines = b"".join(frame(record) for record in records)
        try:
            done = 0
            while done < len(lines):
                done += os.write(self._file, lines[done:])
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(lines)
        self._changes += len(records)

    def due(self, objects: int) -> bool:
        """Whether the changes have outgrown the objects so far that a new snapshot pays."""
        return self._changes > max(MIN_CHANGES, 4 * objects)

    def rewrite(self, store: Store) -> None:
        """Replace the file by a snapshot in one step: written aside, synced, renamed. Raises OSError."""
        records = list(store.records())
        lines = [frame(_Head(FORMAT, store.version, len(records))), *map(frame, records)]
        fresh = self._path.with_name(self._path.name + ".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(os.dup(file), "wb") as writer:
            writer.writelines(lines)
        os.fsync(file)
        fresh.rename(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)
        self.close()
        self._file = file
        self._size = os.fstat(file).st_size
        self._changes = 0

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

"""The journal's file, and the lock that makes its writer the only one. Thin.

The new journal is written beside the old one, brought to the disk, and then takes its place: whoever reads
sees one of the two, whole (rename(2), fsync(2) of the file and of its folder).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from strictarp.errors import UserError
from strictarp.guard import journal as journals
from strictarp.guard.journal import Journal, Origin

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/thread-self/ns/net")
_LARGEST = 1 << 20


class Store:
    """The journal of an owner ("guard" or "proxy") in a folder."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.path = folder / f"{owner}.json"
        self._owner = owner
        self._lock: int | None = None

    def load(self) -> Journal | None:
        """What is stored, None without a file. Raises UnusableJournal, UserError."""
        try:
            with self.path.open("rb") as file:
                data = file.read(_LARGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"journal {self.path}: {error.strerror}; a readable file is needed") from None
        return journals.decode(data, str(self.path))

    def store(self, journal: Journal) -> None:
        """Replace the file; when this returns it is on the disk. Raises UserError."""
        beside = self.path.with_suffix(".json.new")
        try:
            with beside.open("wb") as file:
                file.write(journals.encode(journal))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
            self._sync_folder()
        except OSError as error:
            raise UserError(
                f"journal {self.path}: cannot be written: {error.strerror}; without it nothing is changed. "
                "Name a folder on a disk that can be written with --state"
            ) from None

    def remove(self) -> None:
        """Delete the file, for everything is put back. Raises UserError."""
        try:
            self.path.unlink(missing_ok=True)
            self._sync_folder()
        except OSError as error:
            raise UserError(f"journal {self.path}: cannot be deleted: {error.strerror}") from None

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def lock(self) -> None:
        """Become the only writer, until `unlock` or the end of the process. Raises UserError."""
        path = self.path.with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; name a folder that can be written") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise UserError(
                f"{path}: held by process {holder or '?'}, which guards already; end it first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        """Let another one in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def holder(self) -> int | None:
        """The process that guards now by this journal; None: nobody. Changes nothing."""
        try:
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            text = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(descriptor)


def origin() -> Origin:
    """This boot, and the namespace of the calling thread. Raises UserError."""
    try:
        return Origin(_BOOT_ID.read_text(encoding="ascii").strip(), _NAMESPACE.stat().st_ino)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; is /proc mounted?") from None

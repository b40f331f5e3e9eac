"""A node's files and programs, below the folder where its root is. Thin.

From inside a pod the node's root is mounted somewhere, and absolute symlinks lead below that place.
"""

from __future__ import annotations

import fnmatch
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

LIMIT = 1 << 20
"""Bytes that are read of one file: none that matters is longer."""
_LINKS = 40
SECONDS = 20.0


class Root:
    """A file system. Paths are those of the node, absolute; missing and unreadable files are None.

    blind: path → why it could not be read, although it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blind: dict[str, str] = {}

    def real(self, path: str) -> str:
        """Where symlinks lead, as seen by the node. The path itself when they go round in circles."""
        parts = path.strip("/").split("/")
        done: list[str] = []
        links = 0
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            place = self.path.joinpath(*done, part)
            try:
                target = str(place.readlink())
            except OSError:
                done.append(part)
                continue
            links += 1
            if links > _LINKS:
                return path
            done = [] if target.startswith("/") else done
            parts = [*target.split("/"), *parts]
        return "/" + "/".join(done)

    def at(self, path: str) -> Path:
        """Where a file of the node really is for this process."""
        return self.path / self.real(path).lstrip("/")

    def read(self, path: str) -> str | None:
        """The text, None where there is no such file (a pipe or a device is none)."""
        place = self.at(path)
        try:
            if not stat.S_ISREG(place.stat().st_mode):
                return None
            with place.open("rb") as file:
                return file.read(LIMIT).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.blind[path] = f"cannot be read: {error.strerror}; root is needed"
            return None

    def changed(self, path: str) -> float:
        """When the file was changed, in seconds since the epoch; 0 without it."""
        try:
            return self.at(path).stat().st_mtime
        except OSError:
            return 0.0

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, as the node names them."""
        folder, _, name = pattern.rpartition("/")
        if "*" not in folder:
            return self._names(folder, name)
        at = next(i for i, part in enumerate(folder.split("/")) if "*" in part)
        parts = pattern.split("/")
        heads = self.glob("/".join(parts[: at + 1]))
        return [found for head in heads for found in self.glob("/".join([head, *parts[at + 1 :]]))]

    def _names(self, folder: str, name: str) -> list[str]:
        try:
            names = [each.name for each in self.at(folder or "/").iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.blind[folder] = f"cannot be listed: {error.strerror}; root is needed"
            return []
        return sorted(f"{folder}/{each}" for each in names if fnmatch.fnmatchcase(each, name))

    def exists(self, path: str) -> bool:
        """There is such a file or folder, as far as it may be seen."""
        try:
            self.at(path).stat()
        except OSError:
            return False
        return True

    def link_name(self, path: str) -> str:
        """The last part of where a symlink leads, empty without one."""
        try:
            return (self.path / path.lstrip("/")).readlink().name
        except OSError:
            return ""

    def processes(self) -> Iterator[tuple[int, tuple[str, ...], str]]:
        """(PID, command line, /proc/PID/stat) of every process; those that end meanwhile are passed over."""
        for folder in (self.path / "proc").glob("[0-9]*"):
            try:
                argv = (folder / "cmdline").read_bytes()
                told = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            words = argv.decode("utf-8", "replace").split("\0")
            yield int(folder.name), tuple(words), told


def output_of(*argv: str) -> str:
    """What a program prints. Raises OSError when it is missing, fails or takes too long."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(0, f"{argv[0]} did not end within {SECONDS:g} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise OSError(done.returncode, said[0] if said else f"{argv[0]} failed with {done.returncode}")
    return done.stdout

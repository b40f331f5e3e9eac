"""Reading what may tell who changed a sysctl. Thin; a file that cannot be read tells nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from strictarp.guard.culprits import FOLDERS, SYSCTL_CONF, Evidence

_LARGEST = 1 << 20
_TUNED = ("etc/tuned/profiles", "etc/tuned", "usr/lib/tuned/profiles", "usr/lib/tuned")
_DEEPEST = 8
_INCLUDE = re.compile(r"^\s*include\s*=\s*(.+)$", re.MULTILINE)


def collect(root: Path = Path("/")) -> Evidence:
    """The evidence of the file system under `root`, where the host's may be mounted.

    Of processes only those that this one can see: in a pod without hostPID its own.
    """
    return Evidence(
        files=dict(_texts(root, _sysctl_files(root))),
        tuned=dict(_tuned(root)),
        keepalived=_text(root / "etc/keepalived/keepalived.conf"),
        processes=frozenset(_processes(root)),
    )


def _sysctl_files(root: Path) -> Iterator[Path]:
    yield root / SYSCTL_CONF.lstrip("/")
    for folder in FOLDERS:
        try:
            yield from sorted((root / folder.lstrip("/")).glob("*.conf"))
        except OSError:
            continue


def _texts(root: Path, paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        text = _text(path)
        if text:
            yield f"/{path.relative_to(root)}", text


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST)
    except OSError:
        return ""


def _tuned(root: Path) -> Iterator[tuple[str, str]]:
    """The active profile, and those that it includes."""
    names = _text(root / "etc/tuned/active_profile").split()
    for _ in range(_DEEPEST):
        included: list[str] = []
        for name in names:
            for folder in _TUNED:
                path = root / folder / name / "tuned.conf"
                text = "/" not in name and _text(path)
                if text:
                    yield f"/{path.relative_to(root)}", text
                    included += [
                        each for found in _INCLUDE.findall(text) for each in re.split(r"[,\s]+", found)
                    ]
                    break
        names = included


def _processes(root: Path) -> Iterator[str]:
    for path in (root / "proc").glob("[0-9]*/comm"):
        name = _text(path).strip()
        if name:
            yield name

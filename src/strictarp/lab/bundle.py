"""Our code and what it imports, in one file.

The guest reads its host's files by 9p, where each small file costs a dozen messages: a package imports four
times as fast from the guest's memory, and one large file gets there in a moment.
"""

from __future__ import annotations

import compileall
import re
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import strictarp

PROGRAM = "strictarp"
SELDOM = frozenset({"markdown-it-py", "mdurl", "pygments", "rich", "ruamel-yaml"})
"""Distributions that nothing in the guest imports, or one command once: these are read where they are."""
_USELESS = (".c", ".h", ".pxd", ".pyi", ".pyx")


def pack(path: Path) -> None:
    """Write the bundle to `path`, a tar file; its top folder goes on PYTHONPATH."""
    with tarfile.open(path, "w") as bundle:
        package = Path(strictarp.__file__).parent
        # Of a fresh checkout most modules have no byte code: the guest would compile them, ten times slower.
        compileall.compile_dir(package, quiet=2)
        bundle.add(package, package.name, filter=_wanted)
        for name, source in sorted(_libraries().items()):
            bundle.add(source, name, recursive=False)


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Byte code of this interpreter only: others may have left theirs."""
    other = entry.name.endswith(".pyc") and f".{sys.implementation.cache_tag}." not in entry.name
    return None if other else entry


def _libraries() -> dict[str, Path]:
    """Name in the bundle → file, of all distributions that ours needs."""
    return {
        str(file): Path(str(each.locate_file(file)))
        for each in _required(PROGRAM, {}).values()
        for file in each.files or ()
        if not str(file).startswith("..") and ".dist-info/" not in str(file) and file.suffix not in _USELESS
        if Path(str(each.locate_file(file))).is_file()
    }


def _required(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distributions that `name` needs, itself left out, as far as they are installed."""
    for needed in _names(distribution(name)):
        if needed in found or needed in SELDOM:
            continue
        try:
            found[needed] = distribution(needed)
        except PackageNotFoundError:  # for another version or platform
            continue
        _required(needed, found)
    return found


def _names(of: Distribution) -> Iterator[str]:
    for requirement in of.requires or ():
        head, _, marker = requirement.partition(";")
        match = re.match(r"[A-Za-z0-9._-]+", head)
        if match is not None and "extra" not in marker:
            yield re.sub(r"[-_.]+", "-", match[0]).lower()

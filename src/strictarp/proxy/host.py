"""What of the host is set once, at the start: sysctls but strictARP's, and the own OOM score. Thin."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from strictarp.errors import UserError
from strictarp.proxy import sysctls
from strictarp.proxy.config import Config, Conntrack
from strictarp.sysctl.files import ReadOnly, SysctlError

log = logging.getLogger(__name__)

HASH_SIZE = Path("/sys/module/nf_conntrack/parameters/hashsize")
Ensure: TypeAlias = Callable[[str, int], int | None]
"""Writes a sysctl unless it is so, and returns its old value if it was not (`sysctl.files.ensure`)."""


class ReadOnlyHost(UserError):
    """A sysctl that Services cannot do without is on a file system that is mounted read-only."""


def prepare(config: Config, ensure: Ensure, hash_size: Path = HASH_SIZE) -> list[str]:
    """Set everything; what of connection tracking is as it was since its file system is read-only.

    Raises UserError, or ReadOnlyHost, for a sysctl that Services cannot do without.
    """
    wanted = sysctls.BASIC | sysctls.kernel_sysctls(os.uname().release)
    for name, value in wanted.items():
        try:
            before = ensure(name, int(value))
        except SysctlError as error:
            kind = ReadOnlyHost if isinstance(error, ReadOnly) else UserError
            raise kind(f"{error} (wanted: {value})") from None
        if before is not None:
            log.info("sysctl set", extra={"fields": {"name": name, "from": before, "to": value}})
    return _size_tracking(config.conntrack, ensure, hash_size)


def _size_tracking(conntrack: Conntrack, ensure: Ensure, hash_size: Path) -> list[str]:
    """Sizes and times of connection tracking; a failure is only logged, a read-only one returned too."""
    size = sysctls.conntrack_size(conntrack, len(os.sched_getaffinity(0)))
    read_only = []
    for name, value in (size | sysctls.conntrack_sysctls(conntrack)).items():
        try:
            ensure(name, int(value))
        except SysctlError as error:
            log.warning("sysctl left as it is", extra={"fields": {"reason": str(error)}})
            if isinstance(error, ReadOnly):
                read_only.append(f"{name}={value}")
    for entries in size.values():
        try:
            _grow(hash_size, sysctls.hash_size(int(entries)))
        except (OSError, ValueError) as error:
            log.warning("connection tracking's hash left as it is", extra={"fields": {"reason": str(error)}})
            if isinstance(error, OSError) and error.errno == errno.EROFS:
                read_only.append(f"{hash_size}={sysctls.hash_size(int(entries))}")
    return read_only


def _grow(file: Path, size: int) -> None:
    """Raises OSError, ValueError. Only larger, and only in the first network namespace
    (nf_conntrack_set_hashsize).
    """
    if file.exists() and int(file.read_text()) < size:
        with file.open("r+b", buffering=0) as opened:
            opened.write(f"{size}\n".encode())
        log.info("connection tracking's hash is larger", extra={"fields": {"buckets": size}})


def set_oom_score(score: int) -> None:
    """How the kernel chooses when memory is short; a failure is only logged."""
    try:
        Path("/proc/self/oom_score_adj").write_text(str(score))
    except OSError as error:
        log.warning("oomScoreAdj left as it is", extra={"fields": {"reason": str(error)}})


def families() -> tuple[int, ...]:
    """Widths of addresses that the kernel serves in this thread's namespace: IPv6 may be missing."""
    return (4, 16) if Path("/proc/thread-self/net/if_inet6").exists() else (4,)

"""What of the host is set once, at the start: sysctls but strictARP's, and the own OOM score. Thin."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from strictarp.errors import UserError
from strictarp.proxy import sysctls
from strictarp.proxy.config import Config
from strictarp.sysctl.files import SysctlError

log = logging.getLogger(__name__)

Ensure: TypeAlias = Callable[[str, int], int | None]
"""Writes a sysctl unless it is so, and returns its old value if it was not (`sysctl.files.ensure`)."""


def prepare(config: Config, ensure: Ensure) -> None:
    """Set everything. Raises UserError for a sysctl that Services cannot do without."""
    wanted = sysctls.BASIC | sysctls.kernel_sysctls(os.uname().release)
    for name, value in wanted.items():
        try:
            before = ensure(name, int(value))
        except SysctlError as error:
            raise UserError(f"{error} (wanted: {value})") from None
        if before is not None:
            log.info("sysctl set", extra={"fields": {"name": name, "from": before, "to": value}})
    cpus = len(os.sched_getaffinity(0))
    tracking = sysctls.conntrack_size(config.conntrack, cpus) | sysctls.conntrack_sysctls(config.conntrack)
    for name, value in tracking.items():
        try:
            ensure(name, int(value))
        except SysctlError as error:
            log.warning("sysctl left as it is", extra={"fields": {"reason": str(error)}})


def set_oom_score(score: int) -> None:
    """How the kernel chooses when memory is short; a failure is only logged."""
    try:
        Path("/proc/self/oom_score_adj").write_text(str(score))
    except OSError as error:
        log.warning("oomScoreAdj left as it is", extra={"fields": {"reason": str(error)}})


def families() -> tuple[int, ...]:
    """Widths of addresses that the kernel serves in this thread's namespace: IPv6 may be missing."""
    return (4, 16) if Path("/proc/thread-self/net/if_inet6").exists() else (4,)

"""Going first: a speaker that waits for a processor is late with its hellos, and loses its addresses."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

NICE = -10
_AUTOGROUP = Path("/proc/self/autogroup")


def go_first() -> bool:
    """Take a higher priority than ordinary processes, where CAP_SYS_NICE permits it; whether it did.

    Where the kernel shares processors among sessions (sched(7), autogroup) that of the session counts.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    except PermissionError:
        log.info("no higher priority: that needs CAP_SYS_NICE")
        return False
    with contextlib.suppress(OSError):  # not this kernel, or in a control group: then it does not count
        _AUTOGROUP.write_text(str(NICE), encoding="ascii")
    return True

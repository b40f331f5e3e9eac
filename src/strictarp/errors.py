"""Errors meant for people."""

from __future__ import annotations

EX_USAGE = 64
"""Exit code of a usage error, of every command (sysexits)."""


class UserError(Exception):
    """Something the user can mend. The message names the object and field and says how.

    The command line prints it as `error: MESSAGE`, without a traceback, and ends with `exit_code`.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code

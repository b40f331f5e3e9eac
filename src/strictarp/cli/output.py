"""Output for programs: the `--json` option that every reporting command has."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from strictarp.errors import EX_USAGE, UserError

F = TypeVar("F", bound=Callable[..., Any])
STDOUT = "-"


def json_option(function: F) -> F:
    """Add `--json [FILE]` as the parameter `json_target`: None, "-" for standard output, or a path.

    A file that cannot be written is a usage error, told before the command does anything.
    """
    return click.option(
        "--json",
        "json_target",
        callback=_checked,
        is_flag=False,
        flag_value=STDOUT,
        default=None,
        metavar="[FILE]",
        help="Write the result as JSON to FILE, or to standard output.",
    )(function)


def _checked(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and value != STDOUT and not can_be_written(Path(value)):
        raise click.BadParameter(f"{value!r} cannot be written", ctx, param)
    return value


def can_be_written(path: Path) -> bool:
    """A file that is there may be written, or one may be made there; nothing is opened."""
    if path.exists():
        return not path.is_dir() and os.access(path, os.W_OK)
    return path.parent.is_dir() and os.access(path.parent, os.W_OK)


def write_json(target: str, value: object) -> None:
    """Write `value` as indented JSON to a path or, for "-", to standard output.

    Raises UserError when the file cannot be written.
    """
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
    if target == STDOUT:
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"--json {target}: {error.strerror}; name a file that can be written", EX_USAGE
        ) from error


def read_text(path: Path) -> str:
    """The text of a file that the user named. Raises UserError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file that can be read") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); a text file is expected") from error

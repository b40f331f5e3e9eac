"""The scenarios that are shipped, and files of people's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import yaml

from strictarp.errors import UserError
from strictarp.lab.scenario import Scenario, parse

SUFFIX = ".yaml"


def shipped() -> dict[str, Scenario]:
    """All that come with strictarp, by name."""
    found = {}
    for entry in sorted(resources.files(__name__).iterdir(), key=lambda each: each.name):
        if entry.name.endswith(SUFFIX):
            name = entry.name.removesuffix(SUFFIX)
            found[name] = _read(entry.name, name, entry.read_text(encoding="utf-8"))
    return found


def find(named: str) -> Scenario:
    """A shipped scenario by its name, or one in a file by its path. Raises UserError."""
    path = Path(named)
    if path.suffix in {SUFFIX, ".yml"} or len(path.parts) > 1:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{named}: {error.strerror}; name a file that can be read") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{named}: not UTF-8 ({error.reason}); a text file is expected") from error
        return _read(named, path.stem, text)
    every = shipped()
    if named not in every:
        raise UserError(f"{named}: no such scenario; there are {', '.join(every)}, or name a .yaml file")
    return every[named]


def _read(file: str, name: str, text: str) -> Scenario:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{file}: is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise UserError(f"{file}: must be a mapping with title, steps and expect")
    return parse(file, name, value)

"""JSON documents as the server handles them. Documents that are stored are never changed, only replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Document: TypeAlias = "dict[str, object]"


def sub(document: Mapping[str, object], *path: str) -> Mapping[str, object]:
    """The mapping at a path, empty if there is none."""
    here: object = document
    for name in path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def text(document: Mapping[str, object], *path: str) -> str:
    """The text at a path, empty if there is none."""
    value = sub(document, *path[:-1]).get(path[-1])
    return value if isinstance(value, str) else ""


def texts(document: Mapping[str, object], *path: str) -> dict[str, str]:
    """The mapping of text to text at a path, such as labels; what is no text is left out."""
    return {name: value for name, value in sub(document, *path).items() if isinstance(value, str)}


def items(document: Mapping[str, object], *path: str) -> list[Document]:
    """The mappings of the list at a path."""
    value = sub(document, *path[:-1]).get(path[-1])
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def with_fields(document: Mapping[str, object], **fields: object) -> Document:
    """A copy with some fields replaced; None removes one."""
    made = {**document, **fields}
    return {name: value for name, value in made.items() if value is not None or name not in fields}


def merge(target: object, patch: object) -> object:
    """A JSON merge patch applied (RFC 7386): null removes, mappings merge, everything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    made = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merge(made.get(name), value)
    return made

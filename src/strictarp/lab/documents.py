"""API objects from files that people write: YAML or JSON, several documents, lists."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from strictarp.errors import UserError
from strictarp.lab.manifests import Document


def read_documents(name: str) -> list[Document]:
    """All objects in a file, or on standard input for "-"; `kind: List` is opened.

    Raises UserError naming the file and what is wrong in it.
    """
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        loaded = list(yaml.safe_load_all(text))
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: is no YAML: {' '.join(str(error).split())}") from error
    return [document for value in loaded if value is not None for document in _objects(name, value)]


def _objects(name: str, value: object) -> Iterator[Document]:
    if not isinstance(value, dict):
        raise UserError(f"{name}: an object with apiVersion and kind is needed, not {type(value).__name__}")
    if value.get("kind") == "List":
        for item in value.get("items") or ():
            yield from _objects(name, item)
    else:
        yield value

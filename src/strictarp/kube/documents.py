"""Kubernetes objects from files of YAML or JSON: several documents, Lists and whole folders.

Parsing is pure; `read_documents` is the thin part that opens files. Objects of kinds that nobody asked for
are passed over, one that does not have its kind's shape is set aside with the reason, and the order of files
and documents never matters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
import yaml

from strictarp.errors import UserError
from strictarp.kube.model import KubeObject, Resource

Raw: TypeAlias = dict[str, Any]
T = TypeVar("T", bound=KubeObject)

_SUFFIXES = (".yaml", ".yml", ".json")
_BLANKS = re.compile(r"\s*")
_BASE: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ApiLoader(_BASE):  # type: ignore[misc,valid-type]
    """Leaves times as the text that they are in the API."""


ApiLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str) -> Iterator[object]:
    """The documents of a text, with times as text. Raises yaml.YAMLError, ValueError, RecursionError."""
    try:
        yield from yaml.load_all(text, Loader=ApiLoader)
    except (LookupError, AttributeError) as error:  # of `!!bool x` and the like
        raise ValueError(f"a value is not what its tag says: {error}") from None


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """An object that cannot be used as it is written; `name` is "?" where it has none."""

    kind: str
    namespace: str
    name: str
    field: str
    message: str
    document: Raw = {}
    """The object as it is written, for those who need to know at least a part of it."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.field}: {self.message}"


def read_documents(paths: Iterable[Path]) -> list[Raw]:
    """Every object of these files, and of the YAML and JSON files of these folders, Lists taken apart.

    Raises UserError naming the file that cannot be read or is no YAML.
    """
    found: list[Raw] = []
    for path in paths:
        for file in files_of(path):
            found += parse_documents(text_of(file), str(file))
    return found


def parse_documents(text: str, source: str) -> Iterator[Raw]:
    """The objects of one text. Pure. Raises UserError naming `source`."""
    for document in _load(text, source):
        yield from _objects(document, source)


def decode(
    documents: Iterable[Raw], resources: Iterable[Resource[Any]], *, namespace: str = "default"
) -> tuple[list[KubeObject], list[Unreadable]]:
    """The objects of the kinds that `resources` name, in order of kind and name, and those set aside. Pure.

    A namespaced object without a namespace is one of `default`, as for kubectl; one of a custom kind is one
    of `namespace`. The same object twice counts once; two that differ are both set aside.
    """
    kinds = {(each.api_version, each.kind): each for each in resources}
    objects: dict[tuple[str, str], KubeObject] = {}
    faults: dict[tuple[str, str], Unreadable] = {}
    for document in documents:
        resource = kinds.get((str(document.get("apiVersion")), str(document.get("kind"))))
        if resource is None:
            continue
        made = _decode(document, resource, namespace)
        if isinstance(made, Unreadable):
            where = (made.kind, f"{made.namespace}/{made.name}: {made}")
            # Of two with the same fault always the same one, whatever the order.
            faults[where] = min(faults.get(where, made), made, key=lambda each: repr(each.document))
            continue
        place = (resource.kind, made.key)
        if objects.setdefault(place, made) != made:
            meta, why = made.metadata, "given twice, and not alike; keep one"
            faults[place] = Unreadable(resource.kind, meta.namespace, meta.name, "metadata.name", why)
    sound = [objects[place] for place in sorted(objects) if place not in faults]
    return sound, [faults[place] for place in sorted(faults)]


def of_type(objects: Iterable[KubeObject], kind: type[T]) -> list[T]:
    """Those of one kind."""
    return [each for each in objects if type(each) is kind]


def _decode(document: Raw, resource: Resource[Any], namespace: str) -> KubeObject | Unreadable:
    metadata = document.get("metadata")
    given = metadata if isinstance(metadata, dict) else {}
    group = resource.api_version.rpartition("/")[0]
    custom = "." in group and not group.endswith(".k8s.io")
    home = str(given.get("namespace") or (namespace if custom else "default")) if resource.namespaced else ""
    name = given.get("name")
    if not isinstance(name, str) or not name:
        told = "?" if name is None else str(name)
        return Unreadable(resource.kind, home, told, "metadata.name", "no name, or no text; give one")
    try:
        made = msgspec.convert(
            _without_nulls({**document, "metadata": {**given, "namespace": home}}), resource.type
        )
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        return Unreadable(resource.kind, home, name, path.rstrip("`") or "metadata", message, document)
    except RecursionError:
        return Unreadable(resource.kind, home, name, "metadata", "nested too deeply")
    assert isinstance(made, KubeObject)  # noqa: S101 - what Resource holds
    return made


def _load(text: str, source: str) -> Iterator[object]:
    if source.endswith(".json"):
        try:
            yield from _json_values(text)
            return
        except (ValueError, RecursionError):
            pass  # documents of YAML, or comments: YAML reads those
    try:
        yield from list(load_yaml(text))
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # also numbers of thousands of digits
        raise UserError(f"{source}: {' '.join(str(error).split())}") from None


def _json_values(text: str) -> list[object]:
    """One value, or several one after the other. Raises ValueError, RecursionError."""
    try:
        return [msgspec.json.decode(text)]
    except msgspec.DecodeError:
        found: list[object] = []
        at, decoder = _end_of_blanks(text, 0), json.JSONDecoder()
        while at < len(text):
            value, end = decoder.raw_decode(text, at)
            found.append(value)
            at = _end_of_blanks(text, end)
        return found


def _end_of_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _objects(document: object, source: str) -> Iterator[Raw]:
    if document is None:
        return
    if not isinstance(document, dict):
        raise UserError(f"{source}: a Kubernetes object is expected, not {type(document).__name__}")
    kind = str(document.get("kind", ""))
    items = document.get("items")
    if not kind.endswith("List") or not isinstance(items, list | None):
        yield document
        return
    # Items of a list straight from the API (`kubectl get --raw`) do not repeat what they are.
    same = {"apiVersion": document.get("apiVersion"), "kind": kind.removesuffix("List")}
    if kind == "List":
        same = {}
    for item in items or ():
        yield from _objects({**same, **item} if isinstance(item, dict) else item, source)


def _without_nulls(value: object) -> object:
    """null is absent, as in the API."""
    if isinstance(value, dict):
        return {str(key): _without_nulls(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_nulls(entry) for entry in value]
    return value


def files_of(path: Path) -> list[Path]:
    """The file, or the YAML and JSON files of the folder, by name. Raises UserError."""
    try:
        if not path.is_dir():
            return [path]
        return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    except OSError as error:
        raise UserError(f"--objects {path}: cannot be read: {error}") from None


def text_of(path: Path) -> str:
    """What a file holds. Raises UserError naming it."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--objects {path}: cannot be read: {error}") from None

"""Kubernetes objects from files of YAML or JSON, with the API server's defaults. The reading is thin."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import yaml

from strictarp.errors import UserError
from strictarp.kube.documents import files_of, load_yaml, text_of
from strictarp.kube.model import KubeObject
from strictarp.kube.objects import EndpointSlice, Node, Service
from strictarp.proxy.lenient import convert, without_nulls

_KINDS: Mapping[str, tuple[str, type[KubeObject]]] = {
    "Service": ("v1", Service),
    "EndpointSlice": ("discovery.k8s.io/v1", EndpointSlice),
    "Node": ("v1", Node),
}


class Objects(msgspec.Struct):
    """What files hold. warnings: `Kind ns/name: field: reason`, for each part that is refused."""

    services: list[Service] = msgspec.field(default_factory=list)
    slices: list[EndpointSlice] = msgspec.field(default_factory=list)
    nodes: list[Node] = msgspec.field(default_factory=list)
    warnings: list[str] = msgspec.field(default_factory=list)
    _places: dict[tuple[type[KubeObject], str], KubeObject] = msgspec.field(default_factory=dict)

    def add(self, found: KubeObject) -> None:
        """Keep an object; given again it takes the place of the former one, with a warning."""
        place = (type(found), found.key)
        if self._places.setdefault(place, found) != found:
            kind = type(found).__name__
            self.warnings.append(
                f"{kind} {found.key}: metadata.name: given more than once, the last one counts"
            )
            self._places[place] = found
        match found:
            case Service():
                self.services.append(found)
            case EndpointSlice():
                self.slices.append(found)
            case Node():
                self.nodes.append(found)


def read_objects(paths: Iterable[Path]) -> Objects:
    """All Services, EndpointSlices and Nodes of files and folders.

    Raises UserError, naming the file, for one that cannot be read or is neither YAML nor JSON.
    """
    objects = Objects()
    for path in paths:
        for file in files_of(path):
            parse_objects(text_of(file), str(file), objects)
    return objects


def parse_objects(text: str, source: str, objects: Objects) -> None:
    """Add the objects of a text with several documents and Lists. Pure. Raises UserError naming `source`."""
    try:
        for number, document in enumerate(_documents(text)):
            if document is not None:
                _take(document, f"Document {source}: [{number}]", objects)
    except yaml.YAMLError as error:
        raise UserError(f"{source}: {' '.join(str(error).split())}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # numbers of thousands of digits, documents inside themselves
        raise UserError(f"{source}: cannot be read: {error}") from None


def _documents(text: str) -> Iterator[object]:
    try:
        yield json.loads(text)  # far faster, and YAML has no tabs
    except json.JSONDecodeError:
        yield from load_yaml(text)


def _take(document: object, where: str, objects: Objects) -> None:
    if not isinstance(document, dict):
        objects.warnings.append(f"{where}: a Kubernetes object is expected, not {_show(document)}, ignored")
        return
    kind = str(document.get("kind", ""))
    if kind.endswith("List"):
        items = document.get("items") or ()
        if not isinstance(items, list | tuple):
            objects.warnings.append(f"{where}.items: a list is expected, not {_show(items)}, ignored")
            return
        for index, item in enumerate(items):
            _take(_named(item, document), f"{where}.items[{index}]", objects)
        return
    if kind in _KINDS:
        _convert(without_nulls(document), kind, objects)


def _named(item: object, parent: dict[object, object]) -> object:
    """An item of a typed list (`kind: ServiceList`) has its kind from the list."""
    kind = str(parent["kind"]).removesuffix("List")
    if not isinstance(item, dict) or not kind or "kind" in item:
        return item
    return {"apiVersion": parent.get("apiVersion"), "kind": kind, **item}


def _convert(document: dict[str, object], kind: str, objects: Objects) -> None:
    version, struct = _KINDS[kind]
    metadata = document.setdefault("metadata", {})
    if isinstance(metadata, dict):
        if kind != "Node":
            metadata.setdefault("namespace", "default")
        namespace, name = metadata.get("namespace"), metadata.get("name") or "?"
        where = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
    else:
        where = f"{kind} ?"
    if document.get("apiVersion") != version:
        found = document.get("apiVersion")
        objects.warnings.append(f"{where}: apiVersion: {version} is expected, not {found!r}, ignored")
        return
    made, faults = convert(document, struct)
    if made is not None and not made.metadata.name:
        made, faults = None, [*faults, "metadata.name: missing, ignored"]
    objects.warnings += [f"{where}: {fault}" for fault in faults]
    if made is not None:
        objects.add(made)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

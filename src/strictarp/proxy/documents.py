"""Kubernetes objects from files of YAML or JSON, with the API server's defaults. The reading is thin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import yaml

from strictarp.errors import UserError
from strictarp.kube.objects import EndpointSlice, Service

_KINDS: Mapping[tuple[str, str], type[Service] | type[EndpointSlice]] = {
    ("v1", "Service"): Service,
    ("discovery.k8s.io/v1", "EndpointSlice"): EndpointSlice,
}
_SUFFIXES = (".yaml", ".yml", ".json")


class _Loader(yaml.SafeLoader):
    """Leaves times as the text that they are in the API."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_objects(paths: Iterable[Path]) -> tuple[list[Service], list[EndpointSlice]]:
    """All Services and EndpointSlices of files and folders. Raises UserError naming file and field."""
    services: list[Service] = []
    slices: list[EndpointSlice] = []
    for path in paths:
        for file in _files(path):
            for found in parse_objects(_text(file), str(file)):
                if isinstance(found, Service):
                    services.append(found)
                else:
                    slices.append(found)
    return services, slices


def parse_objects(text: str, source: str) -> Iterator[Service | EndpointSlice]:
    """The Services and EndpointSlices of a text with several documents and Lists. Pure.

    Raises UserError naming `source`.
    """
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise UserError(f"{source}: {' '.join(str(error).split())}") from None
    for document in documents:
        yield from _convert(document, source)


def _convert(document: object, source: str) -> Iterator[Service | EndpointSlice]:
    if document is None:
        return
    if not isinstance(document, dict):
        raise UserError(f"{source}: a Kubernetes object is expected, not {type(document).__name__}")
    if str(document.get("kind", "")).endswith("List"):
        for item in document.get("items") or ():
            yield from _convert(item, source)
        return
    struct = _KINDS.get((str(document.get("apiVersion")), str(document.get("kind"))))
    if struct is None:
        return
    metadata = document.setdefault("metadata", {})
    if isinstance(metadata, dict):
        metadata.setdefault("namespace", "default")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    try:
        yield msgspec.convert(_without_nulls(document), struct)
    except msgspec.ValidationError as error:
        namespace = metadata.get("namespace") if isinstance(metadata, dict) else ""
        raise UserError(f"{source}: {document['kind']} {namespace}/{name}: {error}") from None


def _without_nulls(value: object) -> object:
    """null is absent, as in the API."""
    if isinstance(value, dict):
        return {str(key): _without_nulls(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_nulls(entry) for entry in value]
    return value


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    else:
        yield path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--objects {path}: cannot be read: {error}") from None

"""Objects of which single parts have the wrong type: those are refused, the rest is read. Pure.

What limits who may reach a Service fails closed: a source range that is no text stays, as one that nobody is
in. An entry of a list of ports, endpoints or ingresses goes as a whole, since the rest of it may mislead; an
empty one stands in its place, so that whatever is said of those behind it names the right one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import msgspec

from strictarp.kube.model import KubeObject, Model
from strictarp.kube.objects import Endpoint, EndpointPort, Ingress, NodeAddress, ServicePort

Raw: TypeAlias = dict[str, object]
Step: TypeAlias = str | int
T = TypeVar("T", bound=KubeObject)

_MOST_FAULTS = 50
_PATH = re.compile(r" - at `(?:key in )?\$(.*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
UNREAD_PORT = -(2**40)
"""The port of an entry that was refused when it was read: to be passed over in silence."""
UNREAD_ADDRESS = "\0"
"""The address of an endpoint that was refused when it was read."""


class _Entries(msgspec.Struct, frozen=True):
    """A list of mappings: where it is, what an entry is, fields of it that may be left out alone, and what
    stands for a refused one."""

    where: tuple[str, ...]
    struct: type[Model]
    optional: frozenset[str]
    stand_in: Raw


_ENTRIES = (
    _Entries(("spec", "ports"), ServicePort, frozenset({"nodePort", "targetPort"}), {"port": UNREAD_PORT}),
    _Entries(("status", "loadBalancer", "ingress"), Ingress, frozenset({"hostname"}), {}),
    _Entries(("status", "addresses"), NodeAddress, frozenset(), {"type": "", "address": ""}),
    _Entries(("endpoints",), Endpoint, frozenset({"hints", "zone"}), {"addresses": [UNREAD_ADDRESS]}),
    _Entries(("ports",), EndpointPort, frozenset(), {"port": UNREAD_PORT}),
)
_TEXTS = (("spec", "loadBalancerSourceRanges"), ("spec", "externalIPs"), ("spec", "clusterIPs"))
_IDENTITY = (("metadata",), ("metadata", "name"), ("metadata", "namespace"))
_MAPS = (("metadata", "labels"), ("metadata", "annotations"))


def mend(document: object, struct: type[T]) -> tuple[T | None, list[str]]:
    """As `convert`, for what the API sends (`kube.model.Mend`)."""
    if not isinstance(document, dict):
        return None, [f"(object): Expected `object`, got {type(document).__name__}"]
    return convert(without_nulls(document), struct)


def without_nulls(document: Mapping[object, object]) -> Raw:
    """null is absent, as in the API."""
    return {_text_of(str(key)): _clean(entry) for key, entry in document.items() if entry is not None}


def _clean(value: object) -> object:
    if isinstance(value, dict):
        return without_nulls(value)
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    return _text_of(value) if isinstance(value, str) else value


def _text_of(value: str) -> str:
    """Without halves of surrogate pairs, which JSON can write and nobody can encode."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def convert(document: Raw, struct: type[T]) -> tuple[T | None, list[str]]:
    """The object, and what of it was refused as `field: reason`; None when nothing of it can be used.

    The document may be changed.
    """
    try:
        return msgspec.convert(document, struct), []
    except msgspec.ValidationError:
        faults: list[str] = []
    for entries in _ENTRIES:
        _at(document, entries.where, partial(_read_entries, entries=entries, faults=faults))
    for where in _TEXTS:
        _at(document, where, partial(_texts, where=where))
    for where in _MAPS:
        _at(document, where, partial(_map, where=where, faults=faults))
    for _ in range(_MOST_FAULTS):
        try:
            return msgspec.convert(document, struct), faults
        except msgspec.ValidationError as error:
            steps, reason = _place(error)
            faults.append(f"{_show(steps)}: {reason}, ignored")
            if not steps or tuple(steps) in _IDENTITY:
                break
            _drop(document, steps)
    return None, faults


def _at(document: Raw, where: tuple[str, ...], change: Callable[[object], object]) -> None:
    """Replace the value at a path, if there is one."""
    inner: object = document
    for name in where[:-1]:
        inner = inner.get(name) if isinstance(inner, dict) else None
    if isinstance(inner, dict) and where[-1] in inner:
        inner[where[-1]] = change(inner[where[-1]])


def _read_entries(value: object, entries: _Entries, faults: list[str]) -> object:
    """The entries of a list of mappings, with stand-ins for those that cannot be used."""
    if not isinstance(value, list):
        return value
    return [_entry(entry, [*entries.where, index], entries, faults) for index, entry in enumerate(value)]


def _entry(entry: object, where: Sequence[Step], entries: _Entries, faults: list[str]) -> object:
    """An entry, without those optional fields that are wrong; the stand-in when another one is."""
    while True:
        try:
            msgspec.convert(entry, entries.struct)
        except msgspec.ValidationError as error:
            steps, reason = _place(error)
            faults.append(f"{_show([*where, *steps])}: {reason}, ignored")
            if not isinstance(entry, dict) or not steps or steps[0] not in entries.optional:
                return entries.stand_in
            entry = {name: field for name, field in entry.items() if name != steps[0]}
        else:
            return entry


def _texts(value: object, where: tuple[str, ...]) -> object:
    """Entries that are no text become text that means nothing, and are named when they are planned."""
    if not isinstance(value, list):
        return [repr(value)] if where == _TEXTS[0] else value
    return [entry if isinstance(entry, str) else repr(entry) for entry in value]


def _map(value: object, where: tuple[str, ...], faults: list[str]) -> object:
    """Values that are no text become text: whether a label is there matters."""
    if not isinstance(value, dict):
        return value
    for name, entry in value.items():
        if not isinstance(entry, str):
            faults.append(f"{_show(where)}[{name}]: Expected `str`, got {entry!r}")
    return {name: entry if isinstance(entry, str) else repr(entry) for name, entry in value.items()}


def _place(error: msgspec.ValidationError) -> tuple[list[Step], str]:
    """Where a conversion failed, and why."""
    text = str(error)
    found = _PATH.search(text)
    return (list(_steps(found[1])), text[: found.start()]) if found else ([], text)


def _steps(path: str) -> Iterator[Step]:
    for match in _STEP.finditer(path):
        if match[1] is not None:
            yield match[1]
        elif match[2] == "...":
            return
        else:
            yield int(match[2])


def _show(steps: Sequence[Step]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".") or "(object)"


def _drop(document: Raw, steps: list[Step]) -> None:
    inner: object = document
    for step in steps[:-1]:
        inner = inner[step]  # type: ignore[index]
    del inner[steps[-1]]  # type: ignore[attr-defined]

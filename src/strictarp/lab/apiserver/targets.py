"""What a request's path and query mean. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from strictarp.kube.model import SelectorRequirement
from strictarp.kube.selectors import FieldTerm, SelectorError, parse_fields, parse_labels
from strictarp.lab.apiserver.kinds import KINDS, SELECTABLE, Kind
from strictarp.lab.apiserver.refusals import Refusal, no_such_path


class Target(msgspec.Struct, frozen=True):
    """A collection (no name), an object, its status, or a pod's log."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Selection(msgspec.Struct, frozen=True):
    """Which objects of a collection are meant."""

    namespace: str = ""
    labels: tuple[SelectorRequirement, ...] = ()
    fields: tuple[FieldTerm, ...] = ()


class Query(msgspec.Struct, frozen=True):
    """The query parameters of lists and watches."""

    selection: Selection
    watch: bool = False
    version: str = ""
    match: str = ""
    limit: int = 0
    continue_token: str = ""
    bookmarks: bool = False
    seconds: int | None = None


def parse_path(path: str) -> Target:
    """The target of an API path; raises Refusal (404)."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        version, rest = parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        version, rest = f"{parts[1]}/{parts[2]}", parts[3:]
    else:
        raise no_such_path()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    kind = KINDS.get(f"{version}/{rest[0]}")
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
        raise no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    is_log = subresource == "log" and kind.kind == "Pod"
    if subresource and not is_log and not (subresource == "status" and kind.has_status):
        raise no_such_path()
    if name and kind.namespaced and not namespace:
        raise no_such_path()
    return Target(kind, namespace, name, subresource)


def parse_query(target: Target, query: Mapping[str, str]) -> Query:
    """The parameters of a list or a watch; raises Refusal (400) naming the parameter."""
    try:
        labels = parse_labels(query.get("labelSelector", ""))
        fields = parse_fields(query.get("fieldSelector", ""))
    except SelectorError as error:
        raise Refusal(400, str(error)) from error
    known = {"metadata.name", "metadata.namespace", *SELECTABLE.get(target.kind.kind, ())}
    for term in fields:
        if term.field not in known:
            raise Refusal(400, f'field label not supported: "{term.field}"')
    if target.name:  # a watch of one object
        fields += (FieldTerm("metadata.name", target.name, equal=True),)
    seconds = _number(query, "timeoutSeconds")
    return Query(
        selection=Selection(target.namespace, labels, fields),
        watch=_flag(query, "watch"),
        version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        limit=_number(query, "limit") or 0,
        continue_token=query.get("continue", ""),
        bookmarks=_flag(query, "allowWatchBookmarks"),
        seconds=seconds,
    )


def version_number(value: str) -> int:
    """A resourceVersion as our own store counts them; raises Refusal (400)."""
    if not value:
        return 0
    if not (value.isascii() and value.isdigit()):
        raise Refusal(400, f'invalid resource version "{value}"')
    return int(value)


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in {"true", "1"}


def _number(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name, "")
    if not value:
        return None
    if not (value.isascii() and value.isdigit()):
        raise Refusal(400, f"{name}: must be a number, not {value!r}")
    return int(value)


Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]


def verb_of(method: str, target: Target, *, watch: bool) -> Verb:
    """What is asked for; raises Refusal (405)."""
    if method == "GET":
        return "watch" if watch else "get" if target.name else "list"
    if target.subresource == "log":
        raise Refusal(405, "the server does not allow this method on the requested resource")
    single: dict[str, Verb] = {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    many: dict[str, Verb] = {"POST": "create", "DELETE": "deletecollection"}
    found = (single if target.name else many).get(method)
    if found is None or (target.subresource and found == "delete"):
        raise Refusal(405, "the server does not allow this method on the requested resource")
    return found

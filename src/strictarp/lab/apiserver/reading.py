"""Lists, pages of lists, and the lines of watches. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

from strictarp.kube.selectors import matches, matches_fields
from strictarp.lab.apiserver.documents import text
from strictarp.lab.apiserver.kinds import Kind
from strictarp.lab.apiserver.refusals import Refusal, not_found
from strictarp.lab.apiserver.store import Collection, Event, Key, Store, Stored, watch_line
from strictarp.lab.apiserver.targets import Query, Selection, Target, version_number


class _Continue(msgspec.Struct):
    """Where the next page begins: after this key, in the state of that version."""

    version: int
    namespace: str
    name: str


def selected(item: Stored, selection: Selection) -> bool:
    """Whether a selection contains an object."""
    if selection.namespace and item.key[0] != selection.namespace:
        return False
    if selection.labels and not matches(selection.labels, item.labels):
        return False
    return not selection.fields or matches_fields(selection.fields, lambda field: _field(item, field))


def _field(item: Stored, field: str) -> str:
    match field:
        case "metadata.name":
            return item.key[1]
        case "metadata.namespace":
            return item.key[0]
        case _:
            return text(item.document, *field.split("."))


def get(store: Store, target: Target) -> Stored:
    """One object; raises Refusal (404)."""
    found = store.collection(target.kind.id).objects.get((target.namespace, target.name))
    if found is None:
        raise not_found(target.kind.plural, target.name)
    return found


def list_body(store: Store, kind: Kind, query: Query) -> bytes:
    """The answer to a list: all, or one page. Raises Refusal (400, 410, 504)."""
    collection = store.collection(kind.id)
    start, version = _page_start(query, store.version)
    objects = _objects_at(collection, query, version)
    keys = sorted(key for key, item in objects.items() if key > start and selected(item, query.selection))
    page = keys[: query.limit] if query.limit else keys
    rest = len(keys) - len(page)
    token = _token(version, page[-1]) if rest else ""
    return _list(kind, [objects[key].raw for key in page], version, token, rest)


def _objects_at(collection: Collection, query: Query, version: int) -> Mapping[Key, Stored]:
    try:
        return collection.at(version)
    except Refusal as refusal:
        if query.continue_token:
            raise Refusal(
                410,
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter.",
            ) from refusal
        raise


def _page_start(query: Query, now: int) -> tuple[Key, int]:
    if query.continue_token:
        try:
            at = msgspec.msgpack.decode(base64.urlsafe_b64decode(query.continue_token), type=_Continue)
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            raise Refusal(400, f"continue key is not valid: {error}") from error
        return (at.namespace, at.name), at.version
    wanted = version_number(query.version)
    check_not_ahead(wanted, now)
    return ("", ""), wanted if query.match == "Exact" and wanted else now


def check_not_ahead(version: int, now: int) -> None:
    """Refuse a version that this server has not reached (pkg/storage NewTooLargeResourceVersionError)."""
    if version > now:
        raise Refusal(
            504, f"Too large resource version: {version}, current: {now}", reason="Timeout", retry_after=1
        )


def _token(version: int, last: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(_Continue(version, *last))).decode()


def _list(kind: Kind, raws: list[bytes], version: int, token: str, rest: int) -> bytes:
    metadata: dict[str, object] = {"resourceVersion": str(version)}
    if token:
        metadata |= {"continue": token, "remainingItemCount": rest}
    head = msgspec.json.encode(
        {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata}
    )
    return b'%s,"items":[%s]}' % (head[:-1], b",".join(raws))


def event_line(event: Event, selection: Selection) -> bytes | None:
    """A change as one watch sees it: an object may enter or leave a selection. None: it sees nothing."""
    now = event.action != "DELETED" and selected(event.stored, selection)
    before = event.before is not None and selected(event.before, selection)
    if now and before:
        return event.line if event.action == "MODIFIED" else watch_line("MODIFIED", event.stored.raw)
    if now:
        return event.line if event.action == "ADDED" else watch_line("ADDED", event.stored.raw)
    if before:
        return event.line if event.action == "DELETED" else _left(event)
    return None


def _left(event: Event) -> bytes:
    """The deletion that a selection sees: the last state that it contained, under the new version."""
    assert event.before is not None  # noqa: S101 - it was selected
    document = event.before.document
    metadata = document["metadata"]
    assert isinstance(metadata, dict)  # noqa: S101 - it is stored
    dated = {**document, "metadata": {**metadata, "resourceVersion": str(event.version)}}
    return watch_line("DELETED", msgspec.json.encode(dated))


def initial_lines(store: Store, kind: Kind, selection: Selection) -> list[bytes]:
    """The state that a watch without resourceVersion begins with."""
    objects = store.collection(kind.id).objects
    return [
        watch_line("ADDED", objects[key].raw) for key in sorted(objects) if selected(objects[key], selection)
    ]


def bookmark(kind: Kind, version: int) -> bytes:
    """The line that says: everything up to this version has been sent."""
    document = {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
    }
    return watch_line("BOOKMARK", msgspec.json.encode(document))


def error_line(refusal: Refusal) -> bytes:
    """A refusal inside a running watch."""
    return watch_line("ERROR", refusal.body())

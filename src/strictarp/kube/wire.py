"""From the API's bytes to objects: pages of lists and lines of watches. Pure.

One object that does not have its kind's shape is refused alone, or in part by a resource that mends; the rest
of the page, or the watch, goes on.
"""

from __future__ import annotations

import json
from typing import Generic, Literal, TypeVar

import msgspec

from strictarp.kube.errors import ApiError, Malformed, Status, api_error
from strictarp.kube.model import KubeObject, Resource

T = TypeVar("T", bound=KubeObject)
D = TypeVar("D")

MAX_LINE = 32 * 1024 * 1024
UNNAMED = "?"


class Refused(msgspec.Struct, frozen=True, gc=False):
    """An object, or a part of one, that could not be decoded.

    `key` is "?" where not even the name could be read. `body` is the object as it came, where all of it is
    refused, for those who need to know at least a part of it.
    """

    key: str
    reason: str
    resource_version: str = ""
    body: bytes = b""

    def told(self) -> str:
        """`FIELD: what is wrong`."""
        message, _, field = self.reason.partition(" - at `$.")
        return f"{field.rstrip('`') or 'metadata'}: {message}"


class Upsert(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """An object was added or changed. `faults`: the parts of it that were refused."""

    object: T
    faults: tuple[str, ...] = ()


class Removed(msgspec.Struct, frozen=True, gc=False):
    """An object was deleted."""

    key: str
    resource_version: str


class Bookmark(msgspec.Struct, frozen=True, gc=False):
    """Everything up to this resourceVersion has been sent."""

    resource_version: str


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list. An object of which parts were refused is among the items too."""

    items: tuple[T, ...]
    refused: tuple[Refused, ...]
    resource_version: str
    continue_token: str


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _TypedPage(msgspec.Struct, Generic[T]):
    metadata: _ListMeta
    items: tuple[T, ...] | None = None


class _RawPage(msgspec.Struct):
    metadata: _ListMeta
    items: tuple[msgspec.Raw, ...] | None = None


class _TypedEvent(msgspec.Struct, Generic[T]):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: T


class _RawEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Name(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Named(msgspec.Struct):
    metadata: _Name = msgspec.field(default_factory=_Name)


_raw_page = msgspec.json.Decoder(_RawPage)
_raw_event = msgspec.json.Decoder(_RawEvent)
_named = msgspec.json.Decoder(_Named)
_anything = msgspec.json.Decoder(object)
_status = msgspec.json.Decoder(Status)
_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Decoder(Generic[T]):
    """Decodes the pages and events of one resource."""

    def __init__(self, resource: Resource[T]) -> None:
        self._what = resource.plural
        self._type = resource.type
        self._keep = resource.keep
        self._mend = resource.mend
        self._object = msgspec.json.Decoder(resource.type)
        self._page = msgspec.json.Decoder(_TypedPage[resource.type])  # type: ignore[name-defined]
        self._event = msgspec.json.Decoder(_TypedEvent[resource.type])  # type: ignore[name-defined]

    def object(self, body: bytes) -> T:
        """One object; raises Malformed."""
        try:
            return self._object.decode(body)
        except _FAULTS as error:
            raise Malformed(200, "Malformed", f"{self._what}: unreadable answer: {error}") from error

    def page(self, body: bytes) -> Page[T]:
        """A page of a list; raises Malformed if the page itself is broken."""
        try:
            page = self._page.decode(body)
        except _FAULTS:
            return self._page_one_by_one(body)
        items = page.items or ()
        if not page.metadata.resource_version or not all(item.metadata.name for item in items):
            return self._page_one_by_one(body)
        if self._keep is not None:
            items = tuple(map(self._keep, items))
        return Page(items, (), page.metadata.resource_version, page.metadata.continue_)

    def _page_one_by_one(self, body: bytes) -> Page[T]:
        try:
            page = _decode(_raw_page, body)
        except _FAULTS as error:
            raise Malformed(200, "Malformed", f"{self._what}: unreadable list: {error}") from error
        if not page.metadata.resource_version:  # no list of an API server, whatever it is
            raise Malformed(200, "Malformed", f"{self._what}: list without metadata.resourceVersion")
        items: list[T] = []
        refused: list[Refused] = []
        for raw in page.items or ():
            made = self._one(raw)
            if isinstance(made, Refused):
                refused.append(made)
            else:
                items.append(made.object)
                refused += [Refused(made.object.key, fault) for fault in made.faults]
        meta = page.metadata
        return Page(tuple(items), tuple(refused), meta.resource_version, meta.continue_)

    def _one(self, raw: msgspec.Raw) -> Upsert[T] | Refused:
        try:
            made: T | None = self._object.decode(raw)
            faults: list[str] = []
        except _FAULTS as error:
            made, faults = self._mended(raw, str(error))
        if made is None:
            return _refused(raw, "; ".join(faults))
        if not made.metadata.name:
            return _refused(raw, "metadata.name: missing")
        return Upsert(self._keep(made) if self._keep is not None else made, tuple(faults))

    def _mended(self, raw: msgspec.Raw, reason: str) -> tuple[T | None, list[str]]:
        if self._mend is None:
            return None, [reason]
        try:
            return self._mend(_decode(_anything, raw), self._type)
        except _FAULTS:
            return None, [reason]

    def event(self, line: bytes) -> Upsert[T] | Removed | Bookmark | Refused:
        """One line of a watch.

        Raises ApiError for an ERROR event (Gone for a compacted resourceVersion), Malformed for a line that
        is no event: an event may have been lost then, and the watch cannot go on.
        """
        try:
            event = self._event.decode(line)
        except _FAULTS:
            return self._event_in_parts(line)
        meta = event.object.metadata
        if event.type == "BOOKMARK":
            return Bookmark(meta.resource_version)
        if not meta.name:
            raise Malformed(200, "Malformed", f"{self._what}: watch event without metadata.name")
        if event.type == "DELETED":
            return Removed(event.object.key, meta.resource_version)
        return Upsert(self._keep(event.object) if self._keep is not None else event.object)

    def _event_in_parts(self, line: bytes) -> Upsert[T] | Removed | Bookmark | Refused:
        try:
            event = _decode(_raw_event, line)
        except _FAULTS as error:
            raise Malformed(200, "Malformed", f"{self._what}: unreadable watch event: {error}") from error
        if event.type == "ERROR":
            raise _error_event(event.object, self._what)
        if event.type not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}:
            raise Malformed(200, "Malformed", f"{self._what}: unknown watch event type {event.type!r}")
        made = self._one(event.object)
        if isinstance(made, Refused):
            key, version, reason = made.key, made.resource_version, made.reason
        else:
            key, version, reason = made.object.key, made.object.metadata.resource_version, ""
        if event.type == "BOOKMARK":
            return Bookmark(version)
        if key == UNNAMED:
            raise Malformed(200, "Malformed", f"{self._what}: watch event without metadata.name: {reason}")
        return Removed(key, version) if event.type == "DELETED" else made


def _decode(decoder: msgspec.json.Decoder[D], text: bytes | msgspec.Raw) -> D:
    """What a text holds, also if a string in it is no Unicode: that must not hide the objects beside it."""
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            loaded = json.loads(bytes(text).decode("utf-8", "replace"))
            return decoder.decode(json.dumps(loaded, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            pass
        raise


def _refused(raw: msgspec.Raw, reason: str) -> Refused:
    try:
        meta = _named.decode(raw).metadata
    except _FAULTS:
        return Refused(UNNAMED, reason, body=bytes(raw))
    if not meta.name:
        return Refused(UNNAMED, reason, body=bytes(raw))
    key = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
    return Refused(key, reason, meta.resource_version, bytes(raw))


def _error_event(raw: msgspec.Raw, what: str) -> ApiError:
    try:
        status = _status.decode(raw)
    except _FAULTS as error:
        return Malformed(200, "Malformed", f"{what}: unreadable ERROR event: {error}")
    message = f"{what}: {status.message or 'the watch failed'}"
    return api_error(status.code or 500, status.reason or "", message)


class LineSplitter:
    """Cuts a stream of chunks into lines; what follows the last newline waits for more."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._waiting = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are complete now, blank ones left out; raises Malformed beyond MAX_LINE bytes."""
        if b"\n" not in chunk:
            self._rest.append(chunk)
            self._waiting += len(chunk)
            if self._waiting > MAX_LINE:
                raise Malformed(200, "Malformed", f"a watch event of more than {MAX_LINE} bytes")
            return []
        lines = b"".join((*self._rest, chunk)).split(b"\n")
        last = lines.pop()
        self._rest = [last] if last else []
        self._waiting = len(last)
        return [line for line in lines if line.strip()]

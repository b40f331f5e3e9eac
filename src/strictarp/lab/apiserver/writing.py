"""Creating, replacing, patching and deleting: from a request to the records that it means. Pure."""

from __future__ import annotations

import msgspec

from strictarp.lab.apiserver.documents import Document, items, merge, sub, text, with_fields
from strictarp.lab.apiserver.kinds import KEEP_STATUS_ON_CREATE, KINDS, VERSION_REQUIRED, Kind
from strictarp.lab.apiserver.reading import get, selected
from strictarp.lab.apiserver.refusals import Refusal, exists, invalid, not_found, stale
from strictarp.lab.apiserver.services import Network, Taken, complete
from strictarp.lab.apiserver.store import Record, Store
from strictarp.lab.apiserver.targets import Selection, Target
from strictarp.lab.apiserver.validation import check, check_shape

MAX_GENERATE_BASE = 58  # apiserver pkg/storage/names: 63 less the suffix of 5
KEPT_METADATA = ("uid", "creationTimestamp", "generation", "namespace", "name", "deletionTimestamp")


class Stamp(msgspec.Struct, frozen=True):
    """What a write needs of the world: the time (RFC 3339, seconds), a new UID, a suffix of 5 characters."""

    now: str
    uid: str
    suffix: str


class World(msgspec.Struct):
    """What writes depend on besides the objects: what Services hold, and the ranges they take it from."""

    networks: tuple[Network, ...]
    taken: Taken = msgspec.field(default_factory=Taken)


class Written(msgspec.Struct, frozen=True):
    """The outcome of a write: the object to answer with, and the records to store. None: nothing changes."""

    document: Document
    records: tuple[Record, ...] = ()


def create(store: Store, world: World, target: Target, body: Document, stamp: Stamp) -> Written:
    """A new object. Raises Refusal: 400, 404 (namespace), 405, 409, 422."""
    kind = target.kind
    check_shape(kind, body)
    if kind.namespaced and not target.namespace:
        raise Refusal(405, "the server does not allow this method on the requested resource")
    metadata = dict(sub(body, "metadata"))
    if metadata.get("resourceVersion"):
        raise Refusal(400, "resourceVersion should not be set on objects to be created")
    if not metadata.get("name") and isinstance(base := metadata.get("generateName"), str):
        metadata["name"] = base[:MAX_GENERATE_BASE] + stamp.suffix
    name = str(metadata.get("name", ""))
    _check_namespace(store, target, metadata)
    metadata |= {"uid": stamp.uid, "creationTimestamp": stamp.now}
    for field in ("deletionTimestamp", "generation", "managedFields", "selfLink"):
        metadata.pop(field, None)
    if kind.namespaced:
        metadata["namespace"] = target.namespace
    if kind.counts_generations:
        metadata["generation"] = 1
    document: Document = {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": metadata}
    if kind.has_status and kind.kind not in KEEP_STATUS_ON_CREATE:
        document = _status(kind, document, None)
    document = _complete(kind, document, None, world)
    check(kind, document)
    if (target.namespace, name) in store.collection(kind.id).objects:
        raise exists(kind.plural, name)
    return _put(store, kind, document, "ADDED")


def _check_namespace(store: Store, target: Target, metadata: Document) -> None:
    if not target.kind.namespaced:
        if metadata.get("namespace"):
            raise Refusal(400, "the namespace of the object must be empty: the kind has none")
        return
    if metadata.get("namespace", target.namespace) != target.namespace:
        raise Refusal(
            400, "the namespace of the provided object does not match the namespace sent on the request"
        )
    if ("", target.namespace) not in store.collection("v1/namespaces").objects:
        raise not_found("namespaces", target.namespace)


def _status(kind: Kind, document: Document, old: Document | None) -> Document:
    """The status that a write of the main resource leaves in place."""
    if old is not None and "status" in old:
        return {**document, "status": old["status"]}
    fresh = {"Service": {"loadBalancer": {}}, "Pod": {"phase": "Pending"}}.get(kind.kind)
    return with_fields(document, status=fresh)


def _complete(kind: Kind, document: Document, old: Document | None, world: World) -> Document:
    """What the server fills in by itself."""
    if kind.kind == "Service":
        return complete(document, old, world.taken, world.networks)
    if kind.kind == "EndpointSlice":
        ports = [{"name": "", "protocol": "TCP", **port} for port in items(document, "ports")]
        return {**document, "ports": ports} if ports else document
    if kind.kind == "Namespace":
        return {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}, **document}
    if kind.kind == "Secret":
        return {**document, "type": document.get("type") or "Opaque"}
    return document


def replace(store: Store, world: World, target: Target, body: Document) -> Written:
    """A whole new document for an object, or for its status. Raises Refusal: 400, 404, 409, 422."""
    kind = target.kind
    check_shape(kind, body)
    if text(body, "metadata", "name") not in {"", target.name}:
        raise Refusal(400, "the name of the object does not match the name on the URL")
    old = get(store, target).document
    if kind.kind in VERSION_REQUIRED and not sub(body, "metadata").get("resourceVersion"):
        raise invalid(kind.kind, target.name, "metadata.resourceVersion: must be specified for an update")
    return _update(store, world, target, old, body)


def patch(store: Store, world: World, target: Target, body: object) -> Written:
    """A JSON merge patch. Raises Refusal: 400, 404, 409, 422."""
    if not isinstance(body, dict):
        raise Refusal(400, "the patch must be a JSON object")
    old = get(store, target).document
    made = merge(old, body)
    assert isinstance(made, dict)  # noqa: S101 - a mapping merged into a mapping
    check_shape(target.kind, made)
    if text(made, "metadata", "name") != target.name:
        raise Refusal(400, "the name of the object cannot be changed")
    return _update(store, world, target, old, made)


def _update(store: Store, world: World, target: Target, old: Document, body: Document) -> Written:
    kind = target.kind
    was, given = sub(old, "metadata"), sub(body, "metadata")
    if given.get("namespace", target.namespace) != target.namespace:
        raise Refusal(400, "the namespace of the provided object does not match the namespace on the URL")
    if given.get("resourceVersion") and given["resourceVersion"] != was["resourceVersion"]:
        raise stale(kind.plural, target.name)
    if given.get("uid") and given["uid"] != was["uid"]:
        raise Refusal(
            409,
            f'Operation cannot be fulfilled on {kind.plural} "{target.name}": Precondition failed: '
            f"UID in precondition: {given['uid']}, UID in object meta: {was['uid']}",
        )
    metadata: Document = {**given, **{field: was[field] for field in KEPT_METADATA if field in was}}
    metadata["resourceVersion"] = was["resourceVersion"]
    document: Document = {**body, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
    if target.subresource:
        document = _only_status(kind, old, document)
    else:
        if kind.has_status:
            document = _status(kind, document, old)
        document = _complete(kind, document, old, world)
    check(kind, document)
    if kind.counts_generations and _wanted(document) != _wanted(old):
        generation = was.get("generation")
        metadata["generation"] = generation + 1 if isinstance(generation, int) else 1
    if document == old:  # nothing is stored, the version stays (apiserver pkg/storage/etcd3 GuaranteedUpdate)
        return Written(old)
    if was.get("deletionTimestamp") and not metadata.get("finalizers"):
        return _put(store, kind, document, "DELETED")
    return _put(store, kind, document, "MODIFIED")


def _only_status(kind: Kind, old: Document, document: Document) -> Document:
    """A write of the status: of the rest, only labels and annotations change, and for CRDs nothing.

    Strategies' PrepareForUpdate in pkg/registry; apiextensions-apiserver customresource/status_strategy.go.
    """
    metadata = dict(sub(old, "metadata"))
    if not kind.custom:
        given = sub(document, "metadata")
        metadata = with_fields(metadata, labels=given.get("labels"), annotations=given.get("annotations"))
    return with_fields(old, metadata=metadata, status=document.get("status"))


def _wanted(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in {"metadata", "status"}}


def delete(store: Store, target: Target, options: object, stamp: Stamp) -> Written:
    """Delete an object, or mark it while finalizers hold it. Raises Refusal: 404, 409."""
    old = get(store, target).document
    metadata = sub(old, "metadata")
    wanted = sub(options, "preconditions") if isinstance(options, dict) else {}
    for field in ("uid", "resourceVersion"):
        if wanted.get(field) and wanted[field] != metadata[field]:
            raise Refusal(
                409,
                f'Operation cannot be fulfilled on {target.kind.plural} "{target.name}": '
                f"Precondition failed: {field} in precondition: {wanted[field]}, "
                f"in object: {metadata[field]}",
            )
    records = _deletions(store, [(target.kind, old)], stamp)
    if target.kind.kind == "Namespace":
        inside = Selection(namespace=target.name)
        contents = [
            (kind, item.document)
            for kind in KINDS.values()
            if kind.namespaced
            for item in store.collection(kind.id).objects.values()
            if selected(item, inside)
        ]
        records = _deletions(store, [*contents, (target.kind, old)], stamp)
    return Written(records[-1].document if records else old, records)


def delete_collection(store: Store, target: Target, selection: Selection, stamp: Stamp) -> Written:
    """Delete all objects of a selection."""
    chosen = [
        (target.kind, item.document)
        for item in store.collection(target.kind.id).objects.values()
        if selected(item, selection)
    ]
    answer: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return Written(answer, _deletions(store, chosen, stamp))


def _deletions(store: Store, chosen: list[tuple[Kind, Document]], stamp: Stamp) -> tuple[Record, ...]:
    records: list[Record] = []
    for kind, document in chosen:
        metadata = sub(document, "metadata")
        version = store.version + len(records) + 1
        if metadata.get("finalizers"):
            if not metadata.get("deletionTimestamp"):
                marked = {**document, "metadata": {**metadata, "deletionTimestamp": stamp.now}}
                records.append(_record(kind, marked, "MODIFIED", version))
        else:
            records.append(_record(kind, document, "DELETED", version))
    return tuple(records)


def _put(store: Store, kind: Kind, document: Document, action: str) -> Written:
    record = _record(kind, document, action, store.version + 1)
    return Written(record.document, (record,))


def _record(kind: Kind, document: Document, action: str, version: int) -> Record:
    metadata = {**sub(document, "metadata"), "resourceVersion": str(version)}
    done = {**document, "metadata": metadata}
    match action:
        case "ADDED" | "MODIFIED" | "DELETED":
            return Record(version, action, kind.id, done)
        case _:
            raise ValueError(action)

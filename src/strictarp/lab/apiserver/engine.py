"""Requests carried out: decided, written to the journal, applied, told to the watches. No network."""

from __future__ import annotations

import logging
import secrets
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec

from strictarp.lab.apiserver import writing
from strictarp.lab.apiserver.documents import Document
from strictarp.lab.apiserver.journal import Journal
from strictarp.lab.apiserver.kinds import KINDS
from strictarp.lab.apiserver.refusals import Refusal
from strictarp.lab.apiserver.services import parse_networks
from strictarp.lab.apiserver.store import HISTORY, Event, Record, Store
from strictarp.lab.apiserver.targets import Target, Verb, parse_query
from strictarp.lab.apiserver.writing import Stamp, World, Written

log = logging.getLogger(__name__)

SERVICE_CIDR = "198.51.100.128/25"
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
SERVICES = "v1/services"
MERGE_PATCH = "application/merge-patch+json"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # apimachinery pkg/util/rand: no vowels, no words


def fresh_stamp() -> Stamp:
    """Time, UID and suffix from the world."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Stamp(now, str(uuid.uuid4()), "".join(secrets.choice(_LETTERS) for _ in range(5)))


class Engine:
    """Store, journal and what belongs to them. Without a journal everything is in memory only.

    `on_events` is called after each write with the kinds that have new events.
    """

    def __init__(
        self,
        journal: Journal | None = None,
        *,
        service_cidr: str = SERVICE_CIDR,
        history: int = HISTORY,
        stamp: Callable[[], Stamp] = fresh_stamp,
        on_events: Callable[[Iterable[str]], None] = lambda _kinds: None,
    ) -> None:
        self._journal = journal
        self.stamp = stamp
        self.on_events = on_events
        self.store = journal.open(history) if journal is not None else Store(0, history)
        self.world = World(parse_networks(service_cidr))
        for item in self.store.collection(SERVICES).objects.values():
            self.world.taken.move(None, item.document)
        for name in NAMESPACES:
            if ("", name) not in self.store.collection("v1/namespaces").objects:
                target = Target(KINDS["v1/namespaces"])
                self.commit(self._create(target, {"metadata": {"name": name}}).records)

    def write(
        self, verb: Verb, target: Target, body: bytes, content: str, query: dict[str, str] | None = None
    ) -> bytes:
        """Carry out a write and return the answer's body; raises Refusal."""
        done = self._decide(verb, target, body, content, query or {})
        self.commit(done.records)
        return msgspec.json.encode(done.document)

    def _decide(
        self, verb: Verb, target: Target, body: bytes, content: str, query: dict[str, str]
    ) -> Written:
        match verb:
            case "create":
                return self._create(target, _document(body))
            case "update":
                return writing.replace(self.store, self.world, target, _document(body))
            case "patch":
                if content != MERGE_PATCH:
                    raise Refusal(415, f"the body of the request was in an unknown format: {content}")
                return writing.patch(self.store, self.world, target, _document(body))
            case "delete":
                options = _document(body) if body.strip() else None
                return writing.delete(self.store, target, options, self.stamp())
            case "deletecollection":
                selection = parse_query(target, query).selection
                return writing.delete_collection(self.store, target, selection, self.stamp())
            case _:
                raise Refusal(405, "the server does not allow this method on the requested resource")

    def _create(self, target: Target, body: Document) -> Written:
        return writing.create(self.store, self.world, target, body, self.stamp())

    def commit(self, records: tuple[Record, ...]) -> None:
        """Make records last, then known; raises Refusal (500) if the disk does not take them."""
        if not records:
            return
        if self._journal is not None:
            try:
                self._journal.append(records)
            except OSError as error:
                raise Refusal(500, f"cannot write to the data file: {error.strerror}") from error
        for record in records:
            event = self.store.apply(record)
            if record.kind == SERVICES:
                self._account(event)
        self.on_events({record.kind for record in records})
        if self._journal is not None and self._journal.due(self.store.size()):
            self._compact_file(self._journal)

    def _account(self, event: Event) -> None:
        before = event.before.document if event.before is not None else None
        self.world.taken.move(before, None if event.action == "DELETED" else event.stored.document)

    def _compact_file(self, journal: Journal) -> None:
        try:
            journal.rewrite(self.store)
        except OSError as error:  # the old file is whole, and goes on growing
            log.warning("cannot compact the data file", extra={"fields": {"error": error.strerror}})

    def put_raw(self, target: Target, document: Document) -> None:
        """Store a document as it is, whatever its shape, as a broken webhook or CRD version would."""
        key = (target.namespace, target.name)
        metadata = document.get("metadata")
        known = key in self.store.collection(target.kind.id).objects
        version = self.store.version + 1
        fixed = {
            **(metadata if isinstance(metadata, dict) else {}),
            "name": target.name,
            **({"namespace": target.namespace} if target.namespace else {}),
            "resourceVersion": str(version),
        }
        whole = {**document, "metadata": fixed}
        self.commit((Record(version, "MODIFIED" if known else "ADDED", target.kind.id, whole),))


def _document(body: bytes) -> Document:
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"the body of the request is no JSON object: {error}") from error

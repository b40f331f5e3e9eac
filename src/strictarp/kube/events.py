"""Events: what a daemon has to say about an object, where people look for it (core/v1 Event).

The same thing said again raises the count of one Event, also after a restart: its name is made of what is
said, so that nothing has to be remembered.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

from strictarp.kube.client import Client
from strictarp.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from strictarp.kube.model import KubeObject
from strictarp.kube.objects import EVENTS, RESOURCES, Event, ObjectReference

log = logging.getLogger(__name__)

EventType: TypeAlias = Literal["Normal", "Warning"]
MAX_MESSAGE = 1024  # pkg/apis/core/validation/events.go NoteLengthLimit
MAX_NAME = 253


def reference(about: KubeObject) -> ObjectReference:
    """The reference to an object of a known kind; raises ValueError for another."""
    for resource in RESOURCES:
        if type(about) is resource.type:
            meta = about.metadata
            # The kubelet and `kubectl describe node` use a node's name as its UID in events.
            uid = meta.uid or (meta.name if resource.kind == "Node" else "")
            return ObjectReference(resource.kind, meta.namespace, meta.name, uid, resource.api_version)
    raise ValueError(f"{type(about).__name__} is no kind of the API")


def event_body(
    about: ObjectReference,
    now: str,
    *,
    reason: str,
    message: str,
    type: EventType,
    component: str,
    host: str,
) -> dict[str, object]:
    """The Event to create when this is said for the first time. `now` is RFC 3339 with seconds."""
    text = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
    said = "\0".join(
        (about.kind, about.namespace, about.name, about.uid, reason, text, type, component, host)
    )
    suffix = hashlib.sha256(said.encode()).hexdigest()[:16]
    return {
        "metadata": {
            "name": f"{about.name[: MAX_NAME - 17]}.{suffix}",
            "namespace": about.namespace or "default",
        },
        "involvedObject": msgspec.to_builtins(about),
        "reason": reason,
        "message": text,
        "type": type,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": component, "host": host},
        "reportingComponent": component,
        "reportingInstance": host,
    }


def repeated(known: Event, now: str) -> dict[str, object]:
    """The patch that counts an Event once more, refused if somebody else did meanwhile."""
    version = known.metadata.resource_version
    return {
        "metadata": {"resourceVersion": version},
        "count": (known.count or 1) + 1,
        "lastTimestamp": now,
    }


async def emit(
    client: Client,
    *,
    about: KubeObject,
    reason: str,
    message: str,
    type: EventType = "Normal",
    component: str,
    host: str = "",
) -> bool:
    """Say something about an object. False, and a line in the log, if the API does not take it.

    `reason` is one CamelCase word. Losing an Event never stops anybody's work, so no KubeError escapes.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = event_body(
        reference(about), now, reason=reason, message=message, type=type, component=component, host=host
    )
    try:
        await _write(client, body, now)
    except KubeError as error:
        log.warning(
            "event lost", extra={"fields": {"about": about.key, "reason": reason, "error": str(error)}}
        )
        return False
    return True


async def _write(client: Client, body: dict[str, object], now: str) -> None:
    metadata = body["metadata"]
    assert isinstance(metadata, dict)  # noqa: S101 - made above
    name, namespace = metadata["name"], metadata["namespace"]
    for last in (False, False, True):
        try:
            await client.create(EVENTS, body, namespace)
            return
        except AlreadyExists:
            pass
        try:
            known = await client.get(EVENTS, name, namespace)
            await client.merge_patch(EVENTS, name, repeated(known, now), namespace)
            return
        except (Conflict, NotFound):  # counted by another, or expired between the two calls
            if last:
                raise

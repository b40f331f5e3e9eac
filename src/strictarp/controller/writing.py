"""What is written about a Service: addresses, the pool's mark, the condition that says why it waits. Pure."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from strictarp.controller.requests import FROM_POOL
from strictarp.kube.model import Condition
from strictarp.kube.objects import Service

Patch: TypeAlias = dict[str, object]

WAITING = "strictarp.io/Waiting"
"""Condition of a Service that has less than it asks for; absent when it has all."""


class Wait(msgspec.Struct, frozen=True, gc=False):
    """Why a Service waits: one CamelCase word, and a sentence for people."""

    reason: str
    message: str


def waits(service: Service) -> Wait | None:
    """What its condition says."""
    found = next((each for each in service.status.conditions or () if each.type == WAITING), None)
    return Wait(found.reason or "", found.message or "") if found and found.status == "True" else None


def status_patch(
    service: Service, ips: tuple[str, ...], pool: str, *, wait: Wait | None = None, now: str = ""
) -> Patch | None:
    """The merge patch of the status subresource that makes a Service say this; None if it does already.

    `now` (RFC 3339) is the time of a condition that begins. An entry without ipMode counts as VIP (KEP-1860:
    that is what it means), so an API server that does not keep the field is not written to again and again.
    The resourceVersion guards against a newer Service.
    """
    meta = service.metadata
    status: dict[str, object] = {}
    metadata: dict[str, object] = {}
    have = tuple((entry.ip, entry.ip_mode or "VIP") for entry in service.status.load_balancer.ingress or ())
    marked = (meta.annotations or {}).get(FROM_POOL)
    # Both of them, if one: a status without its mark, or the reverse, is never written.
    if have != tuple((ip, "VIP") for ip in ips) or marked != (pool or None):
        status["loadBalancer"] = {"ingress": [{"ip": ip, "ipMode": "VIP"} for ip in ips] or None}
        if marked != (pool or None):
            metadata["annotations"] = {FROM_POOL: pool or None}
    if waits(service) != wait:
        status["conditions"] = _conditions(service, wait, now)
    if not status:
        return None
    if meta.resource_version:
        metadata["resourceVersion"] = meta.resource_version
    return {"metadata": metadata, "status": status} if metadata else {"status": status}


def _conditions(service: Service, wait: Wait | None, now: str) -> list[dict[str, object]] | None:
    """All conditions of the Service with ours as it is to be; a merge patch replaces the list as a whole."""
    given = service.status.conditions or ()
    others = [msgspec.to_builtins(each) for each in given if each.type != WAITING]
    if wait is not None:
        since = next((each.last_transition_time for each in given if each.type == WAITING), None) or now
        ours = Condition(WAITING, "True", None, wait.reason, wait.message, since or None)
        others.append(msgspec.to_builtins(ours))
    return others or None

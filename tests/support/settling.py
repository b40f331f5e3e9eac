"""What the controller decides for Services, and the Services as they are after it was written."""

import msgspec

from strictarp.controller.pools import Pool
from strictarp.controller.reconcile import Book, Decision, settle
from strictarp.kube.objects import Service
from support.controller_objects import by_key, pool_object, sound_pools

LAB = sound_pools(pool_object("lab", "192.0.2.100-192.0.2.103"))
DUAL = sound_pools(pool_object("dual", "192.0.2.100-192.0.2.103", "2001:db8::/126"))
BOTH_IPS = ("203.0.113.130", "2001:db8:1::1")


def decide(pools: tuple[Pool, ...], *services: Service, book: Book | None = None) -> dict[str, Decision]:
    return settle(book or Book(), pools, by_key(*services))[1]


def merged(document: object, patch: object) -> object:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def written(service: Service, decision: Decision) -> Service:
    """The Service as it is after the decision was written."""
    return msgspec.convert(merged(msgspec.to_builtins(service), decision.patch or {}), Service)


def reasons(decision: Decision) -> list[str]:
    return [event.reason for event in decision.events]

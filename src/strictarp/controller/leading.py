"""Who may write: one controller at a time, by the Lease `strictarp-controller`. Pure.

As client-go's leaderelection: clocks of different hosts are not compared. A candidate watches the record; if
its holder lets it stand unchanged for the whole of its duration, by the candidate's own clock, it is free.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from strictarp.kube.objects import Lease, LeaseSpec

LEASE = "strictarp-controller"
DURATION = 15  # seconds that others wait for a silent holder
RENEW = 5.0  # seconds from one renewal to the next
TRUST = 10.0  # seconds after a renewal that the holder itself still believes in it

Body: TypeAlias = dict[str, object]


class Observed(msgspec.Struct, frozen=True, gc=False):
    """A Lease record, and the local time (seconds, monotonic) at which it was first seen so."""

    spec: LeaseSpec | None
    since: float


def observe(before: Observed | None, lease: Lease | None, now: float) -> Observed:
    """Take note of a record; one that has not changed keeps its time."""
    spec = lease.spec if lease else None
    return before if before is not None and before.spec == spec else Observed(spec, now)


def verdict(observed: Observed, identity: str, now: float) -> Literal["take", "wait"]:
    """Whether the Lease may be taken, or taken again, by `identity`."""
    spec = observed.spec
    if spec is None or not spec.holder_identity or spec.holder_identity == identity:
        return "take"
    valid = spec.lease_duration_seconds or DURATION
    return "take" if now - observed.since >= valid else "wait"


def record(before: LeaseSpec | None, identity: str, stamp: str) -> Body:
    """The spec to write when the Lease is taken or renewed; `stamp` is RFC 3339 with microseconds."""
    same = before is not None and before.holder_identity == identity
    transitions = (before.lease_transitions or 0) if before else 0
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": DURATION,
        "acquireTime": (before.acquire_time if before and same else None) or stamp,
        "renewTime": stamp,
        "leaseTransitions": transitions if same or before is None else transitions + 1,
    }

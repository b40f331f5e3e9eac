"""What the story found: the values that the table and `--json` show."""

from __future__ import annotations

import msgspec


class Step(msgspec.Struct, frozen=True):
    """One expectation of the story."""

    name: str
    expected: str
    observed: str
    ok: bool
    seconds: float


class Answerer(msgspec.Struct, frozen=True):
    """Who answered for the VIP; `node` is empty when the MAC is no node's."""

    node: str
    mac: str


class Before(msgspec.Struct, frozen=True):
    """The fault."""

    answerers: tuple[Answerer, ...] = ()
    distinct_macs_seen_by_client: int = 0
    vip_as_sender_seen: bool = False


class After(msgspec.Struct, frozen=True):
    """The cure."""

    answerers: tuple[Answerer, ...] = ()
    vip_as_sender_seen: bool = False


class Requests(msgspec.Struct, frozen=True):
    """HTTP requests through the VIP with strictARP in force."""

    sent: int = 0
    ok: int = 0
    per_backend: dict[str, int] = {}


class Failover(msgspec.Struct, frozen=True):
    """The owner switched off under a stream of requests. Null where it could not be measured."""

    outage_ms: float | None = None
    max_simultaneous_answerers: int | None = None
    lost_to_dead_backend: int | None = None
    new_owner: str | None = None


class Report(msgspec.Struct, frozen=True):
    """The whole story. `ok` only if every step is."""

    ok: bool
    kernel: str
    isolation: str
    seconds: float
    settings: dict[str, int | str]
    steps: tuple[Step, ...]
    before: Before
    after: After
    requests: Requests
    failover: Failover

"""What the speakers say to each other: one value a message, and its bytes after the header. Big endian.

Sizes are chosen for one Ethernet frame of 1,500 bytes: 80 entries in a HELLO, 115 in a CLAIM.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable

import msgspec

MAX_HELLO_ENTRIES = 80
MAX_CLAIM_ENTRIES = 115
MAX_SYNC_ENTRIES = 115
MAX_AGE_MS = 0xFFFF

_HELLO = struct.Struct("!BBHIIQHxx")
_HELLO_ENTRY = struct.Struct("!QIBxxx")
_ENTRY = struct.Struct("!QI")
_CLAIM = struct.Struct("!QQQH")
_WITNESS = struct.Struct("!QQQHH")
_OFFER = struct.Struct("!QII")
_RELEASE = struct.Struct("!QIIQ")
_NONCE = struct.Struct("!8s")
_SYNC_REQUEST = struct.Struct("!H")
_SYNC = struct.Struct("!IHH")
_ISOLATED = 1


class BadBody(Exception):
    """The bytes after the header are no message of that type."""


class State(enum.IntEnum):
    """How far a node is trusted with IPs."""

    JOINING = 1
    SEASONED = 2
    DRAINING = 3
    LEAVING = 4


class Operation(enum.IntEnum):
    """What a HELLO entry says about its VIP."""

    OWNED = 1
    GONE = 2


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A VIP (its id) and the epoch of its ownership."""

    vip: int
    epoch: int


class Hello(msgspec.Struct, frozen=True):
    """I am alive, and this is what I own.

    hello_ms: the interval that the sender promises. owned: how many VIPs it owns. set_version grows with
    every change of the set, set_hash is `ids.set_hash` over the whole set. entries: the whole set while it
    fits, else the latest changes. gone: VIPs that left the set, only when the whole does not fit.
    """

    state: State
    isolated: bool
    hello_ms: int
    owned: int
    set_version: int
    set_hash: int
    entries: tuple[Entry, ...] = ()
    gone: tuple[Entry, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether `entries` is the whole set."""
        return len(self.entries) == self.owned and not self.gone


class Claim(msgspec.Struct, frozen=True):
    """I am about to own these, whose owner I think is gone: speak now.

    previous, previous_incarnation: the last owner known, 0 for none. highest_seq: of its last HELLO heard.
    """

    previous: int
    previous_incarnation: int
    highest_seq: int
    entries: tuple[Entry, ...]


class Witness(msgspec.Struct, frozen=True):
    """The owner of what you claim lives: I heard its HELLO number `seq` `age_ms` ago."""

    owner: int
    incarnation: int
    seq: int
    age_ms: int
    entries: tuple[Entry, ...]


class Offer(msgspec.Struct, frozen=True, gc=False):
    """Take this VIP from me, with this epoch."""

    vip: int
    epoch: int
    nonce: int


class Accept(msgspec.Struct, frozen=True, gc=False):
    """I take what you offered, if you release it soon."""

    vip: int
    epoch: int
    nonce: int


class Release(msgspec.Struct, frozen=True, gc=False):
    """I have stopped answering; `to` (node id) goes on, 0: nobody."""

    vip: int
    epoch: int
    nonce: int
    to: int


class Challenge(msgspec.Struct, frozen=True, gc=False):
    """Prove that you live, and say HELLO."""

    nonce: bytes


class Response(msgspec.Struct, frozen=True, gc=False):
    """The nonce of a CHALLENGE, from the incarnation in the header."""

    nonce: bytes


class SyncRequest(msgspec.Struct, frozen=True, gc=False):
    """Send me this page of what you own."""

    page: int


class Sync(msgspec.Struct, frozen=True):
    """One page of what I own at this version of the set."""

    version: int
    page: int
    pages: int
    entries: tuple[Entry, ...]


class Spent(msgspec.Struct, frozen=True, gc=False):
    """No connection is open any more of the VIP that was handed over by this offer: from proxy to proxy."""

    vip: int
    epoch: int
    nonce: int


Message = (
    Hello | Claim | Witness | Offer | Accept | Release | Challenge | Response | SyncRequest | Sync | Spent
)


def _hello_bytes(body: Hello) -> bytes:
    if len(body.entries) + len(body.gone) > MAX_HELLO_ENTRIES:
        raise ValueError(f"{len(body.entries)} entries in a HELLO, at most {MAX_HELLO_ENTRIES}")
    head = _HELLO.pack(
        body.state,
        _ISOLATED if body.isolated else 0,
        body.hello_ms,
        body.owned,
        body.set_version,
        body.set_hash,
        len(body.entries) + len(body.gone),
    )
    pack = _HELLO_ENTRY.pack
    kept = [pack(entry.vip, entry.epoch, Operation.OWNED) for entry in body.entries]
    gone = [pack(entry.vip, entry.epoch, Operation.GONE) for entry in body.gone]
    return head + b"".join(kept + gone)


def _parse_hello(data: bytes) -> Hello:
    state, flags, hello_ms, owned, version, set_hash, count = hello_head(data)
    if count > MAX_HELLO_ENTRIES or len(data) != _HELLO.size + count * _HELLO_ENTRY.size:
        raise BadBody("HELLO: the entry count does not fit the length")
    entries: list[Entry] = []
    gone: list[Entry] = []
    for vip, epoch, operation in _HELLO_ENTRY.iter_unpack(data[_HELLO.size :]):
        if operation == Operation.OWNED:
            entries.append(Entry(vip, epoch))
        elif operation == Operation.GONE:
            gone.append(Entry(vip, epoch))
        else:
            raise BadBody(f"HELLO: unknown operation {operation}")
    if len(entries) > owned:
        raise BadBody("HELLO: more entries than it owns")
    return Hello(
        State(state), bool(flags & _ISOLATED), hello_ms, owned, version, set_hash, tuple(entries), tuple(gone)
    )


def hello_head(data: bytes) -> tuple[int, int, int, int, int, int, int]:
    """State, flags, h in ms, owned, set version, set hash, entry count of a HELLO. Raises BadBody."""
    if len(data) < _HELLO.size:
        raise BadBody("HELLO: shorter than its fixed part")
    head: tuple[int, int, int, int, int, int, int] = _HELLO.unpack_from(data)
    if not State.JOINING <= head[0] <= State.LEAVING:
        raise BadBody(f"HELLO: unknown state {head[0]}")
    if not head[2]:
        raise BadBody("HELLO: interval 0")
    return head


def _entry_bytes(entries: tuple[Entry, ...]) -> bytes:
    if len(entries) > MAX_CLAIM_ENTRIES:
        raise ValueError(f"{len(entries)} entries in a frame, at most {MAX_CLAIM_ENTRIES}")
    return b"".join([_ENTRY.pack(entry.vip, entry.epoch) for entry in entries])


def _entries(data: bytes, *, count: int | None = None) -> tuple[Entry, ...]:
    if len(data) % _ENTRY.size or len(data) > MAX_CLAIM_ENTRIES * _ENTRY.size:
        raise BadBody("entries: length is no multiple of an entry, or too long")
    if count is not None and count * _ENTRY.size != len(data):
        raise BadBody("entries: the count does not fit the length")
    return tuple([Entry(vip, epoch) for vip, epoch in _ENTRY.iter_unpack(data)])


def _fixed(form: struct.Struct, data: bytes, *, exact: bool = True) -> tuple[int, ...]:
    if len(data) < form.size or (exact and len(data) != form.size):
        raise BadBody(f"{len(data)} bytes, {form.size} expected")
    return form.unpack_from(data)


def _claim_bytes(body: Claim) -> bytes:
    head = _CLAIM.pack(body.previous, body.previous_incarnation, body.highest_seq, len(body.entries))
    return head + _entry_bytes(body.entries)


def _parse_claim(data: bytes) -> Claim:
    previous, incarnation, seq, count = _fixed(_CLAIM, data, exact=False)
    return Claim(previous, incarnation, seq, _entries(data[_CLAIM.size :], count=count))


def _witness_bytes(body: Witness) -> bytes:
    age = min(body.age_ms, MAX_AGE_MS)
    head = _WITNESS.pack(body.owner, body.incarnation, body.seq, age, len(body.entries))
    return head + _entry_bytes(body.entries)


def _parse_witness(data: bytes) -> Witness:
    owner, incarnation, seq, age, count = _fixed(_WITNESS, data, exact=False)
    return Witness(owner, incarnation, seq, age, _entries(data[_WITNESS.size :], count=count))


def _sync_bytes(body: Sync) -> bytes:
    return _SYNC.pack(body.version, body.page, body.pages) + _entry_bytes(body.entries)


def _parse_sync(data: bytes) -> Sync:
    version, page, pages = _fixed(_SYNC, data, exact=False)
    if page >= pages:
        raise BadBody(f"SYNC: page {page} of {pages}")
    return Sync(version, page, pages, _entries(data[_SYNC.size :]))


def _nonce(data: bytes) -> bytes:
    if len(data) != _NONCE.size:
        raise BadBody(f"{len(data)} bytes, {_NONCE.size} expected")
    return data


ENCODERS: dict[type, tuple[int, Callable[..., bytes]]] = {
    Hello: (1, _hello_bytes),
    Claim: (2, _claim_bytes),
    Witness: (3, _witness_bytes),
    Offer: (4, lambda body: _OFFER.pack(body.vip, body.epoch, body.nonce)),
    Accept: (5, lambda body: _OFFER.pack(body.vip, body.epoch, body.nonce)),
    Release: (6, lambda body: _RELEASE.pack(body.vip, body.epoch, body.nonce, body.to)),
    Challenge: (7, lambda body: _NONCE.pack(body.nonce)),
    Response: (8, lambda body: _NONCE.pack(body.nonce)),
    SyncRequest: (9, lambda body: _SYNC_REQUEST.pack(body.page)),
    Sync: (10, _sync_bytes),
    Spent: (11, lambda body: _OFFER.pack(body.vip, body.epoch, body.nonce)),
}
"""Message → its type number on the wire and what writes its body."""

PARSERS: dict[int, Callable[[bytes], Message]] = {
    1: _parse_hello,
    2: _parse_claim,
    3: _parse_witness,
    4: lambda data: Offer(*_fixed(_OFFER, data)),
    5: lambda data: Accept(*_fixed(_OFFER, data)),
    6: lambda data: Release(*_fixed(_RELEASE, data)),
    7: lambda data: Challenge(_nonce(data)),
    8: lambda data: Response(_nonce(data)),
    9: lambda data: SyncRequest(*_fixed(_SYNC_REQUEST, data)),
    10: _parse_sync,
    11: lambda data: Spent(*_fixed(_OFFER, data)),
}
"""Type number → what reads its body. Each raises BadBody only."""

HELLO_TYPE = 1

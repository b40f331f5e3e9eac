"""Who may speak: HMAC-SHA-256 under the cluster's key, two keys while it is being rotated.

Over the source MAC too: a frame recorded on one port and sent from another is no frame of that node.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from hashlib import _Hash

TAG_LENGTH = 16
MARK_LENGTH = 8
KEY_LENGTH = 32

_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class Keys(msgspec.Struct, frozen=True, gc=False):
    """current signs; current and previous (empty: none) are accepted."""

    current: bytes
    previous: bytes = b""

    def __post_init__(self) -> None:
        for name, key in (("key", self.current), ("previous", self.previous or self.current)):
            if len(key) < 16:
                raise ValueError(f"{name}: {len(key)} bytes, at least 16 expected ({KEY_LENGTH} usual)")


def sign(keys: Keys, source_mac: bytes, message: bytes) -> bytes:
    """The tag of `message` as sent from `source_mac`, under the current key."""
    return _digest(keys.current, source_mac + message)[:TAG_LENGTH]


def verify(keys: Keys, source_mac: bytes, message: bytes, tag: bytes) -> bool:
    """Whether `tag` is right under either key. Compared in constant time."""
    signed = source_mac + message
    if hmac.compare_digest(_digest(keys.current, signed)[:TAG_LENGTH], tag):
        return True
    return bool(keys.previous) and hmac.compare_digest(_digest(keys.previous, signed)[:TAG_LENGTH], tag)


def mark(keys: Keys, nonce: bytes, address: bytes, mac: bytes) -> bytes:
    """What a live speaker puts into the padding of its answer to a probe that carried `nonce`.

    Never all zeros: that is what ordinary padding looks like.
    """
    return _mark(keys.current, nonce, address, mac)


def is_mark(keys: Keys, found: bytes, *, nonce: bytes, address: bytes, mac: bytes) -> bool:
    """Whether `found` is the mark that a speaker with `mac` gives for `address`."""
    accepted = [_mark(key, nonce, address, mac) for key in (keys.current, keys.previous) if key]
    return any(hmac.compare_digest(expected, found) for expected in accepted)


def _mark(key: bytes, nonce: bytes, address: bytes, mac: bytes) -> bytes:
    cut = _digest(key, b"arp" + nonce + address + mac)[:MARK_LENGTH]
    return cut if any(cut) else b"\1" * MARK_LENGTH


@functools.lru_cache(maxsize=8)
def _padded(key: bytes) -> tuple[_Hash, _Hash]:
    """The inner and the outer hash of HMAC, which have taken in the key (RFC 2104 section 4): a third of the
    time of `hmac.digest`, once for every frame.
    """
    block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def _digest(key: bytes, message: bytes) -> bytes:
    fresh_inner, fresh_outer = _padded(key)
    inner, outer = fresh_inner.copy(), fresh_outer.copy()
    inner.update(message)
    outer.update(inner.digest())
    return outer.digest()

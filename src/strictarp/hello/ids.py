"""Identities on the wire: 64-bit numbers cut from SHA-256, so that every frame has fixed fields."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Mapping

_ENTRY = struct.Struct("!QI")
_TIE = struct.Struct("!QQ")


def _first_64_bits(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


@functools.lru_cache(maxsize=4096)
def node_id(name: str) -> int:
    """The node called `name`: first 8 bytes of SHA-256 over its UTF-8 name."""
    return _first_64_bits(name.encode())


def vip_id(address: bytes) -> int:
    """The VIP with this packed address (4 or 16 bytes)."""
    return _first_64_bits(address)


def cluster_id(kube_system_uid: str) -> int:
    """The cluster: first 8 bytes of SHA-256 over the UID of Namespace kube-system."""
    return _first_64_bits(kube_system_uid.encode())


@functools.lru_cache(maxsize=16384)
def entry_hash(vip: int, epoch: int) -> int:
    """What one owned VIP adds to the set hash."""
    return _first_64_bits(_ENTRY.pack(vip, epoch))


def set_hash(owned: Mapping[int, int] | Iterable[tuple[int, int]]) -> int:
    """XOR of the entry hashes of {VIP id: epoch}: independent of order, changed by one addition in O(1)."""
    pairs = owned.items() if isinstance(owned, Mapping) else owned
    total = 0
    for vip, epoch in pairs:
        total ^= entry_hash(vip, epoch)
    return total


@functools.lru_cache(maxsize=16384)
def tie_rank(node: int, vip: int) -> int:
    """Who wins between two equal epochs: the lower rank.

    Made of what the frames themselves carry, so two nodes with different views of the API agree.
    """
    return _first_64_bits(_TIE.pack(node, vip))

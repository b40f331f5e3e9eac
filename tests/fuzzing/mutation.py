"""What befalls a frame: bits flipped, bytes replaced, cut, stretched, spliced, and checksums put right."""

from __future__ import annotations

import random

_TELLING = (0, 1, 2, 3, 6, 7, 8, 16, 0x3A, 0x40, 0x7F, 0x80, 0x87, 0x88, 0xE0, 0xFE, 0xFF)
_LONGEST = 1514


def mutate(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """One to four changes. other: a frame to take pieces from."""
    changed = bytearray(data)
    for _ in range(1 + chance.getrandbits(2)):
        changed = chance.choice(_CHANGES)(chance, changed, other)
    if changed[12:14] == b"\x86\xdd" and chance.getrandbits(1):
        put_checksum_right(changed)
    return bytes(changed[:_LONGEST])


def _flip(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    if data:
        place = chance.randrange(len(data) * 8)
        data[place // 8] ^= 1 << place % 8
    return data


def _replace(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    if data:
        data[chance.randrange(len(data))] = chance.choice(_TELLING)
    return data


def _overwrite(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    if data:
        start = chance.randrange(len(data))
        length = min(len(data) - start, 1 + chance.getrandbits(4))
        data[start : start + length] = chance.randbytes(length)
    return data


def _cut(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    return data[: chance.randrange(len(data) + 1)]


def _stretch(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    return data + chance.randbytes(1 + chance.getrandbits(5))


def _drop(chance: random.Random, data: bytearray, _: bytes) -> bytearray:
    if data:
        start = chance.randrange(len(data))
        del data[start : start + 1 + chance.getrandbits(3)]
    return data


def _splice(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    place = chance.randrange(min(len(data), len(other)) + 1)
    return data[:place] + other[place:]


def _insert(chance: random.Random, data: bytearray, other: bytes) -> bytearray:
    start = chance.randrange(len(other) + 1)
    place = chance.randrange(len(data) + 1)
    return data[:place] + other[start : start + 8] + data[place:]


_CHANGES = (_flip, _flip, _replace, _replace, _overwrite, _cut, _stretch, _drop, _splice, _insert)


def put_checksum_right(data: bytearray) -> None:
    """Of an ICMPv6 message in one IPv6 packet, so that what is behind the checksum is reached."""
    length = int.from_bytes(data[18:20], "big")
    if len(data) < 58 or len(data) < 54 + length or length < 4:
        return
    data[56:58] = b"\0\0"
    whole = bytes(data[22:54]) + length.to_bytes(4, "big") + b"\0\0\0\x3a" + bytes(data[54 : 54 + length])
    whole += b"\0" * (len(whole) % 2)
    rest = int.from_bytes(whole, "big") % 0xFFFF
    data[56:58] = (0xFFFF - rest if rest else 0).to_bytes(2, "big")

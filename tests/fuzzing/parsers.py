"""Frames through the parsers alone: what they let pass is right, and what is right they let pass."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

from fuzzing import oracle
from fuzzing.frames import HELLO, Surroundings, draw, says_something
from fuzzing.mutation import mutate
from fuzzing.range import Harm, Range
from strictarp.hello import frames
from strictarp.hello.frames import FrameError, Sender
from strictarp.speaker import resolution
from strictarp.speaker.resolution import Unreadable
from support.speakers import CLUSTER, KEYS

_MAC = b"\2\0\0\1\0\0"
_DRAWN = 400
_RESOLUTION = (resolution.ARP, resolution.NDP)


def fire(seed: int, count: int) -> Counter[str]:
    """So many mutated frames, drawn from a seed. Raises Harm."""
    chance = random.Random(seed)
    around = _surroundings()
    drawn = [draw(chance, around)[1] for _ in range(_DRAWN)]
    results: Counter[str] = Counter()
    for number in range(1, count + 1):
        data = mutate(chance, chance.choice(drawn), chance.choice(drawn))
        try:
            kind, outcome = _parse(data)
        except Exception as error:
            raise Harm(
                f"seed {seed}, frame {number}: {type(error).__name__}: {error}\n{data.hex()}"
            ) from error
        results[f"{kind}: fired"] += 1
        results[f"{kind}: {outcome}"] += 1
    return results


@cache
def _surroundings() -> Surroundings:
    return Range(0).around


def _parse(data: bytes) -> tuple[str, str]:
    """Kind, and whether it was answered, read or refused. Raises AssertionError, or what escapes."""
    if data[12:14] not in _RESOLUTION:
        return "hello", _parse_hello(data)
    kind = "ndp" if data[12:14] == resolution.NDP else "arp"
    reply = resolution.answer(data, _MAC, lambda nonce: nonce)
    asked = oracle.asks_for(data, _MAC)
    assert (reply is None) == (asked is None), f"answered: {reply}, asked for: {asked}"
    try:
        heard = resolution.read(data)
    except Unreadable:
        assert not oracle.is_well_formed(data), "a right frame is refused"
        return kind, "refused"
    assert oracle.is_well_formed(data), f"a wrong frame is read as {heard}"
    return kind, "answered" if reply else "read"


def _parse_hello(data: bytes) -> str:
    try:
        frame = frames.decode(data, CLUSTER, KEYS)
    except FrameError:
        if data[12:14] == HELLO and oracle.is_authentic(data, CLUSTER, KEYS.current):
            length = int.from_bytes(data[20:22], "big")
            assert not says_something(data[19], data[54 : 14 + length - 16]), "a right frame is refused"
        return "refused"
    assert oracle.is_authentic(data, CLUSTER, KEYS.current), "a frame that nobody signed is read"
    sender = Sender(CLUSTER, frame.node, frame.incarnation)
    again = frames.encode(
        frame.message, sender, KEYS, seq=frame.seq, source=frame.source, to=frame.destination
    )
    length = 14 + int.from_bytes(data[20:22], "big")
    length = 14 + int.from_bytes(data[20:22], "big")
    assert again[:length] == data[:length], "another message is read than was written"
    return "read"

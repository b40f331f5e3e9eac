"""Frames to throw at a speaker: right ones of all kinds, and what becomes of them."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Sequence

from fuzzing.mutation import mutate
from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.hello import frames as hello
from strictarp.hello import ids
from strictarp.hello.auth import Keys
from strictarp.hello.frames import Sender
from strictarp.hello.messages import (
    PARSERS,
    Accept,
    BadBody,
    Challenge,
    Claim,
    Entry,
    Hello,
    Message,
    Offer,
    Release,
    Response,
    State,
    Sync,
    SyncRequest,
    Witness,
)

HELLO = hello.ETHERTYPE.to_bytes(2, "big")
_ETHERTYPES = (b"\x08\x06", b"\x86\xdd", HELLO)
_OTHER_KEYS = Keys(b"the key of nobody in this cluster")
_BROADCAST = b"\xff" * 6


class Surroundings:
    """What the frames speak of. macs: of the speakers. recorded: frames that they sent some time ago."""

    def __init__(
        self,
        macs: Sequence[bytes],
        nodes: Sequence[str],
        addresses: Sequence[bytes],
        *,
        cluster: int,
        keys: Keys,
        recorded: Sequence[bytes],
    ) -> None:
        self.macs = macs
        self.nodes = [ids.node_id(each) for each in nodes]
        self.four = [each for each in addresses if len(each) == 4]
        self.six = [each for each in addresses if len(each) == 16]
        self.vips = [ids.vip_id(each) for each in addresses]
        self.cluster = cluster
        self.keys = keys
        self.recorded = recorded


def draw(chance: random.Random, around: Surroundings) -> tuple[str, bytes]:
    """A frame and the name of its kind."""
    kind = chance.choice(_KINDS)
    return kind.__name__, kind(chance, around)


def arp_frame(chance: random.Random, around: Surroundings) -> bytes:
    """One that every host would heed."""
    mac = _mac(chance, around)
    address = chance.choice(around.four)
    other = chance.choice((address, bytes((192, 0, 2, chance.getrandbits(8))), chance.choice(around.four)))
    to = chance.choice((_BROADCAST, _BROADCAST, chance.choice(around.macs)))
    match chance.getrandbits(3):
        case 0:
            return arp.gratuitous_request(mac, address)
        case 1:
            return arp.gratuitous_reply(mac, address)
        case 2:
            asked = arp.decode(arp.request(chance.choice(around.macs), other, address))
            return arp.reply(mac, asked, tag=chance.randbytes(8))
        case 3:
            return arp.probe(mac, address, nonce=chance.randbytes(8), to=to)
        case _:
            return arp.request(mac, other, address, to=to)


def ndp_frame(chance: random.Random, around: Surroundings) -> bytes:
    """One that every host would heed."""
    mac = _mac(chance, around)
    target = chance.choice(around.six)
    client = ipaddress.IPv6Address("2001:db8::").packed[:14] + chance.randbytes(2)
    match chance.getrandbits(3):
        case 0:
            return ndp.unsolicited(mac, target)
        case 1:
            asked = ndp.decode(ndp.solicit(chance.choice(around.macs), client, target))
            return ndp.advertise(mac, asked, tag=chance.randbytes(8))
        case 2:
            return ndp.probe(mac, target, nonce=chance.randbytes(8))
        case 3:
            return ndp.solicit(mac, client, target, to=chance.choice(around.macs))
        case _:
            return ndp.solicit(mac, client, target)


def mutated_arp(chance: random.Random, around: Surroundings) -> bytes:
    """ARP that something befell."""
    return mutate(chance, arp_frame(chance, around), ndp_frame(chance, around))


def mutated_ndp(chance: random.Random, around: Surroundings) -> bytes:
    """NDP that something befell."""
    return mutate(chance, ndp_frame(chance, around), arp_frame(chance, around))


def repeated(chance: random.Random, around: Surroundings) -> bytes:
    """A frame of a speaker, for the second time."""
    return chance.choice(around.recorded)


def mutated_hello(chance: random.Random, around: Surroundings) -> bytes:
    """A frame of a speaker that something befell."""
    return mutate(chance, chance.choice(around.recorded), chance.choice(around.recorded))


def forged(chance: random.Random, around: Surroundings) -> bytes:
    """In the name of a node, with another cluster's key or number."""
    cluster = around.cluster ^ chance.getrandbits(1)
    keys = _OTHER_KEYS if cluster == around.cluster else around.keys
    sender = Sender(cluster, chance.choice(around.nodes), chance.getrandbits(64))
    return hello.encode(message(chance, around), sender, keys, seq=_seq(chance), source=_mac(chance, around))


def unproven(chance: random.Random, around: Surroundings) -> bytes:
    """Signed rightly by an incarnation that nobody knows: a recording of a life that ended."""
    node = chance.choice((*around.nodes, chance.getrandbits(64)))
    sender = Sender(around.cluster, node, chance.getrandbits(64))
    said = message(chance, around)
    return hello.encode(said, sender, around.keys, seq=_seq(chance), source=_mac(chance, around))


def broken_body(chance: random.Random, around: Surroundings) -> bytes:
    """Of a living speaker, signed rightly, with a body that says nothing."""
    while True:
        data = chance.choice(around.recorded)
        number = chance.choice((data[19], data[19], chance.getrandbits(8)))
        length = int.from_bytes(data[20:22], "big")
        body = mutate(chance, data[54 : 14 + length - 16], chance.randbytes(24))[:1400]
        if not says_something(number, body):
            return _signed(data, number, body, around.keys, _seq(chance))


def noise(chance: random.Random, around: Surroundings) -> bytes:
    """Nobody's."""
    data = chance.randbytes(chance.choice((0, 13, 14, 20, 42, 60, 86, chance.randrange(1500))))
    return data[:12] + chance.choice(_ETHERTYPES) + data[14:] if len(data) >= 14 else data


def message(chance: random.Random, around: Surroundings) -> Message:
    """Any message, with numbers that would matter."""
    epoch = chance.choice((1, 2, 3, 100, 0xFFFF_FFFF))
    vip = chance.choice(around.vips)
    entries = tuple(Entry(each, epoch) for each in around.vips[: 1 + chance.getrandbits(2)])
    node, number = chance.choice(around.nodes), chance.getrandbits(64)
    made: tuple[Message, ...] = (
        Hello(chance.choice(list(State)), False, 100, len(entries), epoch, number, entries),
        Hello(State.SEASONED, False, 1 + chance.getrandbits(15), 500, epoch, number, entries, entries),
        Claim(node, number, chance.choice((0, number)), entries),
        Witness(node, number, number, chance.getrandbits(10), entries),
        Offer(vip, epoch, chance.getrandbits(32)),
        Accept(vip, epoch, chance.getrandbits(32)),
        Release(vip, epoch, chance.getrandbits(32), node),
        Challenge(chance.randbytes(8)),
        Response(chance.randbytes(8)),
        SyncRequest(chance.getrandbits(16)),
        Sync(epoch, 0, 1, entries),
    )
    return chance.choice(made)


def says_something(number: int, body: bytes) -> bool:
    """Whether the speakers have a message of this type with this body."""
    try:
        PARSERS[number](body)
    except (KeyError, BadBody):
        return False
    return True


def _signed(data: bytes, number: int, body: bytes, keys: Keys, seq: int) -> bytes:
    from strictarp.hello import auth

    length = (40 + len(body) + auth.TAG_LENGTH).to_bytes(2, "big")
    signed = data[14:19] + bytes((number,)) + length + data[22:46] + seq.to_bytes(8, "big") + body
    return data[:14] + signed + auth.sign(keys, data[6:12], signed)


def _mac(chance: random.Random, around: Surroundings) -> bytes:
    """Of a stranger, seldom of a speaker."""
    return chance.choice(around.macs) if not chance.getrandbits(3) else b"\2" + chance.randbytes(5)


def _seq(chance: random.Random) -> int:
    return chance.choice((0, 1, chance.getrandbits(10), chance.getrandbits(64), (1 << 64) - 1))


_KINDS: tuple[Callable[[random.Random, Surroundings], bytes], ...] = (
    arp_frame,
    ndp_frame,
    mutated_arp,
    mutated_arp,
    mutated_ndp,
    mutated_ndp,
    repeated,
    mutated_hello,
    forged,
    unproven,
    broken_body,
    noise,
)

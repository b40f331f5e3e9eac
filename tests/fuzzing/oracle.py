"""What a frame is, decided from its bytes by the words of the RFCs; shares no code with the speaker.

RFC 826 (ARP), RFC 5227 (probes, announcements), RFC 4861 7.1.1, 7.1.2, 7.2.2 to 7.2.4, RFC 4862 5.4 (NDP).
"""

from __future__ import annotations

import hashlib
import hmac

_GROUP_BIT = 1


def is_well_formed(data: bytes) -> bool:
    """Whether a host may heed this ARP or NDP frame at all."""
    return _is_arp(data) if data[12:14] == b"\x08\x06" else _is_ndp(data)


def asks_for(data: bytes, mac: bytes) -> bytes | None:
    """The address that a host with this MAC is asked for; None: nobody is to be answered."""
    if data[12:14] == b"\x08\x06":
        return _arp_asks(data, mac)
    if data[12:14] == b"\x86\xdd":
        return _ndp_asks(data, mac)
    return None


def _is_arp(data: bytes) -> bool:
    if len(data) < 42 or data[12:14] != b"\x08\x06":
        return False
    if data[14:16] not in (b"\0\1", b"\0\6") or data[16:20] != b"\x08\x00\6\4":
        return False
    if data[20:22] not in (b"\0\1", b"\0\2"):
        return False
    target = data[38]
    group = data[6] & _GROUP_BIT or data[22] & _GROUP_BIT
    return target != 127 and not 224 <= target <= 239 and not group


def _arp_asks(data: bytes, mac: bytes) -> bytes | None:
    if not _is_arp(data) or data[20:22] != b"\0\1":
        return None
    if data[:6] not in (b"\xff" * 6, mac) or data[22:28] == mac:
        return None
    return data[38:42] if data[28:32] != data[38:42] else None


def _is_ndp(data: bytes) -> bool:  # noqa: PLR0911 - one reason after the other
    if len(data) < 54 or data[12:14] != b"\x86\xdd" or data[14] >> 4 != 6 or data[20] != 58:
        return False
    length = int.from_bytes(data[18:20], "big")
    message = data[54 : 54 + length]
    if len(message) != length or length < 24 or message[0] not in (135, 136) or message[1]:
        return False
    sender, receiver, target = data[22:38], data[38:54], message[8:24]
    if data[21] != 255 or sender[0] == 0xFF or target[0] == 0xFF or not any(target):
        return False
    if _internet_sum(sender + receiver + length.to_bytes(4, "big") + b"\0\0\0\x3a" + message) != 0xFFFF:
        return False
    options = _options(message[24:])
    if options is None or data[6] & _GROUP_BIT:
        return False
    if any(kind in (1, 2) and kind == message[0] - 134 and not _is_mac(value) for kind, value in options):
        return False
    if message[0] == 136:
        return not (message[4] & 0x40 and receiver[0] == 0xFF)
    from_nobody = not any(sender)
    return not from_nobody or (receiver == _group(target) and all(kind != 1 for kind, _ in options))


def _is_mac(value: bytes) -> bool:
    return len(value) == 6 and not value[0] & _GROUP_BIT


def _options(data: bytes) -> list[tuple[int, bytes]] | None:
    found = []
    while data:
        length = 8 * data[1] if len(data) > 1 else 0
        if not 0 < length <= len(data):
            return None
        found.append((data[0], data[2:length]))
        data = data[length:]
    # Of several link-layer addresses the first one counts, as in Linux.
    return [each for number, each in enumerate(found) if each[0] not in {kind for kind, _ in found[:number]}]


def _ndp_asks(data: bytes, mac: bytes) -> bytes | None:
    if not _is_ndp(data) or data[54] != 135:
        return None
    sender, receiver, target = data[22:38], data[38:54], data[62:78]
    if receiver not in (target, _group(target)) or data[:6] not in (mac, b"\x33\x33\xff" + target[13:]):
        return None
    return target if sender != target and data[6:12] != mac else None


def _group(target: bytes) -> bytes:
    return b"\xff\2" + bytes(9) + b"\1\xff" + target[13:]


def _internet_sum(data: bytes) -> int:
    """The one's complement sum of RFC 1071, word by word; 0xffff over a message that is right."""
    total = 0
    data += b"\0" * (len(data) % 2)
    for start in range(0, len(data), 2):
        total += data[start] << 8 | data[start + 1]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def is_authentic(data: bytes, cluster: int, key: bytes) -> bool:
    """Whether a frame of the speakers' own protocol was signed with this key for this cluster."""
    if len(data) < 70 or data[12:20] != b"\x88\xb5sArP\1" + data[19:20]:
        return False
    length = int.from_bytes(data[20:22], "big")
    if not 56 <= length <= len(data) - 14 or int.from_bytes(data[22:30], "big") != cluster:
        return False
    signed, tag = data[14 : 14 + length - 16], data[14 + length - 16 : 14 + length]
    return hmac.new(key, data[6:12] + signed, hashlib.sha256).digest()[:16] == tag

"""A storm of ARP requests of no interest, at a given rate: batches of one system call (sendmmsg(2))."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import time

from strictarp.arp import frames
from strictarp.arp.frames import ETHERTYPE_ARP, ArpFrame

BATCH = 64
CATCH_UP = 0.05
"""Seconds that it may be behind."""
_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


def request(source: bytes, sender: str, target: str) -> bytes:
    """Who has `target`? Tell `sender`: to everybody, padded as a card would."""
    asked = ArpFrame(
        frames.BROADCAST_MAC,
        source,
        frames.REQUEST,
        source,
        ipaddress.IPv4Address(sender).packed,
        frames.NO_MAC,
        ipaddress.IPv4Address(target).packed,
    )
    return frames.encode(asked).ljust(60, b"\0")


def flood(link: str, frame: bytes, *, rate: int, seconds: float) -> int:
    """Send a frame `rate` times a second; returns how many the kernel took. Raises OSError.

    Behind its time it sends faster; what it is more than CATCH_UP behind is given up.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((link, ETHERTYPE_ARP))
        data = ctypes.create_string_buffer(frame, len(frame))
        vector = _Iovec(ctypes.addressof(data), len(frame))
        message = _Message(_Header(iov=ctypes.pointer(vector), iov_length=1))
        batch = (_Message * BATCH)(*[message] * BATCH)
        began = time.monotonic()
        sent, due = 0, began
        while (now := time.monotonic()) < began + seconds:
            if now < due:
                time.sleep(due - now)
                continue
            done = _libc.sendmmsg(sock.fileno(), batch, BATCH, 0)
            if done < 0:
                number = ctypes.get_errno()
                raise OSError(number, f"cannot send on {link}")
            sent += done
            due = max(due + BATCH / rate, now - CATCH_UP)
    return sent


def run(link: str, *, source: str, sender: str, target: str, rate: int, seconds: float) -> int:
    """Flood a link; returns the number of frames sent. Raises OSError."""
    return flood(link, request(frames.parse_mac(source), sender, target), rate=rate, seconds=seconds)

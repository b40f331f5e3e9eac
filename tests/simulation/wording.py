"""Speakers' frames in words, for a trace that people read."""

from __future__ import annotations

from strictarp.hello import frames
from strictarp.hello.auth import Keys
from strictarp.hello.frames import FrameError
from strictarp.hello.messages import Accept, Claim, Entry, Hello, Offer, Release, Witness


def frame_text(data: bytes, cluster: int, keys: Keys) -> str:
    """One line, or "" for ARP and for hellos, which have entries of their own."""
    try:
        frame = frames.decode(data, cluster, keys)
    except FrameError:
        return ""
    match frame.message:
        case Hello():
            return ""
        case Claim() as claim:
            previous = f"{claim.previous:016x} seq {claim.highest_seq}"
            return f"CLAIM of {_entries(claim.entries)}, previous {previous}"
        case Witness() as witness:
            return f"WITNESS {witness.owner:016x} {witness.age_ms} ms ago"
        case Offer() | Accept() | Release() as other:
            return f"{type(other).__name__.upper()} {other.vip:016x} epoch {other.epoch}"
        case other:
            return type(other).__name__.upper()


def _entries(entries: tuple[Entry, ...]) -> str:
    return ", ".join(f"{entry.vip:016x} epoch {entry.epoch}" for entry in entries)
